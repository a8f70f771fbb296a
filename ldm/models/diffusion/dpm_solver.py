"""DPM-Solver++ sampling."""

from __future__ import annotations

import math

import torch

from ldm.models.diffusion.sampler import Generators, Predict, Sampler


class DPMSolverSampler(Sampler):
    """DPM-Solver++ (2M), second order multistep (Lu et al., arXiv 2211.01095, algorithm 2): about 20 steps suffice."""

    def begin(self) -> None:
        """Forget the last step of a previous sample."""
        self.last: tuple[torch.Tensor, float] | None = None  # (predicted x_0, lambda) of the step before

    def step(self, predict: Predict, x: torch.Tensor, index: int, generators: Generators, temperature: float
             ) -> tuple[torch.Tensor, torch.Tensor]:
        """One prediction and an update with x_0 extrapolated from two; the first and the last step use one."""
        x0 = self.predict_x0(x, predict(x, int(self.ddim_timesteps[index])), index)
        a, a_next = self.ddim_alphas[index], self.ddim_alphas_prev[index]
        lam, lam_next = (0.5 * math.log(v / (1 - v)) for v in (a, a_next))
        h = lam_next - lam
        D = x0
        if self.last is not None and index > 0:  # the last step stays first order
            x0_last, lam_last = self.last
            r = (lam - lam_last) / h
            D = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_last
        self.last = (x0, lam)
        x_next = ((1 - a_next) / (1 - a)) ** 0.5 * x - a_next**0.5 * math.expm1(-h) * D
        return x_next, x0
