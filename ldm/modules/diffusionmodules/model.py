"""Encoder and decoder of the first-stage autoencoder: residual convolutions between pixels and latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from ldm.modules.attention import attention
from ldm.schema import Depth, Levels, Share, Width


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """A GroupNorm with the epsilon of the published autoencoders."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


class Upsample(nn.Module):
    """Nearest neighbours, then a convolution: [B, C, H, W] -> [B, C, 2H, 2W]."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice the height and width."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Downsample(nn.Module):
    """A convolution of stride two: [B, C, H, W] -> [B, C, H/2, W/2], for even H and W."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Half the height and width."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # padded right and below only, as the published weights expect


class ResnetBlock(nn.Module):
    """Two convolutions with a residual: [B, in_channels, H, W] -> [B, out_channels, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float, groups: int):
        super().__init__()
        self.norm1 = group_norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels, groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x, brought to the new width, plus what the convolutions make of it."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.nin_shortcut(x) + h


class AttnBlock(nn.Module):
    """Single-head self-attention over the pixels of a feature map, with a residual: [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x plus what its pixels take from each other."""
        h = self.norm(x)
        q, k, v = (rearrange(layer(h), "b c h w -> b (h w) c") for layer in (self.q, self.k, self.v))
        h = rearrange(attention(q, k, v), "b (h w) c -> b c h w", h=x.shape[2])
        return x + self.proj_out(h)


class Level(nn.Module):
    """The blocks of one resolution and the step to the next: [B, channels[0], H, W] -> [B, channels[-1], H', W'].

    In the published layout: `block`, `attn`, and `downsample` or `upsample`, which the last level lacks.
    """

    def __init__(self, channels: list[int], with_attention: bool, dropout: float, groups: int):
        super().__init__()
        self.block = nn.ModuleList(
            ResnetBlock(c_in, c_out, dropout, groups) for c_in, c_out in zip(channels[:-1], channels[1:], strict=True)
        )
        self.attn = nn.ModuleList(AttnBlock(c, groups) for c in channels[1:] if with_attention)
        self.downsample: Downsample | None = None
        self.upsample: Upsample | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Every block, each with its attention where there is any, then the step to the next resolution."""
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        if self.downsample is not None:
            x = self.downsample(x)
        if self.upsample is not None:
            x = self.upsample(x)
        return x


def middle(channels: int, dropout: float, groups: int) -> nn.Sequential:
    """`block_1`, `attn_1`, `block_2` at the lowest resolution, in this order."""
    mid = nn.Sequential()
    mid.add_module("block_1", ResnetBlock(channels, channels, dropout, groups))
    mid.add_module("attn_1", AttnBlock(channels, groups))
    mid.add_module("block_2", ResnetBlock(channels, channels, dropout, groups))
    return mid


class Encoder(nn.Module):
    """Pixels [B, in_channels, H, W] -> moments [B, 2*z_channels (z_channels without double_z), H/f, W/f],
    f = patch * 2^(levels - 1)."""

    def __init__(
        self,
        ch: Width,                      # width of the first level, a multiple of 32
        ch_mult: Levels,                # width of each level over ch
        num_res_blocks: Depth,          # per level
        attn_resolutions: Sequence[int],  # picture sizes, counted from `resolution`, that get attention
        resolution: Width,              # picture size in training; any multiple of f works
        in_channels: Width,
        z_channels: Width,              # of the latents
        double_z: bool = True,          # mean and log-variance
        dropout: Share = 0.0,
        out_ch: Width | None = None,    # the decoder's; both share one config
        norm_groups: Width = 32,        # of the group norms; with as many groups as channels, flat colours get lost
        patch: Width = 1,               # pixels of a patch x patch square go into channels first (DC-AE, arXiv
    ):                                  # 2410.10733, section 3.2), which spares the dearest level
        super().__init__()
        self.patch = patch
        self.conv_in = nn.Conv2d(in_channels * patch**2, ch, 3, padding=1)
        self.down = nn.ModuleList()
        c = ch
        for i, mult in enumerate(ch_mult):
            level = Level([c] + [ch * mult] * num_res_blocks, resolution // (patch * 2**i) in attn_resolutions, dropout,
                          norm_groups)
            c = ch * mult
            if i != len(ch_mult) - 1:
                level.downsample = Downsample(c)
            self.down.append(level)
        self.mid = middle(c, dropout, norm_groups)
        self.norm_out = group_norm(c, norm_groups)
        self.conv_out = nn.Conv2d(c, z_channels * (2 if double_z else 1), 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pixels -> moments."""
        h = self.conv_in(F.pixel_unshuffle(x, self.patch))
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """Latents [B, z_channels, H/f, W/f] -> pixels [B, out_ch, H, W]. Arguments as for the Encoder."""

    def __init__(self, ch: int, ch_mult: Sequence[int], num_res_blocks: int, attn_resolutions: Sequence[int],
                 resolution: int, in_channels: int, z_channels: int, out_ch: int, double_z: bool = True,
                 dropout: float = 0.0, norm_groups: int = 32, patch: int = 1):
        super().__init__()
        self.patch = patch
        c = ch * ch_mult[-1]
        self.conv_in = nn.Conv2d(z_channels, c, 3, padding=1)
        self.mid = middle(c, dropout, norm_groups)
        levels: list[Level] = []
        for i, mult in reversed(list(enumerate(ch_mult))):
            level = Level([c] + [ch * mult] * (num_res_blocks + 1), resolution // (patch * 2**i) in attn_resolutions,
                          dropout, norm_groups)
            c = ch * mult
            if i != 0:
                level.upsample = Upsample(c)
            levels.insert(0, level)
        self.up = nn.ModuleList(levels)  # stored from the highest resolution to the lowest, run the other way
        self.norm_out = group_norm(c, norm_groups)
        self.conv_out = nn.Conv2d(c, out_ch * patch**2, 3, padding=1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Latents -> pixels."""
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(h))), self.patch)
