"""The queue of trainings: files that survive everybody, and a process that outlives the page."""

import os
import subprocess
import sys
import time

import pytest

from ldm.errors import UserError
from ldm.runs import read_state
from tests.conftest import EMOJI, ROOT
from webui import runner
from webui.jobs import FAILED, LEARNED, LEARNING, MOST_WAITING, STOPPED, WAITING, Job, Jobs, run_of, try_lock


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A queue whose runner is called by hand."""
    monkeypatch.setattr(Jobs, "ensure_runner", lambda self: None)
    return Jobs(tmp_path / "queue", tmp_path / "logs")


def job(jobs, *arguments, name="<x>", **values):
    return jobs.add(Job(jobs.new_id(), name, arguments, **values))


def test_runs_wait_in_their_order_and_survive_as_files(jobs):
    first, second = job(jobs, "-t", name="<a>"), job(jobs, "-t", name="<b>")
    assert [j.name for j in Jobs(jobs.folder, jobs.logdir).listing()] == ["<a>", "<b>"]
    assert jobs.stop(first.id).state == STOPPED and jobs.find(second.id).state == WAITING
    assert jobs.go_on(first.id).state == WAITING
    with pytest.raises(UserError, match="stop the run first"):
        jobs.forget(second.id)
    jobs.stop(second.id)
    jobs.forget(second.id)
    assert [j.name for j in jobs.listing()] == ["<a>"]
    for id in ("../queue/x", "", None, second.id):
        with pytest.raises(UserError):
            jobs.find(id)
    (jobs.folder / "broken.json").write_text("{")
    assert len(jobs.listing()) == 1


def test_the_queue_is_bounded(jobs):
    for _ in range(MOST_WAITING):
        job(jobs, "-t")
    with pytest.raises(UserError, match="wait already"):
        job(jobs, "-t")


def test_a_run_that_cannot_begin_says_why_and_the_next_one_has_its_turn(jobs):
    for name in ("none", "nothing"):
        job(jobs, "-t", "--base", f"{name}.yaml")
    runner.main(jobs.folder, jobs.logdir)
    assert [(j.state, j.said.split()[0]) for j in jobs.listing()] == [(FAILED, "error:")] * 2
    assert "none.yaml" in jobs.listing()[0].said and jobs.listing()[0].run is None


def test_a_stop_that_comes_while_a_training_begins_is_not_lost(jobs, monkeypatch):
    made, wait = job(jobs, "-t", "--base", "none.yaml"), runner.wait_for_lock

    def stopped_meanwhile(jobs, id):
        assert jobs.stop(id).state == LEARNING, "it is taken, and does not wait any more"
        with pytest.raises(UserError, match="stop the run first"):
            jobs.forget(id)
        return wait(jobs, id)

    monkeypatch.setattr(runner, "wait_for_lock", stopped_meanwhile)
    runner.main(jobs.folder, jobs.logdir)
    assert jobs.find(made.id).state == STOPPED and not jobs.log(made).exists(), "nothing was begun"


def test_only_one_process_trains(jobs):
    waiting = job(jobs, "-t", "--base", "none.yaml")
    lock = try_lock(jobs.folder / ".runner")
    runner.main(jobs.folder, jobs.logdir)
    assert jobs.find(waiting.id).state == WAITING
    lock.close()


def test_a_run_that_was_to_stop_when_the_machine_was_switched_off_is_stopped_and_others_have_three_tries(jobs):
    stopped = job(jobs, "-t", state=LEARNING, asked_to_stop=True, attempts=1)
    tried = job(jobs, "-t", state=LEARNING, attempts=3)
    runner.main(jobs.folder, jobs.logdir)
    assert jobs.find(stopped.id).state == STOPPED
    assert jobs.find(tried.id).state == FAILED and "memory" in jobs.find(tried.id).said


def test_the_run_of_a_job_is_the_one_that_learns_from_its_pictures(jobs):
    made = job(jobs, "-t", pictures="logs/webui/pictures/20260101T000000-abcd")
    for name, pictures in (("one", "20260101T000000-abc"), ("two", "20260101T000000-abcd")):
        (jobs.logdir / name / "configs").mkdir(parents=True)
        (jobs.logdir / name / "configs/2026-01-01T00-00-00-project.yaml").write_text(
            f"data:\n  data_root: logs/webui/pictures/{pictures}\n")
    assert run_of(made, jobs.logdir) == str(jobs.logdir / "two")


def arguments(tmp_path, steps):
    """A training of so many steps, which takes nothing but time."""
    return ("--base", "configs/emoji/finetune.yaml", "-t", "--actual_resume", str(EMOJI), "--logdir",
            str(tmp_path / "logs"), "--name", "x", "--datadir_in_name", "false", "--data_root",
            str(tmp_path / "pictures"), "--judge", "off", "--stop", "off", "--preview_prompt", "{}",
            f"lightning.trainer.max_steps={steps}", "lightning.callbacks.image_logger.params.disabled=true",
            "data.params.batch_size=1")


def eventually(condition, seconds=120):
    """Wait until something holds; other people's work may stop this machine for a while."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_training_survives_its_page_and_its_runner_and_is_stopped_and_resumed(tmp_path):
    """A runner is killed while it trains; the next one waits for that training, stops it when asked, and goes on."""
    (tmp_path / "pictures").symlink_to(ROOT / "dataset/green_apple")
    jobs = Jobs(tmp_path / "queue", tmp_path / "logs")
    command = [sys.executable, "-m", "webui.runner", str(jobs.folder), str(jobs.logdir)]
    made = Job(jobs.new_id(), "<x>", arguments(tmp_path, 100_000), pictures=str(tmp_path / "pictures"))
    with jobs.transaction():
        jobs._write(made)
    first = subprocess.Popen(command, cwd=ROOT)
    eventually(lambda: jobs.find(made.id).run is not None)
    pid = jobs.find(made.id).pid
    first.kill()
    first.wait()
    assert os.path.exists(f"/proc/{pid}") or not os.path.exists("/proc"), "the training goes on"
    second = subprocess.Popen(command, cwd=ROOT)
    time.sleep(1)
    assert jobs.find(made.id).pid == pid, "it is waited for, not begun again"
    jobs.stop(made.id)
    assert second.wait(120) == 0
    stopped = jobs.find(made.id)
    assert stopped.state == STOPPED
    step = read_state(jobs.logdir / stopped.run / "checkpoints/last.ckpt")["global_step"]
    assert 0 < step < 100_000

    with jobs.transaction():
        jobs.change(made.id, state=WAITING, asked_to_stop=False, attempts=0,
                    more=(f"lightning.trainer.max_steps={step + 2}",))
    assert subprocess.run(command, cwd=ROOT, timeout=120).returncode == 0
    assert jobs.find(made.id).state == LEARNED and jobs.find(made.id).run == stopped.run
    assert read_state(jobs.logdir / stopped.run / "checkpoints/last.ckpt")["global_step"] == step + 2
