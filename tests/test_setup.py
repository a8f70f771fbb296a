"""The callback that keeps a run on disk. Whole runs, interrupted ones too: tests/test_train_new.py."""

import signal
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from ldm.errors import UserError
from ldm.inversion import TextualInversion
from setup import SetupCallback


@pytest.fixture
def setup(tmp_path):
    return SetupCallback(tmp_path / "run", "now", OmegaConf.create({"model": 1}), OmegaConf.create({"trainer": 2}))


def trainer(**changes):
    return SimpleNamespace(**{"is_global_zero": True, "global_step": 3} | changes)


def test_the_configs_of_a_run_are_kept(setup):
    setup.on_fit_start(trainer(), None)
    assert {p.name: OmegaConf.load(p) for p in (setup.logdir / "configs").iterdir()} == {
        "now-project.yaml": {"model": 1}, "now-lightning.yaml": {"trainer": 2}}
    assert setup.checkpoints.is_dir() and setup.checkpoints.parent == setup.logdir


def test_one_process_of_several_writes(setup):
    setup.on_fit_start(trainer(is_global_zero=False), None)
    assert not setup.logdir.exists()


def test_a_run_folder_that_cannot_be_made(tmp_path, setup):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="run: the run folder cannot be made.*--logdir"):
        setup.make_folders()


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
    setup.make_folders()
    with torch.no_grad():
        small_model.embedding_manager.string_to_param_dict["*"][0, 0] = float("inf")
    with pytest.raises(UserError, match="not finite at step 3; lower"):
        setup.save(trainer(), TextualInversion(small_model))
    assert not list(setup.checkpoints.iterdir())


def test_a_full_disk_leaves_what_was_saved(setup, small_model):
    setup.make_folders()
    (setup.checkpoints / "last.ckpt").write_bytes(b"before")

    def save_checkpoint(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="could not be written .No space left on device.; what was saved before"):
        setup.save(trainer(save_checkpoint=save_checkpoint), TextualInversion(small_model))
    assert {p.name: p.read_bytes() for p in setup.checkpoints.iterdir()} == {"last.ckpt": b"before"}
