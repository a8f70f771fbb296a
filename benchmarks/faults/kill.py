"""Killed, or out of disk, at every single operation: python -m benchmarks.faults kill

A short run is killed before each of its operations on the disk, and the disk is full from each of them on. It then goes
on to where it would have ended, bit for bit, with no temporary file left; a full disk is one clear line."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.faults.runs import NO_GRIDS, Disk, compare, full_disk, only_run, resume, train, warm_up

COUNT = 400  # at most; a run has about sixty operations
STEPS = "lightning.trainer.max_steps=3"
GRIDS = ("lightning.callbacks.image_logger.params.batch_frequency=2",
         "lightning.callbacks.image_logger.params.max_images=1",
         "lightning.callbacks.image_logger.params.log_images_kwargs.ddim_steps=1")


def watch(folder: Path, at: int, how: str) -> None:
    """In a child: die, or have no room, from operation number `at` on."""
    def act(number: int, kind: str, path: str) -> None:
        if how == "kill" and number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "full" and number >= at and kind in Disk.WRITES:
            raise full_disk(path)

    Disk(folder, act).watch()


def operations(folder: Path, settings: tuple[str, ...]) -> int:
    """How many operations an uninterrupted run has, which is left in the folder."""
    record = folder.parent / "operations"

    def probe() -> None:
        def count(number: int, kind: str, path: str) -> None:
            record.write_text(f"{number + 1}")

        Disk(folder, count).watch()

    ended = train(folder, STEPS, *settings, before=probe)
    assert ended.status == 0, ended
    return int(record.read_text())


def trial(whole: Path, logs: Path, settings: tuple[str, ...], how: str, at: int) -> str:
    """What went wrong in a run that was stopped so, and went on: "" for nothing."""
    ended = train(logs, STEPS, *settings, before=partial(watch, logs, at, how))
    if how == "kill" and ended.status not in (-signal.SIGKILL, 0):  # threads differ in how often they write
        return f"killed: {ended}"
    if how == "full" and not ended.one_line and ended.status != 0:
        return f"no clear line: {ended}"
    run = only_run(logs)
    if run is None or not (run / "checkpoints/last.ckpt").exists():
        ended = train(logs / "again", STEPS, *settings)
        run = only_run(logs / "again")
    else:
        ended = resume(run, STEPS)
    if ended.status != 0 or run is None:
        return f"does not go on: {ended}"
    return compare(run, whole)


def run(seed: int, count: int) -> tuple[int, int, list[str]]:
    """(trials that went well, trials, what happened in the others)."""
    warm_up()
    failures = []
    with tempfile.TemporaryDirectory(prefix="faults-kill-") as folder:
        cases = []
        for name, settings in (("plain", NO_GRIDS), ("grids", GRIDS)):
            logs = Path(folder, name, "whole")
            found = operations(logs, settings)
            cases += [(name, settings, how, at) for how in ("kill", "full") for at in range(found)]
        random.Random(seed).shuffle(cases)
        for name, settings, how, at in cases[:count]:
            whole = only_run(Path(folder, name, "whole"))
            assert whole is not None
            logs = Path(folder, "part")
            if wrong := trial(whole, logs, settings, how, at):
                failures.append(f"{name}, {how} at operation {at}: {wrong}")
            shutil.rmtree(logs, ignore_errors=True)
    total = min(count, len(cases))
    return total - len(failures), total, failures
