"""The denoising UNet: residual blocks conditioned on the timestep, spatial transformers conditioned on the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import nn

from ldm.modules.attention import CachedContext, SpatialTransformer
from ldm.modules.diffusionmodules.model import Upsample
from ldm.modules.diffusionmodules.util import checkpoint, timestep_embedding, zero_module
from ldm.schema import Depth, Levels, Range, Share, Width

Heads = Annotated[int, Range(1, 10**6, also=(-1,))]


class TimestepEmbedSequential(nn.Sequential):
    """A sequence whose layers get the timestep embedding or the context when they take one."""

    def forward(self, x: torch.Tensor, emb: torch.Tensor,  # type: ignore[override]  # more than nn.Sequential takes
                context: torch.Tensor | CachedContext | None = None) -> torch.Tensor:
        """x [B, C, H, W], emb [B, E], context [B, M, context_dim] -> [B, C', H', W']."""
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            else:
                x = layer(x)
        return x


class Downsample(nn.Module):
    """A convolution of stride two, padded on all sides: [B, C, H, W] -> [B, C, H/2, W/2], for even H and W."""

    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Half the height and width."""
        return self.op(x)


class ResBlock(nn.Module):
    """x [B, C, H, W], emb [B, E] -> [B, out_channels, H, W]; the timestep embedding is added midway."""

    def __init__(self, channels: int, emb_channels: int, dropout: float, out_channels: int, use_checkpoint: bool):
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, out_channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            zero_module(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        """x, brought to the new width, plus what the two convolutions make of it and of emb."""
        return checkpoint(self._forward, x, emb, enabled=self.use_checkpoint)

    def _forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class ContextMap(nn.Module):
    """A picture the size of the latents that the prompt alone draws: context [B, M, context_dim], shape (H, W)
    -> [B, out_channels, H, W], nought at the start.

    A token is one vector, the same wherever attention takes it; through this map it can say what belongs where.
    """

    def __init__(self, context_dim: int, out_channels: int, size: int, hidden: int = 512, channels: int = 16):
        super().__init__()
        self.size = size
        self.draw = nn.Sequential(nn.Linear(context_dim, hidden), nn.SiLU(), nn.Linear(hidden, channels * size**2))
        self.out = zero_module(nn.Conv2d(channels, out_channels, 1))

    def forward(self, context: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """The map that the mean of the context draws, stretched where (H, W) is not the size it was trained at."""
        h = self.draw(context.mean(dim=1)).unflatten(1, (-1, self.size, self.size))
        if tuple(shape) != (self.size, self.size):
            h = F.interpolate(h, tuple(shape), mode="bilinear")
        return self.out(h)


class UNetModel(nn.Module):
    """Predicts the noise in x_t from x_t, t and the prompt (Rombach et al., arXiv 2112.10752, section 3.3).

    Module names and shapes are those of the published checkpoints.
    """

    def __init__(
        self,
        in_channels: Width,                   # of the latents
        out_channels: Width,                  # of the prediction; the same as in_channels
        model_channels: Width,                # width of the first level, a multiple of 32
        num_res_blocks: Depth,                # per level going down; one more going up
        attention_resolutions: Sequence[Width], # downsampling factors (1, 2, 4...) that get spatial transformers
        channel_mult: Levels = (1, 2, 4, 8),  # width of each level over model_channels
        context_dim: Width | None = None,     # width of the prompt's features
        num_heads: Heads = -1,                # attention heads; or give
        num_head_channels: Heads = -1,        # the width of a head
        transformer_depth: Depth = 1,         # transformer blocks in a spatial transformer
        dropout: Share = 0.0,
        use_checkpoint: bool = False,         # recompute activations in the backward pass: less memory, more time
        use_spatial_transformer: bool = True, # the only kind of attention a text-conditional model has
        pooled_context: bool = False,         # the prompt's mean feature goes, with the timestep, to every block
        context_map: bool = False,            # the prompt's mean feature also draws a map the network starts from
        image_size: Width | None = None,      # of the latents; the network itself takes any multiple of its strides
    ):
        super().__init__()
        if not use_spatial_transformer or context_dim is None:
            raise ValueError("UNetModel takes a prompt: use_spatial_transformer must be true and context_dim be given")
        if (num_heads == -1) == (num_head_channels == -1):
            raise ValueError("UNetModel needs exactly one of num_heads and num_head_channels")
        self.image_size, self.in_channels, self.out_channels = image_size, in_channels, out_channels
        self.model_channels, self.downsampling = model_channels, 2 ** (len(channel_mult) - 1)
        emb_channels = model_channels * 4

        def res_block(channels: int, out: int) -> nn.Module:
            return ResBlock(channels, emb_channels, dropout, out, use_checkpoint)

        def spatial_transformer(channels: int) -> nn.Module:
            heads = num_heads if num_heads != -1 else channels // num_head_channels
            return SpatialTransformer(
                channels, heads, channels // heads, transformer_depth, dropout, context_dim, use_checkpoint
            )

        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, emb_channels), nn.SiLU(), nn.Linear(emb_channels, emb_channels)
        )
        self.context_embed = zero_module(nn.Linear(context_dim, emb_channels)) if pooled_context else None
        self.context_map: ContextMap | None = None
        if context_map:
            if image_size is None:
                raise ValueError("UNetModel draws a context_map of the latents' size: image_size must be given")
            self.context_map = ContextMap(context_dim, model_channels, image_size)
        ch, factor = model_channels, 1
        self.input_blocks = nn.ModuleList([TimestepEmbedSequential(nn.Conv2d(in_channels, ch, 3, padding=1))])
        skip_channels = [ch]
        for level, mult in enumerate(channel_mult):
            for _ in range(num_res_blocks):
                layers = [res_block(ch, mult * model_channels)]
                ch = mult * model_channels
                if factor in attention_resolutions:
                    layers.append(spatial_transformer(ch))
                self.input_blocks.append(TimestepEmbedSequential(*layers))
                skip_channels.append(ch)
            if level != len(channel_mult) - 1:
                self.input_blocks.append(TimestepEmbedSequential(Downsample(ch)))
                skip_channels.append(ch)
                factor *= 2

        self.middle_block = TimestepEmbedSequential(res_block(ch, ch), spatial_transformer(ch), res_block(ch, ch))

        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(channel_mult))):
            for i in range(num_res_blocks + 1):
                layers = [res_block(ch + skip_channels.pop(), mult * model_channels)]
                ch = mult * model_channels
                if factor in attention_resolutions:
                    layers.append(spatial_transformer(ch))
                if level and i == num_res_blocks:
                    layers.append(Upsample(ch))
                    factor //= 2
                self.output_blocks.append(TimestepEmbedSequential(*layers))

        self.out = nn.Sequential(
            nn.GroupNorm(32, ch), nn.SiLU(), zero_module(nn.Conv2d(ch, out_channels, 3, padding=1))
        )

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor | CachedContext) -> torch.Tensor:
        """x [B, in_channels, H, W], timesteps int [B], context [B, M, context_dim] or a CachedContext of it
        -> [B, out_channels, H, W]."""
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(x.dtype))
        features = context.context if isinstance(context, CachedContext) else context
        if self.context_embed is not None:
            emb = emb + self.context_embed(features.mean(dim=1))
        skips, h = [], x
        for i, module in enumerate(self.input_blocks):
            h = module(h, emb, context)
            if i == 0 and self.context_map is not None:
                h = h + self.context_map(features, h.shape[2:])
            skips.append(h)
        h = self.middle_block(h, emb, context)
        for module in self.output_blocks:
            h = module(torch.cat([h, skips.pop()], dim=1), emb, context)
        return self.out(h)
