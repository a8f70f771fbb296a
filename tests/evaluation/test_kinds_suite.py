"""Things of kinds that nothing was trained on: what they are told from, and how."""

import pytest
import torch

from evaluation import kinds_suite
from evaluation.kinds import KINDS, SIDE, kind_of, read_kind
from evaluation.kinds_suite import among_themselves, measure
from evaluation.measures import JUDGE
from ldm.data.pictures import open_images
from ldm.judge import CLIPEvaluator
from pretrain.kinds import things_of_a_kind
from tests.conftest import ROOT, assert_one_line_error, run_main

FOLDERS = sorted(f for f in (ROOT / "dataset").iterdir() if (KINDS / f"{kind_of(f.name)}.png").exists()
                 and f.name in read_kind(kind_of(f.name)))


def test_each_kind_has_twenty_things_and_those_of_the_dataset_among_them():
    assert len(FOLDERS) == 9 and {kind_of(f.name) for f in FOLDERS} == {p.stem for p in KINDS.glob("*.png")}
    for kind in {kind_of(f.name) for f in FOLDERS}:
        own = [f.name for f in FOLDERS if kind_of(f.name) == kind]
        pictures = read_kind(kind)
        assert list(pictures) == list(things_of_a_kind(kind, own)) and list(pictures)[:len(own)] == own
        assert len(pictures) == 20 and all(p.size == (SIDE, SIDE) for four in pictures.values() for p in four)
        assert len({p.tobytes() for four in pictures.values() for p in four}) == 80


def test_real_pictures_are_told_apart_and_others_are_not():
    """Of a thing, its own training pictures against those of another of its kind."""
    folder, other = [folder for folder in FOLDERS if kind_of(folder.name) == "robot"][:2]
    own, foreign, kind = open_images(folder), open_images(other), read_kind("robot")
    judge = CLIPEvaluator(str(JUDGE))
    right, wrong = (measure(judge, own, pictures, kind, folder.name) for pictures in (own, foreign))
    assert right["nearest"] == right["ceiling"] == wrong["ceiling"] >= 0.8 > 0.2 >= wrong["nearest"]
    assert right["clip_i"] > wrong["clip_i"] and right["clip_among"] == wrong["clip_among"]


def test_how_alike_vectors_are_leaves_out_each_and_itself():
    assert among_themselves(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])) == pytest.approx((0.6 + 0 + 0.8) / 3)


def test_a_folder_of_no_known_kind_is_named():
    result = run_main(kinds_suite.main, "--concepts", "flamingo")
    assert_one_line_error(result, "flamingo: no folder of")
