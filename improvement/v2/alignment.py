"""Which words of a prompt became which tokens of its translation: where the weights of words go in v2."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from improvement.v2.aligner import Aligner, SourceEncoding


def hide_each(words: Sequence[int]) -> torch.Tensor:
    """bool [W, M]: for each of W words the source tokens, of these words, that are its; -1 is none."""
    return torch.tensor(words) == torch.arange(max(words) + 1)[:, None]


def align(aligner: Aligner, without: SourceEncoding, token_embeddings: torch.Tensor, tokens: torch.Tensor) -> list[int]:
    """The source word that each token of a translation needs most: that without which it is least likely (occlusion:
    Zeiler and Fergus, arXiv 1311.2901; where a decoder looks says less: Jain and Wallace, arXiv 1902.10186).

    without: the sentence, each time without another of its words; tokens [1, N]: ids of the extended vocabulary.
    """
    tokens = tokens.expand(len(without.memory), -1)
    logits = aligner(without, token_embeddings, tokens[:, :-1])[1]
    return logits.log_softmax(dim=-1).gather(2, tokens[..., None])[..., 0].argmin(dim=0).tolist()


def weighed_words(text: str, weights: Sequence[float], spans: Sequence[tuple[int, int]]
                  ) -> tuple[list[int], list[float]]:
    """(the word of each token, -1 for none; the weight of each word) of a text with a weight for each letter, whose
    tokens are these (start, end). A word ends at a space and where the weight changes."""
    word_of_letter: dict[int, int] = {}
    word_weights: list[float] = []
    for (space, weight), letters in groupby(range(len(text)), key=lambda i: (text[i].isspace(), weights[i])):
        if not space:
            word_of_letter |= dict.fromkeys(letters, len(word_weights))
            word_weights.append(weight)
    return [next((word_of_letter[i] for i in range(*span) if i in word_of_letter), -1) for span in spans], word_weights
