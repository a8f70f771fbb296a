"""The process that trains: one run after another, each a train_new.py of its own. The page starts it.

It goes on when the page ends. Killed, it leaves a training that goes on; the next one waits for that, then looks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from ldm.util import ROOT
from webui.jobs import ATTEMPTS, FAILED, LEARNED, LEARNING, STOPPED, Job, Jobs, run_of, try_lock

PAUSE = 0.2  # seconds between two looks at what is going on


def main(folder: Path, logdir: Path) -> None:
    """Do all that waits in a folder of jobs, unless another process does."""
    jobs = Jobs(folder, logdir)
    with jobs.transaction():
        lock = try_lock(folder / ".runner")
    if lock is None:
        return
    signal.signal(signal.SIGINT, lambda *_: None)  # a handler, not ignored: children begin with the default
    while True:
        with jobs.transaction():  # whoever adds a job after this finds the lock free
            job = next((job for job in jobs.listing() if not job.over), None)
            if job is None:
                lock.close()
                return
            # at once, so that a stop from now on is one of a training; it was interrupted if it is learning already
            attempts = job.attempts + 1 if job.state == LEARNING else 1
            jobs.change(job.id, state=LEARNING, attempts=attempts)
        learn(jobs, job.id)


def learn(jobs: Jobs, id: str) -> None:
    """Run a job's training to its end, and write down how it ended."""
    alive = wait_for_lock(jobs, id)
    job = jobs.find(id)
    run = job.run or run_of(job, jobs.logdir)
    if job.asked_to_stop or job.attempts > ATTEMPTS:
        state, said = (STOPPED, "") if job.asked_to_stop else (
            FAILED, f"ended {ATTEMPTS} times without a word; is there enough memory?")
        with jobs.transaction():
            jobs.change(id, state=state, said=said, run=run, ended=time.time())
        return
    goes_on = run is not None and any(Path(run, "checkpoints", name).is_file()
                                      for name in ("last.ckpt", "last-previous.ckpt"))
    arguments = ["-t", "--resume", str(run), *job.more] if goes_on else [*job.arguments, *job.more]
    with open(jobs.log(job), "ab") as log:
        process = subprocess.Popen([sys.executable, "train_new.py", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, pass_fds=[alive.fileno()], start_new_session=True)
    with jobs.transaction():
        jobs.change(id, started=time.time(), pid=process.pid, run=run)
    status = watch(jobs, id, process)
    alive.close()
    with jobs.transaction():
        job = jobs.find(id)
        state = LEARNED if status == 0 else STOPPED if job.asked_to_stop or status == 130 else FAILED
        jobs.change(id, state=state, ended=time.time(), run=job.run or run_of(job, jobs.logdir),
                    said=last_line(jobs.log(job)) if state == FAILED else "")


def wait_for_lock(jobs: Jobs, id: str) -> IO[bytes]:
    """A file that is locked as long as this job's training lives. One whose parent was killed is waited for."""
    told = None
    while (alive := try_lock(jobs.folder / f".{id}.alive")) is None:
        told = tell_stop(jobs.find(id), told)
        time.sleep(PAUSE)
    return alive


def watch(jobs: Jobs, id: str, process: subprocess.Popen[bytes]) -> int:
    """Wait for a training, write down its run folder, and stop it when that is asked for: its exit status."""
    told: float | None = None
    while (status := process.poll()) is None:
        job = jobs.find(id)
        told = tell_stop(job, told)
        if job.run is None and (run := run_of(job, jobs.logdir)):
            with jobs.transaction():
                jobs.change(id, run=run)
        time.sleep(PAUSE)
    return status


def tell_stop(job: Job, told: float | None) -> float | None:
    """Send a training that shall stop what Ctrl-C sends, once: when that was done."""
    if job.asked_to_stop and told is None and job.pid:
        try:
            os.kill(job.pid, signal.SIGINT)
        except ProcessLookupError:
            return None
        return time.time()
    return told


def last_line(log: Path) -> str:
    """The last line of what a training has said that says anything."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "")[:500]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
