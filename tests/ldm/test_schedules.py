"""The rate over a run: what texts mean, that it is a function of the step, and what training makes of it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import train_new
import train_new_v1
from ldm.schedules import SHAPES, Schedule, parse_schedule, refusal
from tests.conftest import assert_one_line_error, run_main
from tests.runs import EXACT, flags, learned, only_run


def test_constant_is_what_was():
    for text in (None, "", "constant", " constant "):
        schedule = parse_schedule(text)
        assert not schedule.varies and not schedule.needs_end and schedule.factor(7, 10) == 1.0


def test_rates_are_taken_until_their_steps():
    schedule = parse_schedule("0.05:10, 0.02:20, 0.001")
    rates = [schedule.first_rate * schedule.factor(step, 100) for step in (0, 9, 10, 19, 20, 99)]
    assert rates == pytest.approx([0.05, 0.05, 0.02, 0.02, 0.001, 0.001], rel=1e-12)
    assert parse_schedule("0.05:10,0.02:20").factor(50, 100) == pytest.approx(0.4), "the last goes on"
    assert parse_schedule("0.05:10,, 0.001,") == parse_schedule("0.05:10, 0.001"), "what is empty counts for nothing"
    assert parse_schedule("5e-3:100, 1e-3:-1") == parse_schedule("0.005:100,0.001"), "-1 is the end"
    assert parse_schedule("0.005").first_rate == 0.005 and not parse_schedule("0.005").varies


def test_shapes_rise_and_fall():
    linear, cosine = parse_schedule("linear:4"), parse_schedule("cosine")
    assert [linear.factor(n, 14) for n in (0, 1, 3, 4, 9, 13)] == pytest.approx([0.2, 0.4, 0.8, 1, 0.5, 0.1])
    assert [cosine.factor(n, 10) for n in (0, 5, 9)] == pytest.approx([1, 0.5, (1 - math.cos(math.pi / 10)) / 2])
    assert [parse_schedule("constant:3").factor(n, 10) for n in (0, 3, 9)] == [0.25, 1, 1]


@pytest.mark.parametrize("text", ["cosin", "cosine:", "cosine:-1", "0.05:10, 0.02:10", "0.05:20, 0.02:10", "0.05, 0.02",
                                  ",", "0:10, 0.1", "nan", "1e9", "0.05:99999999999", "fast", "0.05:ten", "-0.1",
                                  "0.05:-1, 0.1", "linear:1:2", "1.2.3"])
def test_what_is_no_schedule_is_refused(text):
    assert refusal(text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(SHAPES), st.integers(0, 50), st.integers(1, 60), st.integers(0, 80))
def test_a_shape_is_never_negative_nor_above_its_rate(shape, warm_up, steps, step):
    factor = Schedule(shape, warm_up).factor(step, steps)
    assert 0 <= factor <= 1 and (factor > 0 or step >= steps)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text("0123456789.:,e- constantlinearcosine", max_size=20))
def test_any_text_is_a_schedule_or_not(text):
    if refusal(text) is None:
        assert 0 < parse_schedule(text).factor(0, 10) <= 1


@pytest.mark.parametrize("arguments, words", [
    (("--lr_schedule", "cosin"), ["--lr_schedule: 'cosin'", "constant, cosine or linear"]),
    (("--lr_schedule", "0.05:10, 0"), ["--lr_schedule: '0.05:10, 0'", "'0' is no rate"]),
    (("model.lr_schedule=0.05:20, 0.02:10",), ["model.lr_schedule=0.05:20, 0.02:10", "0.05:10, 0.02:20, 0.001",
                                               "'0.02:10' ends at a step that is not above 20"]),
    (("--lr_schedule", "0.05, 0.02"), ["'0.02' stands behind a rate that goes on to the end"]),
    (("model.lr_schedule=0.1",), ["model.lr_schedule=0.1", "text"]),
    (("--lr_schedule", "cosine", "lightning.trainer.max_steps=-1"), ["model.lr_schedule=cosine", "max_steps"])])
def test_a_wrong_schedule_is_one_line(tmp_path, arguments, words):
    assert_one_line_error(run_main(train_new.main, *flags(tmp_path / "logs"), *arguments), *words)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("arguments, said", [
    (("--lr_schedule", "cosine:30"), "rate 0.0064 (cosine with a warm-up of 30 steps over 300 steps), 300 steps"),
    (("--lr_schedule", "0.05:10, 0.02:20, 0.001"), "rate 0.4 until step 10, then 0.16 until step 20, then 0.008, 300"),
    (("--lr_schedule", "0.05:10, 0.001", "--scale_lr", "false"), "rate 0.05 until step 10, then 0.001, 300"),
    (("--lr_schedule", "constant"), "learning rate 0.0064, 300 steps")])
def test_rates_are_scaled_and_said(tmp_path, arguments, said):
    result = run_main(train_new.main, *flags(tmp_path), *arguments)
    assert result.status == 0 and said in result.err, result.err


def rates_and_words(logs, *arguments, main=train_new.main, steps=4, base="configs/emoji/finetune.yaml"):
    """The optimizer's rates after a run, and its vectors."""
    result = run_main(main, *flags(logs, base=base), "-t", *EXACT, f"lightning.trainer.max_steps={steps}", *arguments)
    assert result.status == 0, result.err
    state = torch.load(only_run(logs) / "checkpoints/last.ckpt", weights_only=True)
    return [group["lr"] for group in state["optimizer_states"][0]["param_groups"]], learned(only_run(logs))


@pytest.mark.slow
def test_training_takes_the_rate_of_each_step(tmp_path):
    base = ("model.base_learning_rate=0.01",)
    _, constant = rates_and_words(tmp_path / "constant", *base)
    (last,), linear = rates_and_words(tmp_path / "linear", *base, "--lr_schedule", "linear")
    assert last == pytest.approx(0.01 / 4), "the last of four steps"
    _, listed = rates_and_words(tmp_path / "listed", "--lr_schedule", "0.01:1, 0.0075:2, 0.005:3, 0.0025")
    assert torch.allclose(linear, listed, atol=1e-7) and not torch.allclose(linear, constant)
    _, same = rates_and_words(tmp_path / "same", "--lr_schedule", "0.01")
    assert torch.equal(same, constant), "bit for bit"


@pytest.mark.slow
def test_the_layers_of_v1_follow_at_their_own_rate(tmp_path):
    rates, _ = rates_and_words(tmp_path, "--lr_schedule", "0.01:1, 0.005", main=train_new_v1.main, steps=2,
                               base="configs/emoji/finetune-v1.yaml")
    assert rates == pytest.approx([0.005, 0.5e-4, 2e-3]), "vectors, layers, gate"


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["cosine:2", "0.01:2, 0.02:4, 0.001"])
def test_a_run_that_goes_on_has_the_rates_that_it_would_have_had(tmp_path, schedule):
    more = ("--lr_schedule", schedule)
    rates, whole = rates_and_words(tmp_path / "whole", *more, steps=6)
    for stop in (1, 2, 4):
        # stopped, not ended: the run is one of six steps
        part = tmp_path / f"part{stop}"
        result = run_main(train_new.main, *flags(part), "-t", *EXACT, *more, "lightning.trainer.max_steps=6",
                          "lightning.trainer.limit_train_batches=1", f"lightning.trainer.max_epochs={stop}")
        assert result.status == 0, result.err
        result = run_main(train_new.main, "-t", "--resume", only_run(part), "lightning.trainer.limit_train_batches=1.0",
                          "lightning.trainer.max_epochs=-1")
        assert result.status == 0 and f"going on at step {stop}" in result.err, result.err
        assert torch.equal(learned(only_run(part)), whole)


@pytest.mark.slow
def test_a_run_that_is_made_longer_goes_on_on_the_longer_curve(tmp_path):
    (rate,), _ = rates_and_words(tmp_path, "--lr_schedule", "linear", steps=2)
    assert rate == pytest.approx(8e-4 / 2)
    result = run_main(train_new.main, "-t", "--resume", only_run(tmp_path), "lightning.trainer.max_steps=4")
    assert "rate 0.0008 (linear over 4 steps, 0.0004 at step 2), 4 steps" in result.err
    state = torch.load(only_run(tmp_path) / "checkpoints/last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(2e-4)


@pytest.mark.slow
def test_a_schedule_given_at_resume_counts_from_there_on(tmp_path):
    rates_and_words(tmp_path, steps=2)
    result = run_main(train_new.main, "-t", "--resume", only_run(tmp_path), "--lr_schedule", "linear",
                      "lightning.trainer.max_steps=4")
    assert result.status == 0, result.err
    state = torch.load(only_run(tmp_path) / "checkpoints/last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(2e-4)
