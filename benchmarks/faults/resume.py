"""Stopped at any step, and gone on with: python -m benchmarks.faults resume

Runs of all variants, with and without accumulation, workers and validation, end at some step, are interrupted or are
killed there, and go on: what they learn equals, after every step, what a run learns that was not stopped. Then runs
whose rate is far too high, which must be stopped with the last good word kept."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.faults.runs import NO_GRIDS, QUICK, ROOT, Disk, Ended, compare, only_run, resume, train, warm_up
from ldm.embedding_files import read_embeddings

COUNT = 160
VALIDATION = ("data.params.validation.target=ldm.data.personalized.PersonalizedBase",
              "data.params.validation.params.size=64", "data.params.validation.params.repeats=1",
              "data.params.validation.params.set=val")
ENGLISH = "data.params.train.params.templates=['a photo of a {}','a drawing of a {}']"
MIXED = "data.params.train.params.templates=['{}의 사진','a drawing of a {}','{} 그림']"
EVERYWHERE = "model.params.personalization_config.params.everywhere=true"
GRIDS = ("lightning.callbacks.image_logger.params.disabled=false",
         "lightning.callbacks.image_logger.params.max_images=1",
         "lightning.callbacks.image_logger.params.batch_frequency=2",
         "lightning.callbacks.image_logger.params.log_images_kwargs.ddim_steps=1")


@dataclass
class Kind:
    """A kind of run: what makes it, and how many steps it has, more than an epoch."""

    name: str
    settings: tuple[str, ...] = ()
    variant: str = ""
    steps: int = 12
    devices: int = 1

    @property
    def script(self) -> str:
        """The script of the variant."""
        return f"train_new{'_' * bool(self.variant)}{self.variant}.py"


def accumulate(batches: int) -> str:
    """The setting for so many batches a step."""
    return f"lightning.trainer.accumulate_grad_batches={batches}"


KINDS = [
    Kind("base"), Kind("base, validated", VALIDATION), Kind("base, two workers", ("data.params.num_workers=2",)),
    Kind("base, two batches a step", (accumulate(2),), steps=8), Kind("base, grids", GRIDS),
    Kind("base, three batches a step, validated", (accumulate(3), *VALIDATION), steps=7),
    Kind("base, three batches a step, two workers", (accumulate(3), "data.params.num_workers=2"), steps=7),
    Kind("base, validated within epochs", (*VALIDATION, "lightning.trainer.val_check_interval=0.3")),
    Kind("base, a part of each epoch", ("lightning.trainer.limit_train_batches=7", accumulate(2)), steps=9),
    Kind("base, mirrored", ("data.params.train.params.flip_p=0.5", *VALIDATION)),
    Kind("v1", (), "v1"), Kind("v1, everywhere, two batches a step", (EVERYWHERE, accumulate(2)), "v1", 8),
    Kind("v1, validated", VALIDATION, "v1"),
    Kind("v2, Korean", (), "v2"), Kind("v2, English", (ENGLISH,), "v2"),
    Kind("v2, both, two batches a step, validated", (MIXED, accumulate(2), *VALIDATION), "v2", 8),
    Kind("two devices", ("lightning.trainer.accelerator=cpu", "lightning.trainer.devices=2",
                         "lightning.trainer.strategy=ddp"), steps=7, devices=2),
]
ENDS = ("finished", "interrupted", "killed")
RATES = (0.05, 0.07, 0.1, 0.4, 1.0, 5.0, 100.0, 1000.0)  # configs/emoji has 0.0008


def stop_after(folder: Path, step: int, how: str) -> None:
    """In a child: be interrupted, or killed, when the state of a step has got its name."""
    def act(number: int, kind: str, path: str) -> None:
        if kind == "os.rename" and path.endswith(f"/embeddings_gs-{step}.pt"):
            os.kill(os.getpid(), signal.SIGKILL if how == "killed" else signal.SIGINT)

    if how != "finished":
        Disk(folder, act).watch()


def started(kind: Kind, logs: Path, steps: int, stop: int = 0, how: str = "finished") -> Ended:
    """A new run of a kind."""
    settings = (*NO_GRIDS, *kind.settings, f"lightning.trainer.max_steps={steps}")
    config = f"finetune{'-' * bool(kind.variant)}{kind.variant}"
    if kind.devices == 1:
        return train(logs, *settings, script=kind.script, config=config, before=partial(stop_after, logs, stop, how))
    return in_processes("--base", f"configs/emoji/{config}.yaml", "--actual_resume", "models/ldm/emoji/model.ckpt",
                        "--data_root", "dataset/flamingo", "--init_word", "bird", "--logdir", f"{logs}", *QUICK,
                        *settings)


def in_processes(*arguments: str) -> Ended:
    """A run that Lightning starts again for each device: not in a forked process."""
    ended = subprocess.run([sys.executable, "train_new.py", "-t", *arguments], cwd=ROOT, capture_output=True, text=True)
    return Ended(ended.returncode, ended.stderr)


def trial(kind: Kind, whole: Path, logs: Path, stop: int, how: str) -> str:
    """What went wrong in a run that stopped after a step, and went on: "" for nothing."""
    ended = started(kind, logs, stop if how == "finished" else kind.steps, stop, how)
    if ended.status not in {"finished": (0,), "interrupted": (130, 0), "killed": (-signal.SIGKILL,)}[how]:
        return f"does not stop: {ended}"
    run = only_run(logs)
    assert run is not None
    if not list(run.glob("checkpoints/last*.ckpt")):
        return ""  # killed before the first state
    if kind.devices == 1:
        ended = resume(run, f"lightning.trainer.max_steps={kind.steps}")
    else:
        ended = in_processes("--resume", f"{run}", f"lightning.trainer.max_steps={kind.steps}")
    if ended.status != 0 or "going on at step" not in ended.err:
        return f"does not go on: {ended}"
    return compare(run, whole) or compare_grids(run, whole)


def compare_grids(run: Path, whole: Path) -> str:
    """How the pictures of a run differ from those of one that was not stopped; where it stopped it may have more."""
    ours, theirs = ({p.name: p.read_bytes() for p in r.glob("images/train/*.png")} for r in (run, whole))
    return f"the pictures {different} differ" if (different := [n for n in theirs if ours.get(n) != theirs[n]]) else ""


def diverging(logs: Path, rate: float, more: tuple[str, ...]) -> str:
    """What went wrong with a run at a rate that is too high: "" for nothing."""
    ended = train(logs, *NO_GRIDS, "data.params.batch_size=8", f"model.base_learning_rate={rate}", *more,
                  "lightning.modelcheckpoint.params.every_n_train_steps=100", "lightning.trainer.max_steps=60")
    if not ended.one_line or "at step" not in ended.err:
        return f"not stopped: {ended}"
    run = only_run(logs)
    kept = None if run is None else read_embeddings(run / "checkpoints/embeddings.pt")["*"]
    good = kept is not None and bool(torch.isfinite(kept).all()) and float(kept.norm(dim=1).max()) < 25
    return "" if good else "the last good word is not there"


def run(seed: int, count: int) -> tuple[int, int, list[str]]:
    """(trials that went well, trials, what happened in the others)."""
    warm_up()
    rng, failures = random.Random(seed), list[str]()
    cases = [(kind, stop, how) for kind in KINDS for stop in range(1, kind.steps)
             for how in (ENDS if kind.devices == 1 else ENDS[:1])]
    rates = [(rate, more) for rate in RATES for more in ((), ("--variant", "v1"))]
    chosen = rng.sample(cases, min(count, len(cases)))
    chosen.sort(key=lambda case: KINDS.index(case[0]))
    with tempfile.TemporaryDirectory(prefix="faults-resume-") as folder:
        for kind, stop, how in chosen:
            logs, part = Path(folder, f"{KINDS.index(kind)}"), Path(folder, "part")
            if only_run(logs) is None and (ended := started(kind, logs, kind.steps)).status != 0:
                failures.append(f"{kind.name}: {ended}")
                continue
            whole = only_run(logs)
            assert whole is not None
            if wrong := trial(kind, whole, part, stop, how):
                failures.append(f"{kind.name}, {how} at step {stop}: {wrong}")
            shutil.rmtree(part, ignore_errors=True)
        for rate, more in (chosen_rates := rng.sample(rates, min(len(rates), -(-count // 10)))):
            if wrong := diverging(part := Path(folder, "rate"), rate, more):
                failures.append(f"rate {rate} {' '.join(more)}: {wrong}")
            shutil.rmtree(part, ignore_errors=True)
    total = len(chosen) + len(chosen_rates)
    return total - len(failures), total, failures
