"""Things of kinds that nothing was trained on: what they are told from, and how."""

from argparse import Namespace

import pytest
import torch

from evaluation import kinds_suite
from evaluation.kinds import KINDS, SIDE, kind_of, read_kind
from evaluation.kinds_suite import among_themselves, autoencoder_features, measure
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


def test_real_pictures_are_told_apart_and_others_are_not(emoji_model):
    """Of each thing, its own training pictures against those of another of its kind."""
    suite = Namespace(model=emoji_model, judge=CLIPEvaluator(str(JUDGE)))
    folder, other = [folder for folder in FOLDERS if kind_of(folder.name) == "robot"][:2]
    own, foreign = open_images(folder), open_images(other)
    kind = read_kind(kind_of(folder.name))
    right, wrong = (measure(suite, own, pictures, kind, folder.name) for pictures in (own, foreign))
    assert right["nearest"] == right["ceiling"] >= 0.8 > 0.2 >= wrong["nearest"]
    assert right["clip_i"] > wrong["clip_i"] and right["autoencoder"] > wrong["autoencoder"]


def test_features_of_the_autoencoder_do_not_depend_on_the_batch(emoji_model):
    pictures = open_images(FOLDERS[0])
    together = autoencoder_features(emoji_model, pictures)
    assert torch.allclose(together[2:3], autoencoder_features(emoji_model, pictures[2:3]), atol=1e-4)
    same = torch.nn.functional.normalize(together[:1], dim=1).expand(3, -1)
    assert among_themselves(same) == pytest.approx(1)


def test_a_folder_of_no_known_kind_is_named():
    result = run_main(kinds_suite.main, "--concepts", "flamingo")
    assert_one_line_error(result, "flamingo: no folder of")
