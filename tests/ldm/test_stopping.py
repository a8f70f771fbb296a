"""Stopping by itself: when losses have settled, where runs stop, and how far a word has moved."""

import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import load
import train_new
from ldm.embedding_files import read_embeddings
from ldm.modules.embedding_manager import EmbeddingManager
from ldm.provenance import note_provenance
from ldm.stopping import AutoStop, describe_movement, set_stop, settled
from tests.conftest import run_main
from tests.runs import EXACT, flags, learned, only_run

# losses are measured at every step, and settle as soon as there are more than the window
SOON = ("--stop", "auto", "lightning.callbacks.stopping.params.window=4", "lightning.callbacks.stopping.params.every=1",
        "lightning.callbacks.stopping.params.pictures=2", "lightning.callbacks.stopping.params.threshold=1.0",
        "model.base_learning_rate=0.02")


@given(st.lists(st.floats(0, 1), max_size=12), st.integers(2, 12))
def test_losses_have_not_settled_before_there_are_more_than_the_window(losses, window):
    assert len(losses) > window or not settled(losses, window, 1.0)


def test_what_falls_as_it_fell_has_not_settled_and_what_stays_has():
    falling = [1 - 0.01 * i for i in range(60)]
    assert not any(settled(falling[:n], 10, 0.02) for n in range(61))
    fallen = [*falling, *(0.4 + 0.002 * (-1) ** i for i in range(40))]
    first = next(n for n in range(101) if settled(fallen[:n], 10, 0.02))
    assert 60 < first <= 72
    assert settled(fallen, 10, 0.02) and not settled(fallen, 10, 0.0), "at 0 nothing has ever settled"


@given(st.lists(st.floats(0.1, 1), min_size=6, max_size=12), st.floats(0.1, 10))
def test_the_scale_of_the_loss_does_not_matter(losses, scale):
    for threshold in (0.1, 0.5):
        ratio = torch.tensor(losses[-5:]).double().var() / max(torch.tensor(losses).double().var(), 1e-12)
        if abs(float(ratio) * len(losses) * 4 / (5 * (len(losses) - 1)) - threshold) > 1e-3:  # as population variances
            assert settled([scale * loss for loss in losses], 5, threshold) == settled(losses, 5, threshold)


def test_a_window_of_one_loss_is_refused():
    with pytest.raises(Exception, match="longer window"):
        AutoStop(window=5, every=5)


def go(*arguments):
    result = run_main(train_new.main, *arguments)
    assert result.status == 0, result.err
    return result


def test_a_config_without_stopping_gets_the_papers_numbers_and_one_with_it_keeps_its_own():
    config = load.load_config("configs/latent-diffusion/txt2img-1p4B-finetune.yaml")
    set_stop(config, "off")
    assert "stopping" not in config.lightning.callbacks
    set_stop(config, "auto")
    assert load.check_config(config, ["lightning"]).lightning.callbacks.stopping.target == "ldm.stopping.AutoStop"
    set_stop(config, "off")
    assert config.lightning.callbacks.stopping.params.disabled is True
    config = load.load_config("configs/emoji/finetune.yaml")
    window = config.lightning.callbacks.stopping.params.window
    set_stop(config, "auto")
    params = config.lightning.callbacks.stopping.params
    assert params.disabled is False and params.window == window


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    logs = tmp_path_factory.mktemp("stopped")
    result = go(*flags(logs), "-t", *EXACT, *SOON, "lightning.trainer.max_steps=20")
    return only_run(logs), result.err


def step_of(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"]


@pytest.mark.slow
def test_a_run_stops_by_itself_and_says_so(stopped, tmp_path):
    run, said = stopped
    step = step_of(run)
    assert 4 <= step < 20 and f"has settled at step {step} of at most 20" in said
    assert torch.equal(learned(run), read_embeddings(run / f"checkpoints/embeddings_gs-{step}.pt")["*"])
    copy = shutil.copytree(run, tmp_path / "run")
    assert f"has stopped by itself at step {step}; --stop off goes on" in go("-t", "--resume", copy).err
    go("-t", "--resume", copy, "--stop", "off", f"lightning.trainer.max_steps={step + 1}")
    assert step_of(copy) == step + 1


@pytest.mark.slow
def test_measuring_changes_nothing(stopped, tmp_path):
    run, _ = stopped
    step = step_of(run)
    go(*flags(tmp_path), "-t", *EXACT, "--stop", "off", "model.base_learning_rate=0.02",
       f"lightning.trainer.max_steps={step}")
    assert torch.equal(learned(run), learned(only_run(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_stops_where_one_that_was_not_stopped_does(stopped, tmp_path, stop):
    whole, _ = stopped
    go(*flags(tmp_path), "-t", *EXACT, *SOON, f"lightning.trainer.max_steps={stop}")
    part = only_run(tmp_path)
    go("-t", "--resume", part, "lightning.trainer.max_steps=20")
    assert step_of(part) == step_of(whole) and torch.equal(learned(part), learned(whole))
    losses = [torch.load(r / "checkpoints/last.ckpt", weights_only=True)["callbacks"]["AutoStop"]["losses"]
              for r in (part, whole)]
    assert losses[0] == losses[1] and len(losses[0]) == step_of(whole) + 1


@pytest.mark.slow
def test_losses_on_other_pictures_begin_anew(tmp_path):
    more = ("-t", *EXACT, *SOON)
    go(*flags(tmp_path), *more, "lightning.trainer.max_steps=2")
    run = only_run(tmp_path)
    go("-t", "--resume", run, "--data_root", "dataset/green_apple", "lightning.trainer.max_steps=4")
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["callbacks"]["AutoStop"]
    assert len(state["losses"]) == 3, "at steps 2, 3 and 4"


def test_how_far_a_word_has_moved(small_model):
    manager = EmbeddingManager(small_model.cond_stage_model, ["*", "<new>"], ["cat", "old dog"],
                               num_vectors_per_token=2)
    small_model.embedding_manager = manager
    note_provenance(small_model, "model.ckpt", [], from_file=False)
    length = float(manager.string_to_param_dict["*"].detach().norm(dim=1).mean())
    with torch.no_grad():
        manager.string_to_param_dict["*"][:, 0] += torch.tensor([0.73, 0.93])
        manager.string_to_param_dict["<new>"] += 1e-6
    lines = describe_movement(manager)
    assert lines[0] == f"the word * moved 0.83 from its start, which is {length:.2f} long"
    assert lines[1].startswith("the word <new> moved 0.00") and lines[2].startswith("warning: <new> has hardly")
    assert "base_learning_rate" in lines[2] and len(lines) == 3


@pytest.mark.slow
def test_a_word_that_did_not_move_is_a_warning(tmp_path):
    more = ("-t", *EXACT, "lightning.trainer.max_steps=1")
    assert "hardly learned anything" in go(*flags(tmp_path / "a"), *more, "model.base_learning_rate=1e-6").err
    assert "hardly learned anything" not in go(*flags(tmp_path / "b"), *more, "model.base_learning_rate=0.01").err
