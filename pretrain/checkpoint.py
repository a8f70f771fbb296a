"""Resumable state of a training by the clock, and its flags."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ldm.cli import CommandParser, count, positive, rate, training_seed

if TYPE_CHECKING:
    import torch


def parser(description: str, example: str, minutes: float, batch_size: int, learning_rate: float) -> CommandParser:
    """The flags of a training by the clock."""
    flags = CommandParser(description=description, example=example)
    flags.add_argument("--run", type=Path, required=True, metavar="FOLDER",
                       help="folder of the run; an existing one is resumed")
    flags.add_argument("--minutes", type=positive, default=minutes, help="training time in all, over all resumptions")
    flags.add_argument("--batch_size", type=count, default=batch_size, metavar="N", help="sentences a step")
    flags.add_argument("--learning_rate", type=rate, default=learning_rate, help="peak rate; decays to a hundredth")
    flags.add_argument("--seed", type=training_seed, default=0, help="seed of everything random")
    return flags


class Run:
    """Modules and optimizer of one training, its clock, and the file they resume from.

    The learning rate follows the clock: linear warm-up over the first hundredth of the time, then a half cosine
    down to a hundredth of the peak.
    """

    def __init__(self, folder: Path, minutes: float, modules: Mapping[str, torch.nn.Module],
                 optimizers: Sequence[torch.optim.Optimizer]) -> None:
        from ldm.serialization import read_tensors

        self.file, self.seconds = folder / "state.pt", minutes * 60
        self.modules, self.optimizers = modules, optimizers
        self.step, self.elapsed = 0, 0.0
        self.peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        if self.file.exists():
            state = read_tensors(self.file)
            for name, module in modules.items():
                module.load_state_dict(state["modules"][name])
            for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step, self.elapsed = state["step"], state["elapsed"]
            print(f"resuming {self.file} at step {self.step}, minute {self.elapsed / 60:.1f}", flush=True)
        self.clock = time.monotonic()

    @property
    def progress(self) -> float:
        """Share of the training time gone, in [0, 1]."""
        return min(1.0, self.elapsed / self.seconds)

    def tick(self) -> bool:
        """Advance the clock and set the learning rate; False when the time is up. A process that was stopped does
        not age: a step counts a minute at most."""
        import torch

        now = time.monotonic()
        self.elapsed, self.clock = self.elapsed + min(now - self.clock, 60), now
        warm = min(1.0, self.progress / 0.01)
        cosine = 0.01 + 0.99 * (0.5 + 0.5 * float(torch.cos(torch.tensor(torch.pi * self.progress))))
        for optimizer, peaks in zip(self.optimizers, self.peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * warm * cosine
        return self.elapsed < self.seconds

    def update(self, loss: torch.Tensor) -> None:
        """One step down the loss, its gradient clipped to norm 1."""
        import torch

        loss.backward()
        parameters = [p for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def save(self) -> None:
        """Write the file that a later call resumes from."""
        from ldm.serialization import write_tensors

        write_tensors(self.file, {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizers": [o.state_dict() for o in self.optimizers], "step": self.step, "elapsed": self.elapsed,
        })
