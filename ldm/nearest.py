"""The words of a vocabulary that a vector is most like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from ldm.modules.encoders.text_encoder import PromptTokenizer


@torch.no_grad()
def nearest(vector: torch.Tensor, table: torch.Tensor, tokenizer: PromptTokenizer, count: int = 5
            ) -> list[tuple[str, float]]:
    """(token, cosine) of the token embeddings [V, D] that are most similar to a vector [D], the nearest first."""
    cosines, ids = F.cosine_similarity(vector[None], table).topk(min(count, len(table)))
    return list(zip(tokenizer.tokenizer.convert_ids_to_tokens(ids.tolist()), cosines.tolist(), strict=True))
