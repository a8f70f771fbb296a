"""How long a run is, said in pictures, minutes and memory."""

from types import SimpleNamespace

import pytest
import torch

from ldm import plan
from ldm.plan import MEASURED, Pace, describe_length, peak_memory
from ldm.progress import duration


@pytest.mark.parametrize("arguments, line", [
    ((300, 8, 1, 1, 5, 0.0064, True), "300 steps of 8 pictures: 2,400 in all, each of the 5 about 480 times; "
     "a step's rate of 0.0064 is 0.0008 for each of its pictures"),
    ((100, 2, 3, 2, 4, 0.01, False), "100 steps of 12 pictures (batches of 2 x 3 accumulated x 2 devices): 1,200 in "
     "all, each of the 4 about 300 times; a step's rate is 0.01, whatever the batch"),
    ((10, 1, 1, 1, 3, 0.01, False), "10 steps of 1 picture: 10 in all, each of the 3 about 3 times; a step's rate is "
     "0.01, whatever the batch"),
    ((-1, 4, 2, 1, 3, 0.8, True), "8 pictures (batches of 4 x 2 accumulated) a step; a step's rate of 0.8 is 0.1 for "
     "each of its pictures")])
def test_length_of_a_run(arguments, line):
    assert describe_length(*arguments) == line


def test_durations():
    said = {3.4: "3 s", 89: "89 s", 90: "2 min", 3600: "60 min", 5400: "1.5 h", 36000: "10.0 h"}
    assert {seconds: duration(seconds) for seconds in said} == said


def run(monkeypatch, capsys, steps, accumulated=1):
    """What is said during a run whose first step takes 10 s and every other one 2."""
    clock = [0.0]
    monkeypatch.setattr(plan.time, "perf_counter", lambda: clock[0])
    pace, trainer = Pace(), SimpleNamespace(global_step=0, max_steps=steps, is_global_zero=True)
    module = SimpleNamespace(device=torch.device("cpu"))
    for batch in range(steps * accumulated):
        pace.on_train_batch_start(trainer, module, None, batch)
        clock[0] += (10 if batch < accumulated else 2) / accumulated
        trainer.global_step = (batch + 1) // accumulated
        pace.on_train_batch_end(trainer, module, None, None, batch)
        clock[0] += 100  # what other callbacks take
    return capsys.readouterr().err.splitlines()


def test_the_pace_is_said_once_the_first_steps_have_shown_it(monkeypatch, capsys):
    (line,) = run(monkeypatch, capsys, 100)
    assert line.startswith(f"2 s a step: about 3 min for the {100 - MEASURED - 1} steps to go")
    assert line.endswith(" GB of memory so far")
    assert not run(monkeypatch, capsys, MEASURED + 1), "nothing is left to foretell"


def test_memory_is_what_this_process_has():
    assert 10**8 < peak_memory(torch.device("cpu")) < 10**11


@pytest.mark.slow
def test_a_step_that_is_tried_beforehand_changes_nothing(monkeypatch, tmp_path):
    """Time and memory are said before the first step, and the word comes out as without that, bit for bit."""
    import train_new
    from tests.conftest import run_main
    from tests.runs import EXACT, flags, learned, only_run

    words = {}
    for few in (0, 100):
        monkeypatch.setattr(plan, "WORTH_A_PROBE", few)
        result = run_main(train_new.main, *flags(tmp_path / f"{few}"), "-t", *EXACT, "lightning.trainer.max_steps=3")
        assert result.status == 0, result.err
        words[few] = learned(only_run(tmp_path / f"{few}"))
        told = [line for line in result.err.splitlines() if " s a step: about " in line]
        assert len(told) == (few == 0) and all("for the 3 steps to go" in line for line in told)
    assert torch.equal(words[0], words[100])
