"""Which words of a prompt became which tokens of its translation: where the weights of words go in v2."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from improvement.v2.aligner import Aligner, SourceEncoding


def cross_attention(aligner: Aligner, source: SourceEncoding, token_embeddings: torch.Tensor, prefix: torch.Tensor
                    ) -> torch.Tensor:
    """How much the decoder takes from each source token for each token of a translation, [B, N, M]: the mean over the
    heads, and over the layers but the first of several, which looks before it knows what for. Arguments are those of
    `Aligner.forward`."""
    maps: list[torch.Tensor] = []
    hooks = []
    for layer in list(aligner.decoder.layers)[len(aligner.decoder.layers) > 1 :]:
        hooks.append(layer.multihead_attn.register_forward_pre_hook(
            lambda module, args, options: (args, options | {"need_weights": True}), with_kwargs=True))
        hooks.append(layer.multihead_attn.register_forward_hook(lambda module, args, output: maps.append(output[1])))
    try:
        aligner(source, token_embeddings, prefix)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(maps).mean(dim=0)


def align(attention: torch.Tensor, words: Sequence[int]) -> list[int]:
    """The source word that each token of a translation takes most from, by attention [N, M] to source tokens of these
    words; -1 is none, and at least one has one. Words whose tokens are known otherwise, as copies are, have none."""
    columns = torch.tensor(words, device=attention.device)
    taken = torch.stack([attention[:, columns == word].sum(dim=1) for word in range(max(words) + 1)], dim=1)
    return taken.argmax(dim=1).tolist()


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
