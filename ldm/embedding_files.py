"""Files of learned words: what they may hold, and how it is found in them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ldm.errors import UserError
from ldm.filetypes import shown
from ldm.serialization import FLOATS, read_tensors

# What a file of words may hold. A prompt has 77 tokens, and the entries of token embeddings are below 10.
MAX_WORDS, MAX_VECTORS, MAX_PLACEHOLDER, MAX_NUMBER = 4096, 1024, 200, 65504.0


def read_embeddings(path: str | Path) -> dict[str, torch.Tensor]:
    """{placeholder: float32 [n, dim]} of an embedding file: published `.pt`, or `.bin`/`.safetensors` as diffusers and
    the web UIs exchange them. Raises UserError for any other file."""
    return find_embeddings(path, read_tensors(path))


def own_name(key: str) -> str | None:
    """The name that a word has by its key in a file; None where the key is one of the format and the same for all."""
    return None if key == "emb_params" else key


def find_embeddings(path: str | Path, content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The same from the content of the file. Raises UserError for what is no word: other keys than text, other tensors
    than 1 to MAX_VECTORS vectors of finite real numbers."""
    words = content.get("string_to_param", content)
    if not isinstance(words, dict):
        raise UserError(f"{path}: its string_to_param is no dictionary of words and their vectors")
    if words is content:  # beside the words there may be a name, a step and the like
        words = {p: v for p, v in words.items() if torch.is_tensor(v) and v.dim()}
    if not words:
        raise UserError(f"{path}: holds no embeddings; give an embeddings.pt that training wrote")
    if len(words) > MAX_WORDS:
        raise UserError(f"{path}: holds {len(words)} tensors, a model's weights rather than words; give an "
                        "embeddings.pt that training wrote")
    return {p: _vectors(path, p, v) for p, v in words.items()}


def _vectors(path: str | Path, placeholder: Any, vectors: Any) -> torch.Tensor:
    """Vectors as a file has them, [dim] or [n, dim] -> float32 [n, dim]. Raises UserError for what cannot be any."""
    if (not isinstance(placeholder, str) or not placeholder.strip() or len(placeholder) > MAX_PLACEHOLDER
            or any(unicodedata.category(sign) in ("Cc", "Cs") for sign in placeholder)):
        raise UserError(f"{path}: one of its placeholders is empty, too long or no text; a placeholder is a single "
                        "sign such as *")
    what = f"{path}: the embedding of {shown(repr(placeholder))}"
    if not torch.is_tensor(vectors) or vectors.dtype not in FLOATS:
        kind = str(vectors.dtype).removeprefix("torch.") if torch.is_tensor(vectors) else "no plain tensor"
        raise UserError(f"{what} is not of real numbers ({kind}); give an embeddings.pt that training wrote")
    if vectors.dim() not in (1, 2) or not vectors.numel():
        raise UserError(f"{what} has the shape {list(vectors.shape)}; a word has one or several vectors, [n, width]")
    if vectors.dim() == 2 and len(vectors) > MAX_VECTORS:
        raise UserError(f"{what} has {len(vectors):,} vectors, more than any prompt has room for ({MAX_VECTORS:,})")
    vectors = vectors.detach().float().reshape(-1, vectors.shape[-1])
    if not bool((vectors.abs() <= MAX_NUMBER).all()):
        raise UserError(f"{what} holds numbers that are not finite (NaN, infinity) or too large for any text encoder; "
                        "its training went wrong or the file is damaged; take an earlier embeddings_gs-*.pt")
    return vectors
