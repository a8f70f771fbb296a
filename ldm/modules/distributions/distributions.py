"""The diagonal Gaussian that the autoencoder's encoder predicts."""

import torch


class DiagonalGaussianDistribution:
    """Normal distribution over latents from moments [B, 2*C, H, W]: mean, then log-variance clamped to [-30, 20]."""

    def __init__(self, parameters: torch.Tensor):
        self.mean, logvar = parameters.chunk(2, dim=1)
        self.logvar = logvar.clamp(-30.0, 20.0)

    @property
    def parameters(self) -> torch.Tensor:
        """The moments [B, 2*C, H, W], log-variance clamped."""
        return torch.cat([self.mean, self.logvar], dim=1)

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """A draw [B, C, H, W]."""
        if generator is None:
            noise = torch.randn_like(self.mean)
        else:
            noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def mode(self) -> torch.Tensor:
        """The likeliest latents [B, C, H, W], which are the mean."""
        return self.mean

    def kl(self) -> torch.Tensor:
        """KL divergence to the standard normal, summed over all but the batch: [B] (Kingma & Welling,
        arXiv 1312.6114, appendix B)."""
        return 0.5 * (self.mean**2 + self.logvar.exp() - 1.0 - self.logvar).sum(dim=[1, 2, 3])
