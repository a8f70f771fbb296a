"""Trainings that wait, run and have run: files in a folder, which the page and the process that trains share.

Each is a command line of train_new.py. The page may be closed, killed and started again meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from ldm.errors import UserError
from ldm.files import write_bytes
from ldm.util import ROOT

WAITING, LEARNING, LEARNED, STOPPED, FAILED = "waiting", "learning", "learned", "stopped", "failed"
MOST_WAITING = 20
ATTEMPTS = 3  # that are made at a run which ends without a word, as when the machine is switched off


@dataclass(frozen=True)
class Job:
    """A training, as its file has it."""

    id: str
    name: str                      # of the word
    arguments: tuple[str, ...]     # of train_new.py, for a new run
    pictures: str = ""             # the folder that it learns from; its name is this job's alone
    more: tuple[str, ...] = ()     # arguments for a run that goes on
    state: str = WAITING
    run: str | None = None         # its run folder, once there is one
    attempts: int = 0
    said: str = ""                 # the last thing it said, where it failed
    created: float = 0.0
    started: float = 0.0           # when it last began
    ended: float = 0.0
    asked_to_stop: bool = False
    pid: int = field(default=0, compare=False)

    @property
    def over(self) -> bool:
        """Whether nothing is done about it any more."""
        return self.state in (LEARNED, STOPPED, FAILED)


class Jobs:
    """A folder of trainings. Whatever reads and then writes does so in a transaction of its own."""

    def __init__(self, folder: Path, logdir: Path):
        self.folder, self.logdir = folder, logdir

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Nobody else changes anything meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def listing(self) -> list[Job]:
        """All of them, the oldest first. A file that is none is passed over."""
        jobs = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                content |= {name: tuple(content[name]) for name in ("arguments", "more")}
                jobs.append(Job(**content))
            except (OSError, ValueError, TypeError, KeyError):
                continue
        return jobs

    def find(self, id: str | None) -> Job:
        """The one of an id. Raises UserError where there is none, as for any path."""
        for job in self.listing():
            if job.id == id:
                return job
        raise UserError("this run is not in the list any more; choose another" if id else "choose a run first")

    def log(self, job: Job) -> Path:
        """The file of what a training has said."""
        return self.folder / f"{job.id}.log"

    def _write(self, job: Job) -> Job:
        write_bytes(self.folder / f"{job.id}.json", json.dumps(asdict(job), ensure_ascii=False, indent=1).encode())
        return job

    def change(self, id: str, **values: Any) -> Job:
        """Write other values of one; within a transaction."""
        return self._write(replace(self.find(id), **values))

    # What the page asks for ------------------------------------------------------------------------------------------

    @staticmethod
    def new_id() -> str:
        """A name for a training that no other has; they sort by time."""
        now = time.time_ns()
        return time.strftime("%Y%m%dT%H%M%S", time.localtime(now // 10**9)) + f"{now % 10**9:09}-{secrets.token_hex(4)}"

    def add(self, job: Job) -> Job:
        """Put a training at the end of the queue. Raises UserError where too many wait."""
        with self.transaction():
            if sum(not j.over for j in self.listing()) >= MOST_WAITING:
                raise UserError(f"{MOST_WAITING} runs wait already; let some of them finish first")
            self._write(replace(job, created=time.time()))
        self.ensure_runner()
        return job

    def stop(self, id: str | None) -> Job:
        """Let a training end after the step under way, saved; one that waits does not begin."""
        with self.transaction():
            job = self.find(id)
            if job.state == WAITING:
                return self.change(job.id, state=STOPPED, ended=time.time())
            return job if job.over else self.change(job.id, asked_to_stop=True)

    def go_on(self, id: str | None, more: tuple[str, ...] = ()) -> Job:
        """Let a training that is over wait again; it goes on where it was, if it had begun."""
        with self.transaction():
            job = self.find(id)
            if job.over:
                job = self.change(job.id, state=WAITING, attempts=0, said="", asked_to_stop=False,
                                  more=more or job.more)
        self.ensure_runner()
        return job

    def forget(self, id: str | None) -> None:
        """Take a training that is over from the list; what it learned stays."""
        with self.transaction():
            job = self.find(id)
            if not job.over:
                raise UserError("stop the run first")
            (self.folder / f"{job.id}.json").unlink(missing_ok=True)
            self.log(job).unlink(missing_ok=True)

    def is_learning(self, run: Path) -> bool:
        """Whether a run folder is being written to, or will be, by one of these."""
        return any(not job.over and job.run and Path(job.run).resolve() == run.resolve() for job in self.listing())

    def ensure_runner(self) -> None:
        """Start the process that trains, unless there is one or nothing to do. It is nobody's child: it goes on when
        the page ends."""
        with self.transaction():
            if all(job.over for job in self.listing()) or not (lock := try_lock(self.folder / ".runner")):
                return
            lock.close()
        with open(os.devnull, "rb") as null, open(self.folder / "runner.log", "ab") as log:
            subprocess.Popen([sys.executable, "-m", "webui.runner", str(self.folder), str(self.logdir)], cwd=ROOT,
                             stdin=null, stdout=log, stderr=log, start_new_session=True)


def try_lock(path: Path) -> IO[bytes] | None:
    """A file that is locked until it is closed, by children that inherit it too; None where another process has it."""
    file = open(path, "ab")  # noqa: SIM115  # the lock is as long as the file is open
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def run_of(job: Job, logdir: Path) -> str | None:
    """The run folder that learns from a job's pictures, if it has begun."""
    if not job.pictures:
        return job.run
    wanted = re.compile(rf"\bdata_root: .*{re.escape(Path(job.pictures).name)}\b")
    for config in sorted(logdir.glob("*/configs/*-project.yaml"), reverse=True):
        if config.stat().st_mtime >= job.created - 60 and wanted.search(config.read_text(encoding="utf-8")):
            return str(config.parent.parent)
    return None
