"""How much of a learned word there is in it: between the vectors that learning started from and the learned ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import torch

from ldm.errors import UserError
from ldm.modules.embedding_manager import initial_vectors
from ldm.progress import counted, say
from ldm.util import quoted

if TYPE_CHECKING:
    from ldm.modules.embedding_manager import EmbeddingManager

T = TypeVar("T")


def set_strength(manager: EmbeddingManager, strengths: Sequence[float], init_words: Sequence[str] = ()) -> None:
    """Take the learned words at a strength: one for all, or one for each in order. 0 is the start, 1 the word, bit for
    bit; less drowns less of a prompt, and more than 1 goes on beyond the word.

    init_words, one or one for each, are what the words started from whose files do not say it. Raises UserError where
    that is not known, and for other numbers of strengths and words.
    """
    words = list(manager.string_to_param_dict)
    if len(strengths) not in (1, len(words)):
        raise UserError(f"--strength: {len(strengths)} of them for {_named(words)}; give one, or one for each in order")
    starts = {word: known_start(manager, word) for word in words}
    unknown = [word for word, start in starts.items() if start is None]
    if init_words and not unknown:
        say(f"--init_word is not needed: the file says what {' '.join(words)} started from")
    elif len(init_words) not in (0, 1, len(unknown)):
        raise UserError(f"--init_word: {counted(len(init_words), 'word')} for {_named(unknown)}, whose files do not "
                        "say what they started from; give one, or one for each in order")
    for word, init_word in zip(unknown, _one_each(init_words, len(unknown)), strict=False):
        starts[word] = _vectors_of(manager, word, init_word)
    for word, strength in zip(words, _one_each(strengths, len(words)), strict=True):
        if strength == 1:
            continue
        start = starts[word]
        if start is None:
            raise UserError(f"--strength: the file of {quoted(word)} does not say what the word started from; name it "
                            "with --init_word, such as --init_word fruit")
        manager.take_at(word, start, strength)


def known_start(manager: EmbeddingManager, word: str) -> torch.Tensor | None:
    """The vectors [n, dim] that learning a word started from, as its file has them, or those of the initial word that
    it names; None where it says neither."""
    provenance = manager.provenance.get(word)
    if provenance is None:
        return None
    if provenance.start is not None and provenance.start.shape == manager.string_to_param_dict[word].shape:
        return provenance.start
    return _vectors_of(manager, word, provenance.init_word) if provenance.init_word else None


def _vectors_of(manager: EmbeddingManager, word: str, init_word: str) -> torch.Tensor:
    """The vectors [n, dim] that a word of as many would start from, from another initial word."""
    table = manager.embedder.token_embeddings.weight.detach()
    ids = torch.tensor(manager.init_word_ids(init_word), device=table.device)
    return initial_vectors(table[ids], len(manager.string_to_param_dict[word]))


def _one_each(values: Sequence[T], count: int) -> Sequence[T]:
    return [*values] * count if len(values) == 1 else values


def _named(words: Sequence[str]) -> str:
    return f"{counted(len(words), 'word')} ({' '.join(words)})"
