"""DPM-Solver++ sampling."""

import math

from ldm.models.diffusion.sampler import Sampler


class DPMSolverSampler(Sampler):
    """DPM-Solver++ (2M), second order multistep (Lu et al., arXiv 2211.01095, algorithm 2): about 20 steps suffice."""

    def begin(self):
        self.last = None  # (predicted x_0, lambda) of the step before

    def step(self, predict, x, index, generators, temperature):
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
