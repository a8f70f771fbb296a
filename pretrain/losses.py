"""What the stages of pre-training minimise: modules whose forward pass takes a batch and gives a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from ldm.models.autoencoder import AutoencoderKL
from ldm.models.diffusion.ddpm import LatentDiffusion
from pretrain.world import SEVERAL

if TYPE_CHECKING:
    from transformers import CLIPModel


def to_pixels(pictures: torch.Tensor, device: torch.device) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    return pictures.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """L1 on pixels and half as much on their horizontal and vertical differences, which keeps edges sharp."""
    down, across = ((x.diff(dim=d) - y.diff(dim=d)).abs().mean() for d in (2, 3))
    return (x - y).abs().mean() + 0.5 * (down + across)


class AutoencoderLoss(nn.Module):
    """Of an autoencoder on pictures uint8 [B, H, W, 3]."""

    def __init__(self, model: AutoencoderKL, kl_weight: float, recolour: float, decoder_alone: bool = False) -> None:
        """recolour: the share of pictures whose colours change places; there are more than the world has.
        decoder_alone: latents stay as they are, so that a UNet of theirs does."""
        super().__init__()
        self.model, self.kl_weight, self.recolour = model, kl_weight, recolour
        self.trained: nn.Module = model
        if decoder_alone:
            model.requires_grad_(False)
            parts = {"post_quant_conv": model.post_quant_conv, "decoder": model.decoder}
            self.trained = nn.ModuleDict(parts).requires_grad_(True)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """The loss []."""
        x = to_pixels(pictures, pictures.device)
        chosen = torch.rand(len(x), device=x.device) < self.recolour
        x = torch.where(chosen[:, None, None, None], x[:, torch.randperm(3, device=x.device)], x)
        y, posterior = self.model(x)
        return reconstruction_loss(x, y.float()) + self.kl_weight * posterior.kl().float().mean()


class DiffusionLoss(nn.Module):
    """Of a latent diffusion model's UNet and text transformer on pictures uint8 [B, H, W, 3] with `draws` captions
    each, as token ids int64 [B, draws, L]. A picture is encoded once, and its latents get that many draws of noise."""

    def __init__(self, model: LatentDiffusion, draws: int, kept: int | None = None) -> None:
        """kept: with a number, the text transformer and the vectors of the first so many tokens stay as they are, so
        that learned words, v1's layers and v2's aligner do."""
        super().__init__()
        self.model, self.draws = model.requires_grad_(False), draws
        self.text = model.cond_stage_model.get_submodule("transformer")
        if kept is None:
            self.trained = nn.ModuleDict({"unet": model.model, "text": model.cond_stage_model}).requires_grad_(True)
            self.text.get_submodule("to_logits").requires_grad_(False)  # published checkpoints have it; nothing uses it
        else:
            tokens = model.cond_stage_model.token_embeddings
            self.trained = nn.ModuleDict({"unet": model.model, "tokens": tokens}).requires_grad_(True)
            tokens.weight.register_hook(lambda grad: grad.index_fill(0, torch.arange(kept, device=grad.device), 0))

    def forward(self, pictures: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The loss []."""
        model = self.model
        with torch.no_grad():
            posterior = model.first_stage_model.encode(to_pixels(pictures, pictures.device))
            mean, logvar = (v.float().repeat_interleave(self.draws, dim=0) for v in (posterior.mean, posterior.logvar))
            z = model.scale_factor * (mean + (0.5 * logvar).exp() * torch.randn_like(mean))
        # one time from each equal part, in any order, so that the draws of a picture are not neighbours
        places = torch.randperm(len(z), device=z.device) + torch.rand(len(z), device=z.device)
        t = (places / len(z) * model.num_timesteps).long().clamp(max=model.num_timesteps - 1)
        features = self.text(ids.flatten(0, 1))
        return model.p_losses(z, features, t, torch.randn_like(z))[0]


def soften(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures [B, 3, H, W], half of the time blurred, always a little noisy: a judge must not trip over small faults
    of a model."""
    blurred, width, noise = torch.rand(3).tolist()
    if blurred < 0.5:
        reach = torch.arange(-2, 3)
        kernel = torch.exp(-reach.square() / (2 * (0.3 + 0.9 * width) ** 2))
        kernel = (kernel / kernel.sum()).to(pictures).expand(3, 1, 1, 5)
        pictures = F.conv2d(pictures, kernel, padding=(0, 2), groups=3)
        pictures = F.conv2d(pictures, kernel.mT, padding=(2, 0), groups=3)
    return pictures + 0.1 * noise * torch.randn_like(pictures)


class ClipLoss(nn.Module):
    """Of a CLIP on pictures uint8 [B, H, W, 3], token ids int64 [B, L] of their captions, and the numbers int64 [B] of
    what they show."""

    def __init__(self, clip: CLIPModel, things: int) -> None:
        super().__init__()
        # beside the captions of the batch, everything has a vector to be told from; they are dropped in the end
        self.clip, self.prototypes = clip, nn.Embedding(things, clip.config.projection_dim or 0)
        self.trained = nn.ModuleDict({"clip": clip, "prototypes": self.prototypes})

    def forward(self, pictures: torch.Tensor, ids: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """The loss []."""
        found = self.clip(input_ids=ids, pixel_values=soften(to_pixels(pictures, pictures.device)))
        logits, answers = found.logits_per_image.float(), torch.arange(len(ids), device=ids.device)
        vectors = F.normalize(self.prototypes.weight, dim=1)
        named = self.clip.logit_scale.exp() * found.image_embeds.float() @ vectors.T
        return ((F.cross_entropy(logits, answers) + F.cross_entropy(logits.T, answers)) / 2
                + F.cross_entropy(named, shown, ignore_index=SEVERAL))
