"""The text transformer: token and position embeddings, then pre-norm attention and feed-forward layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ldm.modules.attention import attention

# (token ids [B, N], their embeddings [B, N, dim]) -> embeddings [B, N, dim]: where learned words enter.
Inject = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def embed_tokens(table: nn.Embedding, tokens: torch.Tensor, inject: Inject | None = None) -> torch.Tensor:
    """The embeddings [B, N, dim] of token ids [B, N], as `inject` changes them; only with it may ids lie past the
    table: those of added tokens, which it replaces."""
    if inject is None:
        return table(tokens)
    return inject(tokens, table(tokens.clamp(max=table.num_embeddings - 1)))


class Attention(nn.Module):
    """Self-attention, [B, N, dim] -> [B, N, dim]; padding is attended to, as in the published encoder."""

    def __init__(self, dim: int, heads: int = 8, dim_head: int = 64):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_k = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_v = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What each token takes from all; the residual is the caller's."""
        return self.to_out(attention(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))


class FeedForward(nn.Module):
    """A GELU layer of `mult` times the width and a projection back, a token at a time: [B, N, dim] -> [B, N, dim]."""

    def __init__(self, dim: int, mult: int = 4):
        super().__init__()
        self.net = nn.Sequential(
            nn.Sequential(nn.Linear(dim, dim * mult), nn.GELU()), nn.Identity(), nn.Linear(dim * mult, dim)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the layer makes of each token; the residual is the caller's."""
        return self.net(x)


class Residual(nn.ModuleList):
    """A norm and a block, x + block(norm(x)): [B, N, dim] -> [B, N, dim]. A list, as published checkpoints have it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x plus what the block makes of it."""
        norm, block = self
        return x + block(norm(x))


class Encoder(nn.Module):
    """`depth` times attention and feed-forward, each a Residual: [B, N, dim] -> [B, N, dim]."""

    def __init__(self, dim: int, depth: int):
        super().__init__()
        self.dim = dim
        self.layers = nn.ModuleList(
            Residual([nn.LayerNorm(dim), block])
            for _ in range(depth) for block in (Attention(dim), FeedForward(dim))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All layers, one after another."""
        for layer in self.layers:
            x = layer(x)
        return x


class AbsolutePositionalEmbedding(nn.Module):
    """A learned vector for each position: embeddings [B, N, dim] -> positions [N, dim], N at most max_seq_len."""

    def __init__(self, dim: int, max_seq_len: int):
        super().__init__()
        self.emb = nn.Embedding(max_seq_len, dim)
        nn.init.normal_(self.emb.weight, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The vectors of the first N positions, to be added."""
        return self.emb.weight[: x.shape[1]]


class TransformerWrapper(nn.Module):
    """Token ids [B, N] -> features [B, N, dim].

    Between the token embeddings and the position embeddings an embedding manager may put its own vectors: the place
    where textual inversion acts (Gal et al., arXiv 2208.01618, figure 2).
    """

    def __init__(self, num_tokens: int, max_seq_len: int, attn_layers: Encoder):
        super().__init__()
        dim = attn_layers.dim
        self.max_seq_len = max_seq_len
        self.token_emb = nn.Embedding(num_tokens, dim)
        nn.init.normal_(self.token_emb.weight, std=0.02)
        self.pos_emb = AbsolutePositionalEmbedding(dim, max_seq_len)
        self.attn_layers = attn_layers
        self.norm = nn.LayerNorm(dim)
        self.to_logits = nn.Linear(dim, num_tokens)  # in every published checkpoint; features do not pass it

    def forward(self, tokens: torch.Tensor, embedding_manager: Inject | None = None) -> torch.Tensor:
        """Features; embedding_manager gets (tokens, embeddings [B, N, dim]) and gives embeddings."""
        x = embed_tokens(self.token_emb, tokens, embedding_manager)
        return self.norm(self.attn_layers(x + self.pos_emb(x)))
