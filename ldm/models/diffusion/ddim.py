"""DDIM sampling."""

from __future__ import annotations

import torch

from ldm.models.diffusion.sampler import Generators, Predict, Sampler, sample_noise


class DDIMSampler(Sampler):
    """Denoising diffusion implicit models (Song et al., arXiv 2010.02502, eq. 12)."""

    stochastic = True

    def update(self, x: torch.Tensor, eps: torch.Tensor, index: int, generators: Generators = None,
               temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """(x_prev, predicted x_0) from x and the noise in it."""
        x0 = self.predict_x0(x, eps, index)
        a_prev, sigma = self.ddim_alphas_prev[index], self.ddim_sigmas[index]
        x_prev = a_prev**0.5 * x0 + max(0.0, 1 - a_prev - sigma**2) ** 0.5 * eps
        if sigma > 0:
            x_prev = x_prev + sigma * temperature * sample_noise(x.shape, generators, x.device)
        return x_prev, x0

    def step(self, predict: Predict, x: torch.Tensor, index: int, generators: Generators, temperature: float
             ) -> tuple[torch.Tensor, torch.Tensor]:
        """One prediction, one update; noise is drawn where eta is not 0."""
        eps = predict(x, int(self.ddim_timesteps[index]))
        return self.update(x, eps, index, generators, temperature)
