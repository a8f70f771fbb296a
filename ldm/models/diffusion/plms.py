"""PLMS sampling."""

from __future__ import annotations

import torch

from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.sampler import Generators, Predict

# Adams-Bashforth coefficients, newest prediction first, by the number of predictions there are.
_MULTISTEP = {2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}


class PLMSSampler(DDIMSampler):
    """Pseudo linear multistep method (Liu et al., arXiv 2202.09778, section 3.3): DDIM's update with a noise
    prediction extrapolated from the last four. The first step averages the predictions at its two ends."""

    stochastic = False

    def begin(self) -> None:
        """Forget the predictions of a previous sample."""
        self.predictions: list[torch.Tensor] = []

    def step(self, predict: Predict, x: torch.Tensor, index: int, generators: Generators, temperature: float
             ) -> tuple[torch.Tensor, torch.Tensor]:
        """One prediction and an update with the extrapolated one; the first step predicts twice."""
        eps = predict(x, int(self.ddim_timesteps[index]))
        self.predictions = [eps, *self.predictions[:3]]
        if len(self.predictions) == 1:
            x_next, _ = self.update(x, eps, index)
            eps_prime = (eps + predict(x_next, int(self.ddim_timesteps[max(index - 1, 0)]))) / 2
        else:
            weights = _MULTISTEP[len(self.predictions)]
            parts = (w * e for w, e in zip(weights, self.predictions, strict=True))
            eps_prime = sum(parts, torch.zeros_like(eps))
        return self.update(x, eps_prime, index)
