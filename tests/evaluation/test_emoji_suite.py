"""The report card: its arithmetic, and a small one made with real training."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation import emoji_suite, evaluate, gallery
from evaluation.clip_eval import CLIPEvaluator
from evaluation.measures import JUDGE, background, both_right, interval, ranks
from ldm.data.emoji import COLOURS
from ldm.data.pictures import open_image
from ldm.errors import UserError
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


@pytest.fixture(scope="module")
def judge():
    return CLIPEvaluator(str(JUDGE))


def test_the_judge_names_pictures_it_has_not_seen(judge):
    concepts = json.loads((JUDGE / "concepts.json").read_text(encoding="utf-8"))
    references = read_tensors(JUDGE / "concepts.safetensors")["features"].float()
    assert references.shape == (len(concepts), judge.encode_text(["a cat"]).shape[1])
    place = {c["slug"]: i for i, c in enumerate(concepts)}
    files = sorted((ROOT / "dataset").glob("*/*.png"))
    pictures = [open_image(f) for f in files]
    rank = ranks(judge.encode_images(pictures), references, [place[f.parent.name] for f in files])
    assert len(files) >= 24 * 5 and (rank < 1).mean() > 0.85 and (rank < 5).mean() > 0.97
    pair = Image.new("RGB", (128, 128), "white")  # bagel, sailboat
    for x, name in ((0, "bagel"), (64, "sailboat")):
        pair.paste(pictures[[f.parent.name for f in files].index(name)].resize((64, 64)), (x, 32))
    names = [[place["bagel"], place["sailboat"]], [place["sailboat"], place["bagel"]], [place["bagel"], place["tiger"]]]
    assert both_right(judge, [pair] * 3, references, names) == [True, True, False]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """(folder, report) of a quick report card: two words are learned at the default settings."""
    folder = tmp_path_factory.mktemp("suite")
    emoji_suite.main(["--quick", "--json", str(folder / "report.json"), "--out", str(folder)])
    return folder, json.loads((folder / "report.json").read_text())


def test_quick_report_card(quick):
    folder, report = quick
    parts = {"seen": ["top1", "top5", "background", "both"],
             "heldout": ["top1", "top5", "clip_i", "background", "both"],
             "initword": ["top1", "top5", "clip_i", "background", "both"]}
    assert {f"{part}/{name}" for part, names in parts.items() for name in names} <= set(report)
    assert all(r["low"] <= r["value"] <= r["high"] and r["n"] > 0 for r in report.values())
    value = {name: r["value"] for name, r in report.items()}
    assert value["seen/top5"] > 0.6 and value["seen/background"] > 0.9 and value["ceiling/seen/top1"] > 0.9
    assert value["heldout/clip_i"] > value["initword/clip_i"] and value["heldout/background"] > 0.6
    assert len(list(folder.glob("*.png"))) == 2


def test_gallery_and_evaluation_of_words_already_learned(quick, tmp_path):
    folder, _ = quick
    name = next(folder.glob("*.png")).stem
    runs = sorted(folder.glob("runs/*"))
    gallery.main(["--concepts", name, "--out", str(folder), "--picture", str(tmp_path / "gallery.png")])
    assert sorted(folder.glob("runs/*")) == runs, "it learned again what was there"
    width, height = Image.open(tmp_path / "gallery.png").size
    assert width == 100 * (3 + 5) and height == 46 + 100
    word = next(folder.glob(f"runs/*_{name}/checkpoints/embeddings.pt"))
    evaluate.main(["--embedding_path", str(word), "--data_root", str(ROOT / "dataset" / name), "--n_samples", "1",
                   "--ddim_steps", "8", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "report.json").read_text())
    assert 0 < report["fidelity"]["low"] <= report["fidelity"]["value"] < 1 and report["editability"]["n"] > 1
    assert (tmp_path / "sheet.png").is_file()


def test_unknown_concepts_are_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="zeppelin: not among the held-out"):
        emoji_suite.main(["--concepts", "zeppelin"])
    with pytest.raises(UserError, match="no folder here"):
        emoji_suite.main(["--data_root", str(tmp_path), "--parts", "heldout"])
