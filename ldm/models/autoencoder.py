"""The first stage: a KL-regularised autoencoder between pixels and latents."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import nn

from ldm.modules.diffusionmodules.model import Decoder, Encoder
from ldm.modules.distributions.distributions import DiagonalGaussianDistribution
from ldm.schema import Arguments, Width

Sizes = Annotated[dict[str, Any], Arguments("ldm.modules.diffusionmodules.model:Encoder")]


class AutoencoderKL(nn.Module):
    """Variational autoencoder of Rombach et al. (arXiv 2112.10752, section 3.1).

    Pixels are [B, 3, H, W] in [-1, 1]; latents [B, embed_dim, H/f, W/f] with f = patch * 2^(levels - 1).
    """

    def __init__(
        self,
        ddconfig: Sizes,                 # arguments of Encoder and Decoder
        embed_dim: Width,                # channels of the latents
    ):
        super().__init__()
        if not ddconfig.get("double_z", True):
            raise ValueError("AutoencoderKL needs ddconfig.double_z: true (a mean and a log-variance)")
        self.encoder = Encoder(**ddconfig)
        self.decoder = Decoder(**ddconfig)
        self.quant_conv = nn.Conv2d(2 * ddconfig["z_channels"], 2 * embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, ddconfig["z_channels"], 1)
        self.downsampling = ddconfig.get("patch", 1) * 2 ** (len(ddconfig["ch_mult"]) - 1)

    def encode(self, x: torch.Tensor) -> DiagonalGaussianDistribution:
        """Pixels -> the posterior over latents."""
        return DiagonalGaussianDistribution(self.quant_conv(self.encoder(x)))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents -> pixels, not clipped."""
        return self.decoder(self.post_quant_conv(z))

    def forward(self, x: torch.Tensor, sample_posterior: bool = True
                ) -> tuple[torch.Tensor, DiagonalGaussianDistribution]:
        """Pixels -> (reconstruction, posterior)."""
        posterior = self.encode(x)
        return self.decode(posterior.sample() if sample_posterior else posterior.mode()), posterior
