"""How long a run is, said beforehand in pictures, and after its first steps in minutes and memory."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from tqdm import tqdm

MEASURED = 3  # steps that the pace is told by, behind the first, which is slower


def describe_length(steps: int, batch: int, accumulated: int, devices: int, pictures: int, rate: float,
                    scaled: bool) -> str:
    """One line: how many pictures a run of so many steps (-1: no end) sees, and what the rate is to each of a step's.

    A run is as long as its pictures are many: a batch of half the size needs twice the steps.
    """
    parts = [(f"batches of {batch}", 1), (f"{accumulated} accumulated", accumulated), (f"{devices} devices", devices)]
    size = batch * accumulated * devices
    made_of = " x ".join(text for text, count in parts if count > 1 or text.startswith("b")) if size != batch else ""
    step = f"{size} picture{'s' * (size != 1)}" + f" ({made_of})" * bool(made_of)
    length = f"{step} a step" if steps < 0 else (
        f"{steps:,} steps of {step}: {steps * size:,} in all, each of the {pictures} about "
        f"{steps * size / pictures:,.0f} times")
    return length + (f"; a step's rate of {rate:g} is {rate / size:g} for each of its pictures" if scaled else
                     f"; a step's rate is {rate:g}, whatever the batch")


def duration(seconds: float) -> str:
    """About how long something takes: "40 s", "5 min", "2.5 h"."""
    return (f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 90 * 60 else
            f"{seconds / 3600:.1f} h")


def peak_memory(device: torch.device) -> int | None:
    """Bytes: of a GPU, the most that tensors have taken so far; of a CPU, the most that this process has; None where
    that is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Pace(pl.Callback):
    """Says on stderr, once the first steps have shown it, how long learning will take, and what memory it has taken.

    To be the first callback, so that what others do between steps is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.began: float | None = None    # when the step under way did
        self.step: int | None = None       # that was last seen
        self.seconds: list[float] = []     # of each step

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """A step begins with its first batch."""
        if self.began is None:
            self.began, self.step = time.perf_counter(), trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step ends with its last batch."""
        if self.began is None or trainer.global_step == self.step:
            return
        self.seconds.append(time.perf_counter() - self.began)
        self.began = None
        if len(self.seconds) == MEASURED + 1 and trainer.is_global_zero and trainer.global_step < trainer.max_steps:
            tqdm.write(self.describe(trainer.max_steps - trainer.global_step, peak_memory(pl_module.device)),
                       file=sys.stderr)

    def describe(self, steps: int, memory: int | None) -> str:
        """One line: what so many more steps take."""
        pace = statistics.median(self.seconds[1:])
        needed = "" if memory is None else f"; {memory / 1e9:.1f} GB of memory so far"
        return (f"{pace:.2g} s a step: about {duration(pace * steps)} for the {steps:,} that are left, and what "
                f"drawing and saving take{needed}")
