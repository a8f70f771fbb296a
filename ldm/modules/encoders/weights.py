"""Weights of words in a prompt: from its letters to its tokens, and onto the features of these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch


def token_weights(weights: Sequence[float], spans: Iterable[tuple[int, int]]) -> list[float]:
    """The weight of each token (start, end) of a text with a weight for each letter: the mean over the token's; 1 for
    one without letters."""
    return [sum(weights[a:b]) / (b - a) if weights[a:b] != [1.0] * (b - a) else 1.0 for a, b in spans]


def weigh(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Features [N, D] of a prompt, each token's times its weight [N], at the magnitude and the mean of before.

    AUTOMATIC1111's web UI multiplies all by the mean of before over that of after. Behind a LayerNorm the mean is next
    to nothing, and that ratio any number, of either sign. Here it is of mean magnitudes: the same where all features
    have one sign, and always between 1 / the largest weight and 1 / the smallest. What is left of the mean's change is
    then added.
    """
    weighted = features * weights[:, None]
    weighted = weighted * (features.abs().mean() / weighted.abs().mean())
    return weighted + (features.mean() - weighted.mean())
