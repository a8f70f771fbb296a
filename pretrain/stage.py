"""One stage of pre-training on Lightning Fabric: devices, precision, steps, averaged weights, validation, resuming."""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version as package_version
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from ldm.cli import quiet_lightning
from ldm.compiling import check_compiler
from ldm.devices import fast_bfloat16
from ldm.errors import UserError
from ldm.files import write_bytes
from ldm.modules.ema import LitEma
from ldm.optim import muon_and_adam
from ldm.serialization import read_tensors, write_tensors
from ldm.util import ROOT, version
from pretrain.measure import flops, machine, peak_flops
from pretrain.stream import Onward, Pictures, Tensors, World, stream

UNFINISHED = 75  # exit status of a sitting that leaves pictures to be seen (EX_TEMPFAIL)
PACKAGES = ("torch", "pytorch-lightning", "transformers", "numpy", "pillow")  # whose versions are noted
UNTOLD = ("debug", "quiet", "run", "minutes", "workers", "accelerator", "devices", "num_nodes", "strategy", "precision",
          "compile")  # flags that change nothing in what is learned, or that the sittings tell
PAUSE = 4  # a run is saved after multiples of this many steps, see ldm.optim.Muon


def new_fabric(opt: argparse.Namespace) -> Fabric:
    """Fabric as the flags have it, its processes launched. Raises UserError for what Lightning refuses."""
    quiet_lightning()
    precision = opt.precision
    if precision == "auto":
        device = torch.device("cuda" if opt.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
        native = fast_bfloat16(device) and (  # some processors have it, and are twice as fast in float32
            device.type == "cuda" or peak_flops(device, True) > peak_flops(device, False))
        precision = "bf16-mixed" if native else "32-true"
    opt.precision = precision
    devices = opt.devices if not str(opt.devices).isdecimal() else int(opt.devices)
    try:
        fabric = Fabric(accelerator=opt.accelerator, devices=devices, num_nodes=opt.num_nodes, strategy=opt.strategy,
                        precision=precision)
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"--accelerator {opt.accelerator} --devices {opt.devices} --strategy {opt.strategy}: "
                        f"{' '.join(str(error).split())}") from error
    torch.set_float32_matmul_precision("high")
    fabric.launch()
    return fabric


def seed_of(*parts: Any) -> int:
    """A seed that is a function of its parts."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:7], "big")


class Stage:
    """A module whose forward pass gives a loss, trained on a stream of pictures.

    Everything random in step n is a function of the seed and n, and what a step leaves behind is in state.pt, so that a
    run that was stopped ends as one that was not. best.pt has the averaged weights of the lowest validation loss.
    """

    def __init__(self, name: str, opt: argparse.Namespace, fabric: Fabric, module: nn.Module, trained: nn.Module,
                 world: World, size: int, **more: Any) -> None:
        """trained: the part of the module that is trained, kept and averaged. size: of pictures. more: what Pictures
        take besides, such as `prepare`, which makes of a batch what the module's forward pass takes."""
        self.name, self.opt, self.fabric, self.module, self.trained = name, opt, fabric, module, trained
        optimizers = muon_and_adam(trained, opt.learning_rate)
        self.peaks = [[group["lr"] for group in o.param_groups] for o in optimizers]
        self.training = Pictures(world, size, f"{opt.seed}", **more)
        held = Pictures(world, size, "validation", **more | {"alike": False})
        self.validation = [held.prepare(held.batch(range(start, start + opt.batch_size)))
                           for start in range(0, opt.validation, opt.batch_size)]  # whole batches, for torch.compile
        module.to(fabric.device).to(memory_format=torch.channels_last)  # half as fast again on some processors
        self.ema = LitEma(trained, opt.ema).to(fabric.device)
        self.per_step = opt.batch_size * fabric.world_size
        self.step, self.elapsed, self.best = 0, 0.0, float("inf")
        self.sittings: list[dict[str, Any]] = []
        self.file = opt.run / "state.pt"
        if self.file.exists():
            self.resume(optimizers)
        if opt.compile:
            check_compiler(fabric.device)
        compiled = torch.compile(module, options={"fallback_random": True}) if opt.compile else module  # the same noise
        self.forward, *self.optimizers = fabric.setup(compiled, *optimizers)  # type: ignore[arg-type]
        self.stopping = False

    def resume(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Go on from state.pt. Raises UserError for the state of a module that is built otherwise."""
        state = read_tensors(self.file)
        own, saved = dict(self.trained.named_parameters()), state["weights"]
        if own.keys() != saved.keys() or any(own[n].shape != saved[n].shape for n in own):
            raise UserError(f"{self.file}: is of another network; give another --run, or delete it")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(saved[name])
        self.ema.load_state_dict(state["ema"])
        for optimizer, content in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        self.step, self.elapsed, self.best = state["step"], state["elapsed"], state["best"]
        self.sittings = json.loads(state["sittings"])
        self.say(f"going on at step {self.step:,}, picture {self.seen:,}, minute {self.elapsed / 60:.1f}")

    def say(self, text: str) -> None:
        """A line from the first of the processes."""
        if self.fabric.global_rank == 0:
            print(f"{self.name}: {text}", flush=True)

    def weights(self) -> dict[str, torch.Tensor]:
        """What is trained, by name."""
        return {n: p.detach() for n, p in self.trained.named_parameters()}

    @property
    def seen(self) -> int:
        """Pictures seen."""
        return self.step * self.per_step

    def set_rate(self) -> None:
        """Warm-up over the first hundredth of the pictures, a constant rate, and a fall to nothing."""
        progress = self.seen / self.opt.pictures
        factor = min(1.0, (progress + 1e-4) / 0.01, (1 - progress) / max(self.opt.cooldown, 1e-9))
        for optimizer, peaks in zip(self.optimizers, self.peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * max(factor, 0.01)

    def on_device(self, batch: Tensors) -> Tensors:
        """What the forward pass takes, where it computes."""
        return tuple(t.to(self.fabric.device, non_blocking=True) for t in batch)

    def train_step(self, batch: Tensors) -> torch.Tensor:
        """One step down the loss, its gradient clipped to norm 1: the loss."""
        self.set_rate()
        torch.manual_seed(seed_of(self.opt.seed, self.step, self.fabric.global_rank))
        loss = self.forward(*self.on_device(batch))
        self.fabric.backward(loss)
        nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.ema(self.trained)
        self.step += 1
        return loss.detach()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the module has its averaged weights."""
        self.ema.swap(self.trained)
        try:
            yield
        finally:
            self.ema.swap(self.trained)

    @torch.no_grad()
    def validate(self) -> float:
        """The averaged weights' loss on the validation pictures, with the same noise at every call."""
        losses = []
        with self.averaged():
            for i, batch in enumerate(self.validation):
                torch.manual_seed(seed_of("validation", i))
                losses.append(float(self.forward(*self.on_device(batch))))
        return sum(losses) / len(losses)

    def save(self) -> None:
        """Write what a later call goes on from."""
        if self.fabric.global_rank == 0:
            write_tensors(self.file, {
                "weights": self.weights(), "ema": self.ema.state_dict(),
                "optimizers": [o.state_dict() for o in self.optimizers], "step": self.step, "elapsed": self.elapsed,
                "best": self.best, "sittings": json.dumps(self.sittings)})
        self.fabric.barrier()

    def keep_if_best(self, loss: float) -> None:
        """Write the averaged weights where they are the best so far."""
        if loss < self.best:
            self.best = loss
            if self.fabric.global_rank == 0:
                with self.averaged():
                    write_tensors(self.opt.run / "best.pt", {"weights": self.weights()})

    def take_best(self) -> None:
        """Give the module the best weights."""
        best = read_tensors(self.opt.run / "best.pt")["weights"]
        with torch.no_grad():
            for name, parameter in self.trained.named_parameters():
                parameter.copy_(best[name])

    def run(self, look: Callable[[], str] | None = None) -> None:
        """Train until all pictures are seen, and leave the best weights in the module. Where the sitting's minutes are
        over before, or Ctrl-C is pressed, the program ends with status UNFINISHED, saved.

        look: what more to say at each validation, with the averaged weights in place.
        """
        if self.seen < self.opt.pictures:
            self.sit(look)
        if self.seen < self.opt.pictures:
            self.say(f"{self.opt.pictures - self.seen:,} pictures are left; the same command goes on")
            sys.exit(UNFINISHED)
        if self.fabric.global_rank > 0:  # the first writes what comes of it
            sys.exit()
        self.take_best()

    def sit(self, look: Callable[[], str] | None) -> None:
        """Train for one sitting."""
        opt, begin = self.opt, time.monotonic()
        cost = flops(self.module, self.on_device(self.validation[0])) / opt.batch_size
        peak = peak_flops(self.fabric.device, opt.precision == "bf16-mixed")
        weights = sum(p.numel() for p in self.trained.parameters())
        self.say(f"{weights / 1e6:.1f} M weights, {cost / 1e9:.2f} GFLOP a picture; "
                 f"{machine(self.fabric.device)} does {peak / 1e12:.2f} TFLOP/s")
        before = self.elapsed
        sitting = {"machine": machine(self.fabric.device), "processes": self.fabric.world_size,
                   "precision": opt.precision, "compile": opt.compile, "batch_size": opt.batch_size,
                   "python": sys.version.split()[0], **{name: package_version(name) for name in PACKAGES},
                   "from": self.seen}
        self.sittings.append(sitting)
        sampler = Onward(self.step, opt.batch_size, self.fabric.global_rank, self.fabric.world_size)
        batches = stream(self.training, sampler, opt.workers, self.fabric.device.type == "cuda")
        mark, mark_step, losses = time.monotonic(), self.step, []
        with self.interruptible():
            while self.seen < opt.pictures:
                losses.append(self.train_step(next(batches)))
                done = self.seen >= opt.pictures
                over = self.stopping or opt.minutes is not None and time.monotonic() - begin > 60 * opt.minutes
                if not done and self.step % opt.every and not (over and self.step % PAUSE == 0):
                    continue
                mean = float(torch.stack(losses).mean())  # waits for the device
                speed = (self.step - mark_step) * self.per_step / (time.monotonic() - mark)
                loss = self.validate() if done or self.step % opt.every == 0 else None
                self.elapsed = before + time.monotonic() - begin
                sitting |= {"to": self.seen, "minutes": round((time.monotonic() - begin) / 60, 1),
                            "pictures_per_second": round(speed, 1), "share_of_peak": round(
                                speed * cost / peak / self.fabric.world_size, 3)}
                if loss is not None:
                    self.keep_if_best(loss)
                self.log(mean, loss, speed, sitting["share_of_peak"], look)
                self.save()
                if over and not done:
                    break
                mark, mark_step, losses = time.monotonic(), self.step, []

    def log(self, mean: float, loss: float | None, speed: float, of_peak: float, look: Callable[[], str] | None
            ) -> None:
        """Say how it goes, and add a line to log.tsv."""
        more = ""
        if look and loss is not None and self.fabric.global_rank == 0:
            with self.averaged(), torch.no_grad():
                more = look()
        validation = f"{loss:.5f}" if loss is not None else ""
        self.say(f"picture {self.seen:,} of {self.opt.pictures:,}, minute {self.elapsed / 60:.1f}: loss {mean:.5f}, "
                 f"validation {validation or '-'}, {speed:.1f} pictures/s, {100 * of_peak:.0f} % of the peak"
                 f"{', ' if more else ''}{more}")
        if self.fabric.global_rank == 0:
            file = self.opt.run / "log.tsv"
            head = "" if file.exists() else "step\tpictures\tminute\tloss\tvalidation\tpictures_per_second\tmore\n"
            with open(file, "a", encoding="utf-8") as out:
                out.write(f"{head}{self.step}\t{self.seen}\t{self.elapsed / 60:.2f}\t{mean:.5f}\t{validation}\t"
                          f"{speed:.1f}\t{more}\n")

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within it the first Ctrl-C ends the sitting after a few steps, saved."""
        def stop(number: int, frame: FrameType | None) -> None:
            if self.stopping:
                raise KeyboardInterrupt
            self.stopping = True

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def write_made(self, result: dict[str, Any], earlier: Path | None = None) -> None:
        """Write made.json: how the stage was trained, in which sittings, and what came of it; with what an earlier
        stage's says."""
        made = read_made(earlier) if earlier else {}
        flags = {k: v.relative_to(ROOT) if isinstance(v, Path) and v.is_relative_to(ROOT) else v
                 for k, v in vars(self.opt).items() if k not in UNTOLD and v is not None}
        made[self.name] = {
            "command": f"python -m pretrain.{self.name}", "flags": json.loads(json.dumps(flags, default=str)),
            "project": version(), "pictures": self.seen, "minutes": round(self.elapsed / 60, 1),
            "validation_loss": round(self.best, 5), "result": result, "sittings": self.sittings}
        write_bytes(self.opt.run / "made.json", (json.dumps(made, indent=1) + "\n").encode())


def read_made(folder: Path) -> dict[str, Any]:
    """The made.json of a run's folder; {} where there is none."""
    file = folder / "made.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
