"""How long a run is, said beforehand in pictures, minutes and memory, and how far it is."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch

from ldm.fixed_loss import fixed_batch
from ldm.progress import bar, counted, duration, say

MEASURED = 3       # steps that the pace is told by, behind the first, which is slower
WORTH_A_PROBE = 8  # steps for which the pace is not tried beforehand, since they are soon over
SLOW = 2.0         # seconds: a first step that takes longer is not tried again
REFRESH = 5        # steps between two looks at the loss


def describe_length(steps: int, batch: int, accumulated: int, devices: int, pictures: int, rate: float,
                    scaled: bool) -> str:
    """One line: how many pictures a run of so many steps (-1: no end) sees, and what the rate is to each of a step's.

    A run is as long as its pictures are many: a batch of half the size needs twice the steps.
    """
    parts = [(f"batches of {batch}", 1), (f"{accumulated} accumulated", accumulated), (f"{devices} devices", devices)]
    size = batch * accumulated * devices
    made_of = " x ".join(text for text, count in parts if count > 1 or text.startswith("b")) if size != batch else ""
    step = counted(size, "picture") + f" ({made_of})" * bool(made_of)
    length = f"{step} a step" if steps < 0 else (
        f"{counted(steps, 'step')} of {step}: {steps * size:,} in all, "
        f"{f'each of the {pictures}' if pictures > 1 else 'the only one'} about "
        f"{counted(round(steps * size / pictures), 'time')}")
    return length + (f"; a step's rate of {rate:g} is {rate / size:g} for each of its pictures" if scaled else
                     f"; a step's rate is {rate:g}, whatever the batch")


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


def probe(trainer: pl.Trainer, pl_module: Any) -> float | None:
    """Seconds that a step takes: the loss of the first pictures and its gradient, once or twice, with nothing learned
    and chance as it was before. None where there is no data set to take them from."""
    data: Any = getattr(trainer, "datamodule", None)
    dataset, size = getattr(data, "datasets", {}).get("train"), getattr(data, "batch_size", None)
    if dataset is None or size is None or trainer.world_size > 1:  # several processes' gradients wait for each other
        return None
    cuda, seconds = pl_module.device.type == "cuda", [float("inf")]
    with torch.random.fork_rng([pl_module.device] if cuda else []):
        batch = fixed_batch(dataset, min(size, len(dataset)))
        batch = trainer.strategy.batch_to_device(batch, pl_module.device)
        for _ in range(2):
            began = time.perf_counter()
            with trainer.strategy.precision_plugin.train_step_context():
                loss, _parts = pl_module.model.shared_step(batch)
            loss.backward()
            pl_module.zero_grad(set_to_none=True)
            if cuda:
                torch.cuda.synchronize(pl_module.device)
            seconds.append(time.perf_counter() - began)
            if seconds[-1] > SLOW:
                break
    return min(seconds) * trainer.accumulate_grad_batches


class Pace(pl.Callback):
    """Says on stderr how long learning will take, and what memory: before it begins where that can be tried, else once
    the first steps have shown it.

    To be the first callback, so that what others do between steps is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.began: float | None = None    # when the step under way did
        self.step: int | None = None       # that was last seen
        self.seconds: list[float] = []     # of each step
        self.said = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Try a step, unless there are few."""
        steps = trainer.max_steps - trainer.global_step
        if steps > WORTH_A_PROBE and (seconds := probe(trainer, pl_module)):
            self.said = True
            say(describe_pace(seconds, steps, peak_memory(pl_module.device)))

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
            if not self.said:
                say(describe_pace(statistics.median(self.seconds[1:]), trainer.max_steps - trainer.global_step,
                                  peak_memory(pl_module.device)))
            self.said = True


def describe_pace(seconds: float, steps: int, memory: int | None) -> str:
    """One line: what so many steps of so many seconds take."""
    needed = "" if memory is None else f"; {memory / 1e9:.1f} GB of memory so far"
    return (f"{seconds:.2g} s a step: about {duration(seconds * steps)} for the {counted(steps, 'step')} to go, and "
            f"what drawing and saving take{needed}")


class LearningBar(pl.callbacks.ProgressBar):
    """One bar for all steps of a run, as `ldm.progress.bar` shows it, with the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = False
        self.steps = bar(desc="learning", disable=True)

    def disable(self) -> None:
        """Show nothing, as in all processes but the first."""
        self.hidden = True

    def enable(self) -> None:
        """Show it again."""
        self.hidden = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """The bar begins where the run goes on."""
        total = trainer.max_steps if trainer.max_steps >= 0 else None
        self.steps = bar(total=total, desc="learning", initial=trainer.global_step, disable=self.hidden)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """One step more, if this was its last batch."""
        if done := trainer.global_step - self.steps.n:
            if not self.hidden and trainer.global_step % REFRESH == 0:
                self.steps.set_postfix_str(f"loss {float(outputs['loss']):.3f}", refresh=False)
            self.steps.update(done)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """The bar is over."""
        self.steps.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """The bar is over too."""
        self.steps.close()
