"""DDIM sampling."""

from ldm.models.diffusion.sampler import Sampler, sample_noise


class DDIMSampler(Sampler):
    """Denoising diffusion implicit models (Song et al., arXiv 2010.02502, eq. 12)."""

    stochastic = True

    def update(self, x, eps, index: int, generators=None, temperature: float = 1.0):
        """(x_prev, predicted x_0) from x and the noise in it."""
        x0 = self.predict_x0(x, eps, index)
        a_prev, sigma = self.ddim_alphas_prev[index], self.ddim_sigmas[index]
        x_prev = a_prev**0.5 * x0 + max(0.0, 1 - a_prev - sigma**2) ** 0.5 * eps
        if sigma > 0:
            x_prev = x_prev + sigma * temperature * sample_noise(x.shape, generators, x.device)
        return x_prev, x0

    def step(self, predict, x, index, generators, temperature):
        eps = predict(x, int(self.ddim_timesteps[index]))
        return self.update(x, eps, index, generators, temperature)
