"""The report card's own arithmetic."""

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.emoji_suite import background, interval, ranks
from pretrain.world import COLOURS


def test_interval_holds_the_mean_and_narrows_with_more_values():
    few, many = interval([0, 1] * 5), interval([0, 1] * 500)
    assert few["value"] == many["value"] == 0.5 and few["n"] == 10 and many["n"] == 1000
    assert few["low"] < many["low"] < 0.5 < many["high"] < few["high"]
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 * 0.5 / 1000**0.5, rel=0.1)
    assert interval([1.0] * 7) == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 7}


def test_rank_counts_the_nearer_references():
    references = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [1, 1], [0, 1]]), dim=1)
    features = torch.tensor([[1.0, 0], [0, 1.0], [0, 1.0]])
    assert np.array_equal(ranks(features, references, [0, 0, 1]), [0, 2, 1])


@pytest.mark.parametrize("colour", COLOURS)
def test_background_reads_the_edge_not_the_middle(colour):
    picture = Image.new("RGB", (64, 64), tuple(min(255, c + 7) for c in COLOURS[colour][0]))
    picture.paste(Image.new("RGB", (60, 60), COLOURS["red" if colour != "red" else "blue"][0]), (2, 2))
    assert background(picture) == colour
