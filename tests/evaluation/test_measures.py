"""Intervals, ranks, backgrounds, both of two things; and the judge that measures."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.measures import JUDGE, background, both_right, interval, ranks, ratio
from ldm.data.emoji import COLOURS
from ldm.data.pictures import open_image
from ldm.serialization import read_tensors
from tests.conftest import ROOT


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


def test_the_judge_names_pictures_it_has_not_seen(judge):
    concepts = json.loads((JUDGE / "concepts.json").read_text(encoding="utf-8"))
    references = read_tensors(JUDGE / "concepts.safetensors")["features"].float()
    assert references.shape == (len(concepts), judge.encode_text(["a cat"]).shape[1])
    place = {c["slug"]: i for i, c in enumerate(concepts)}
    files = [f for f in sorted((ROOT / "dataset").glob("*/*.png")) if f.parent.name in place]
    pictures = [open_image(f) for f in files]
    rank = ranks(judge.encode_images(pictures), references, [place[f.parent.name] for f in files])
    assert len(files) >= 24 * 5 and (rank < 1).mean() > 0.85 and (rank < 5).mean() > 0.97
    pair = Image.new("RGB", (128, 128), "white")  # bagel, sailboat
    for x, name in ((0, "bagel"), (64, "sailboat")):
        pair.paste(pictures[[f.parent.name for f in files].index(name)].resize((64, 64)), (x, 32))
    names = [[place["bagel"], place["sailboat"]], [place["sailboat"], place["bagel"]], [place["bagel"], place["tiger"]]]
    assert both_right(judge, [pair] * 3, references, names) == [True, True, False]


def test_a_ratio_is_of_means_and_paired():
    halved = ratio([1, 0, 1, 0], [1, 1, 1, 1])
    assert halved["value"] == 0.5 and halved["low"] < 0.5 < halved["high"] and halved["n"] == 4
    same = ratio([1, 0, 1, 1], [1, 0, 1, 1])
    assert same["value"] == same["low"] == same["high"] == 1
