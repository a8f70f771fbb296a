"""The text transformer: token and position embeddings, then pre-norm attention and feed-forward layers."""

import torch
from torch import nn

from ldm.modules.attention import attention


class Attention(nn.Module):
    """Self-attention over all tokens of x [B, N, dim]; padding is attended to, as in the published encoder."""

    def __init__(self, dim: int, heads: int = 8, dim_head: int = 64):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_k = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_v = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, dim)

    def forward(self, x):
        return self.to_out(attention(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))


class FeedForward(nn.Module):
    def __init__(self, dim: int, mult: int = 4):
        super().__init__()
        self.net = nn.Sequential(
            nn.Sequential(nn.Linear(dim, dim * mult), nn.GELU()), nn.Identity(), nn.Linear(dim * mult, dim)
        )

    def forward(self, x):
        return self.net(x)


class Encoder(nn.Module):
    """`depth` times attention and feed-forward, each behind a LayerNorm and with a residual."""

    def __init__(self, dim: int, depth: int):
        super().__init__()
        self.dim = dim
        self.layers = nn.ModuleList(
            nn.ModuleList([nn.LayerNorm(dim), block])
            for _ in range(depth) for block in (Attention(dim), FeedForward(dim))
        )

    def forward(self, x):
        for norm, block in self.layers:
            x = x + block(norm(x))
        return x


class AbsolutePositionalEmbedding(nn.Module):
    def __init__(self, dim: int, max_seq_len: int):
        super().__init__()
        self.emb = nn.Embedding(max_seq_len, dim)
        nn.init.normal_(self.emb.weight, std=0.02)

    def forward(self, x):
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

    def forward(self, tokens: torch.Tensor, embedding_manager=None) -> torch.Tensor:
        x = self.token_emb(tokens)
        if embedding_manager is not None:
            x = embedding_manager(tokens, x)
        return self.norm(self.attn_layers(x + self.pos_emb(x)))
