"""A suite takes a word that it has learned again only for the same request."""

from argparse import Namespace
from pathlib import Path

import pytest

from evaluation import suite
from evaluation.suite import Suite
from tests.conftest import EMOJI, ROOT


@pytest.fixture
def learn(tmp_path, monkeypatch):
    """learn(flags of the suite, its variant, arguments) -> the file; learning itself leaves an empty one."""
    learned = []

    def train(arguments, variant):
        logs, name = Path(arguments[arguments.index("-l") + 1]), arguments[arguments.index("--name") + 1]
        run = logs / f"2026-01-01T00-00-{len(learned):02}_{name}"
        (run / "checkpoints").mkdir(parents=True)
        (run / "checkpoints/embeddings.pt").touch()
        learned.append((arguments, variant))

    def learn(flags=None, variant=None, overrides=(), folder=ROOT / "dataset/flamingo"):
        made = Suite.__new__(Suite)
        made.opt = Namespace(**{"out": tmp_path / "out", "ckpt_path": str(EMOJI), "config": None, "override": [],
                                "init_word": None} | (flags or {}))
        made.variant, made.by_slug = variant, {folder.name: {"kind": "bird"}}
        return made.learn(folder, overrides)

    monkeypatch.setattr(suite.train_new, "main", train)
    return learn


def test_the_same_request_learns_once(learn):
    assert learn() == learn() and learn({"override": ["a.b=1"]}) == learn(overrides=("a.b=1",))


def test_every_other_request_learns_anew_and_keeps_the_old(learn, tmp_path):
    pictures = tmp_path / "flamingo"
    pictures.mkdir()
    for file in (ROOT / "dataset/flamingo").iterdir():
        (pictures / file.name).write_bytes(file.read_bytes())
    checkpoint = tmp_path / "model.ckpt"
    checkpoint.write_bytes(EMOJI.read_bytes()[:-1])
    (tmp_path / "config.yaml").write_bytes((EMOJI.parent / "config.yaml").read_bytes())
    requests = [
        {}, {"flags": {"init_word": "dog"}}, {"variant": "v1"}, {"variant": "v2"},
        {"flags": {"override": ["lightning.trainer.max_steps=5"]}}, {"overrides": ("lightning.trainer.max_steps=6",)},
        {"overrides": ("run.seed=5",)}, {"flags": {"ckpt_path": str(checkpoint)}}]
    files = [learn(**request) for request in requests]
    assert len(set(files)) == len(requests) and [learn(**request) for request in requests] == files
    assert learn(folder=pictures) == files[0], "the same pictures elsewhere"
    first = sorted(pictures.iterdir())[0]
    first.write_bytes(first.read_bytes() + b"\0")
    assert learn(folder=pictures) not in files
    assert all(f.is_file() for f in files) and {f.parts[-3][20:] for f in files} == {"flamingo"}


def test_the_best_step_is_of_the_run_that_stops_by_itself(monkeypatch, tmp_path):
    asked = []
    made = Suite.__new__(Suite)
    monkeypatch.setattr(made, "learn", lambda folder, *more: asked.append(more) or tmp_path / "embeddings.pt")
    files = [made.learn_by_itself(tmp_path, name).name for name in suite.BY_ITSELF]
    assert files == ["embeddings.pt", "embeddings.pt", "embeddings_best.pt", "embeddings_best.pt"]
    assert asked[1] == asked[2] and asked[2][1] == "auto_stop" and asked[0][0] == ("--init_word", "auto")
    assert asked[3][1] == "best_of_all"


def test_words_without_a_note_of_what_made_them_are_learned_anew(learn, tmp_path):
    first = learn()
    (first.parents[1] / "learned").write_text("")
    assert learn() != first and first.is_file()


def test_another_config_under_the_same_name_learns_anew(learn, tmp_path, monkeypatch):
    first = learn()
    (tmp_path / "finetune.yaml").write_text(suite.CONFIGS[None].read_text().replace("8.0e-04", "8.0e-03"))
    monkeypatch.setitem(suite.CONFIGS, None, tmp_path / "finetune.yaml")
    assert learn() != first
