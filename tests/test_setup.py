"""The callback that keeps a run on disk. Whole runs, interrupted ones too: tests/test_train_new.py."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from ldm.errors import UserError
from ldm.inversion import TextualInversion
from setup import LAST, PREVIOUS, CheckpointFiles, SetupCallback


@pytest.fixture
def setup(tmp_path):
    return SetupCallback(tmp_path / "run", "now", OmegaConf.create({"model": 1}), OmegaConf.create({"trainer": 2}))


def trainer(**changes):
    return SimpleNamespace(**{"is_global_zero": True, "global_step": 3} | changes)


def test_the_configs_of_a_run_are_kept(setup):
    setup.take_folder()
    assert not list((setup.logdir / "configs").iterdir()), "nothing before training begins"
    setup.on_train_start(trainer(), None)
    setup.on_exception(trainer(), None, KeyboardInterrupt())
    assert {p.name: OmegaConf.load(p) for p in (setup.logdir / "configs").iterdir()} == {
        "now-project.yaml": {"model": 1}, "now-lightning.yaml": {"trainer": 2}}
    assert setup.checkpoints.is_dir() and setup.checkpoints.parent == setup.logdir


def test_one_process_of_several_writes(setup):
    setup.on_train_start(trainer(is_global_zero=False), None)
    setup.on_exception(trainer(), None, KeyboardInterrupt())
    assert not setup.logdir.exists()


def test_a_run_folder_that_cannot_be_made(tmp_path, setup):
    (tmp_path / "file").write_text("a file")
    setup.logdir = tmp_path / "file/run"
    with pytest.raises(UserError, match="run: the run folder cannot be made.*--logdir"):
        setup.take_folder()


def test_runs_of_one_name_get_folders_of_their_own(tmp_path):
    def take():
        return SetupCallback(tmp_path / "run", "now", OmegaConf.create(), OmegaConf.create()).take_folder()

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: take(), range(16)))
    assert len(set(taken)) == 16 and tmp_path / "run" in taken and all(p.is_dir() for p in taken)


@pytest.mark.parametrize("steps", [0, -1])
def test_some_steps_lie_between_checkpoints(tmp_path, steps):
    with pytest.raises(UserError, match="every_n_train_steps must be at least 1"):
        SetupCallback(tmp_path, "now", OmegaConf.create(), OmegaConf.create(), steps)


def test_the_first_interruption_waits_for_the_step_and_the_second_does_not(setup, capsys):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    setup.on_train_start(trainer(), None)
    try:
        assert not setup.interrupted
        signal.raise_signal(signal.SIGTERM)
        assert setup.interrupted and "once more to stop at once" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        setup.on_exception(trainer(), None, KeyboardInterrupt())
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before, "what handled them before is back"


def test_words_that_are_not_finite_are_not_saved(setup, small_model):
    setup.take_folder()
    with torch.no_grad():
        small_model.embedding_manager.string_to_param_dict["*"][0, 0] = float("inf")
    with pytest.raises(UserError, match="not finite at step 3; lower"):
        setup.save(trainer(), TextualInversion(small_model))
    assert not list(setup.checkpoints.iterdir())


def test_a_full_disk_leaves_what_was_saved(setup, small_model, monkeypatch):
    """Whatever write fails: one line, and the state that was there is whole."""
    setup.take_folder()
    state = {"state_dict": {}, "global_step": 2}
    CheckpointFiles().save_checkpoint(state, setup.checkpoints / "last.ckpt")
    before = (setup.checkpoints / "last.ckpt").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch, pytest.raises(UserError, match="could not be written .No space left"):
            patch.setattr(os, name, full)
            setup.save(trainer(save_checkpoint=lambda path: CheckpointFiles().save_checkpoint(state, path)),
                       TextualInversion(small_model))
    assert (setup.checkpoints / "last.ckpt").read_bytes() == before
    assert {p.name for p in setup.checkpoints.iterdir()} == {"last.ckpt"}


def test_the_state_before_the_last_is_kept_and_leftovers_are_swept(setup, small_model):
    setup.take_folder()

    def save_checkpoint(path):
        CheckpointFiles().save_checkpoint({"global_step": step}, path)

    for step in (1, 2, 3):
        setup.save(trainer(global_step=step, save_checkpoint=save_checkpoint), TextualInversion(small_model))
    steps = {n: CheckpointFiles().load_checkpoint(setup.checkpoints / n)["global_step"] for n in (LAST, PREVIOUS)}
    assert steps == {LAST: 3, PREVIOUS: 2}
    (setup.checkpoints / ".last.ckpt.abcd1234").write_bytes(b"half")
    (setup.checkpoints / "embeddings.pt").unlink()
    setup.reopen_folder(small_model, 3)
    assert {p.name for p in setup.checkpoints.iterdir()} == {
        LAST, PREVIOUS, "embeddings.pt", *(f"embeddings_gs-{n}.pt" for n in (1, 2, 3))}
