"""The words of a vocabulary that a vector is most like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ldm.modules.encoders.text_encoder import PromptTokenizer


@torch.no_grad()
def nearest(vector: torch.Tensor, table: torch.Tensor, tokenizer: PromptTokenizer, count: int = 5,
            norms: torch.Tensor | None = None) -> list[tuple[str, float]]:
    """(token, cosine) of the token embeddings [V, D] that are most similar to a vector [D], the nearest first; with the
    embeddings' norms [V], where they are known already."""
    norms = table.norm(dim=1) if norms is None else norms
    cosines, ids = (table @ vector / (norms * vector.norm()).clamp(min=1e-8)).topk(min(count, len(table)))
    return list(zip(tokenizer.tokenizer.convert_ids_to_tokens(ids.tolist()), cosines.tolist(), strict=True))
