"""Attention, in one function, and the transformer blocks that bring a prompt into the UNet."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ldm.modules.diffusionmodules.util import checkpoint, zero_module


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int = 1) -> torch.Tensor:
    """softmax(q k^T / sqrt(d)) v over `heads` equal slices (Vaswani et al., arXiv 1706.03762, section 3.2).

    q [B, N, heads*d], k and v [B, M, heads*d] -> [B, N, heads*d].
    """
    q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=heads) for x in (q, k, v))
    # Forward and backward on a CPU with AVX-512-bf16, the fused kernel's time in that of plain products: in float32 0.4
    # at 1024 x 1024 tokens, 0.6 at 77 x 77; in bfloat16 0.3 at 1024 x 1024, 1.0 at 256 x 256, 1.6 at 77 x 77.
    plain = (q.device.type == "cpu" and q.requires_grad and q.dtype != torch.float32
             and q.shape[2] * k.shape[2] <= 256**2)
    with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
        out = F.scaled_dot_product_attention(q, k, v)
    return rearrange(out, "b h n d -> b n (h d)")


class CachedContext:
    """A context that stays the same over many calls, as a prompt does over the steps of a sample.

    Each cross-attention layer leaves its keys and values here the first time and reads them afterwards.
    Only for inference: what is kept has no gradient.
    """

    def __init__(self, context: torch.Tensor):
        self.context = context
        self.keys_values: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}

    def fill(self, network: nn.Module) -> None:
        """Keep the keys and values of all layers of a network."""
        for block in network.modules():
            if isinstance(block, BasicTransformerBlock):
                block.attn2.keys_values(self)


class GEGLU(nn.Module):
    """x * gelu(gate), both linear in the input (Shazeer, arXiv 2002.05202): [..., dim_in] -> [..., dim_out]."""

    def __init__(self, dim_in: int, dim_out: int):
        super().__init__()
        self.proj = nn.Linear(dim_in, dim_out * 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The gated half of a projection to twice the width."""
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    """A GEGLU of `mult` times the width and a projection back, for each token alone: [B, N, dim] -> [B, N, dim]."""

    def __init__(self, dim: int, mult: int = 4, dropout: float = 0.0):
        super().__init__()
        self.net = nn.Sequential(GEGLU(dim, dim * mult), nn.Dropout(dropout), nn.Linear(dim * mult, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the layer makes of each token; the residual is the caller's."""
        return self.net(x)


class CrossAttention(nn.Module):
    """Queries from x [B, N, query_dim]; keys and values from context [B, M, context_dim], or from x itself."""

    def __init__(self, query_dim: int, context_dim: int | None, heads: int, dim_head: int, dropout: float = 0.0):
        super().__init__()
        inner_dim = heads * dim_head
        context_dim = query_dim if context_dim is None else context_dim
        self.heads = heads
        self.to_q = nn.Linear(query_dim, inner_dim, bias=False)
        self.to_k = nn.Linear(context_dim, inner_dim, bias=False)
        self.to_v = nn.Linear(context_dim, inner_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner_dim, query_dim), nn.Dropout(dropout))

    def keys_values(self, context: torch.Tensor | CachedContext) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, each [B, M, heads*dim_head], of a context; a CachedContext keeps them for the next call."""
        if not isinstance(context, CachedContext):
            return self.to_k(context), self.to_v(context)
        if self not in context.keys_values:
            context.keys_values[self] = self.keys_values(context.context)
        return context.keys_values[self]

    def forward(self, x: torch.Tensor, context: torch.Tensor | CachedContext | None = None) -> torch.Tensor:
        """[B, N, query_dim]; the residual is the caller's."""
        k, v = self.keys_values(x if context is None else context)
        return self.to_out(attention(self.to_q(x), k, v, self.heads))


class BasicTransformerBlock(nn.Module):
    """Self-attention, cross-attention to the prompt, feed-forward; pre-norm, each with a residual.

    x [B, N, dim], context [B, M, context_dim] -> [B, N, dim].
    """

    def __init__(self, dim: int, heads: int, dim_head: int, dropout: float, context_dim: int | None,
                 use_checkpoint: bool = True):
        super().__init__()
        self.attn1 = CrossAttention(dim, None, heads, dim_head, dropout)
        self.ff = FeedForward(dim, dropout=dropout)
        self.attn2 = CrossAttention(dim, context_dim, heads, dim_head, dropout)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.use_checkpoint = use_checkpoint

    def forward(self, x: torch.Tensor, context: torch.Tensor | CachedContext | None = None) -> torch.Tensor:
        """All three, recomputed in the backward pass with use_checkpoint."""
        return checkpoint(self._forward, x, context, enabled=self.use_checkpoint)

    def _forward(self, x: torch.Tensor, context: torch.Tensor | CachedContext | None) -> torch.Tensor:
        x = self.attn1(self.norm1(x)) + x
        x = self.attn2(self.norm2(x), context) + x
        return self.ff(self.norm3(x)) + x


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of a feature map (Rombach et al., arXiv 2112.10752, section 3.3).

    x [B, in_channels, H, W], context [B, M, context_dim] -> [B, in_channels, H, W], x added back.
    """

    def __init__(self, in_channels: int, heads: int, dim_head: int, depth: int = 1, dropout: float = 0.0,
                 context_dim: int | None = None, use_checkpoint: bool = True):
        super().__init__()
        inner_dim = heads * dim_head
        self.norm = nn.GroupNorm(32, in_channels, eps=1e-6)
        self.proj_in = nn.Conv2d(in_channels, inner_dim, 1)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(inner_dim, heads, dim_head, dropout, context_dim, use_checkpoint)
            for _ in range(depth)
        )
        self.proj_out = zero_module(nn.Conv2d(inner_dim, in_channels, 1))

    def forward(self, x: torch.Tensor, context: torch.Tensor | CachedContext | None = None) -> torch.Tensor:
        """x plus what the blocks make of its pixels as one sequence."""
        h = self.proj_in(self.norm(x))
        height, width = h.shape[2:]
        h = rearrange(h, "b c h w -> b (h w) c")
        for block in self.transformer_blocks:
            h = block(h, context)
        h = rearrange(h, "b (h w) c -> b c h w", h=height, w=width)
        return self.proj_out(h) + x
