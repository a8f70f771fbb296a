"""Runs of train_new.py in forked processes: imported once, watched at every operation on the disk, killed at will."""

from __future__ import annotations

import errno
import importlib
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldm.serialization import read_tensors

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 300  # for one command
DATA = "dataset/flamingo"  # five pictures
# Epochs of ten batches; a state is saved after every step.
QUICK = ("data.params.batch_size=1", "data.params.train.params.repeats=2",
         "lightning.trainer.enable_progress_bar=false",
         "lightning.modelcheckpoint.params.every_n_train_steps=1",
         "lightning.callbacks.stopping.params.pictures=1",
         *(f"lightning.callbacks.ranking.params.{short}"
           for short in ("steps=1", "pictures=1", "sampling_steps=1", "edits=['a big {}']")))
NO_GRIDS = ("lightning.callbacks.image_logger.params.disabled=true",)


@dataclass
class Ended:
    """How a command ended: exit status, or minus the signal's number, and what it said."""

    status: int
    err: str

    @property
    def one_line(self) -> bool:
        """Whether it ended as bad input does: status 2, one error line, the last one, no traceback."""
        lines = self.err.strip().splitlines()
        return (self.status == 2 and "Traceback" not in self.err and lines[-1].startswith("error: ")
                and sum(line.startswith("error: ") for line in lines) == 1)

    def __str__(self) -> str:
        return f"status {self.status}: {' | '.join(self.err.strip().splitlines()[-3:])}"


def warm_up() -> None:
    """Import what takes seconds; forked processes have it then."""
    import pytorch_lightning
    import tensorboard
    import torch.utils.tensorboard
    import transformers  # noqa: F401

    import improvement.v1.post_BERT
    import improvement.v2.pre_BERT
    import ldm.data.data_module
    import ldm.inversion
    import make_log_new
    import setup  # noqa: F401

    torch.set_num_threads(1)
    assert pytorch_lightning and tensorboard and improvement and ldm and make_log_new


def command(script: str, *arguments: Any, before: Callable[[], None] = lambda: None) -> Ended:
    """A script of this project, or a module of it, with arguments, in a forked process that calls `before` first."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setpgid(0, 0)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
                os.chdir(ROOT)
                sys.path.insert(0, str(ROOT))
                sys.argv = [script, *map(str, arguments)]
                signal.signal(signal.SIGINT, signal.default_int_handler)
                before()
                run = runpy.run_path if script.endswith(".py") else runpy.run_module
                run(script, run_name="__main__")
                status = 0
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        deadline, ended = time.monotonic() + SECONDS, 0
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.02)
        if not ended:
            os.killpg(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        output.seek(0)
        said = output.read().decode(errors="replace")
        return Ended(os.waitstatus_to_exitcode(status), said if ended else f"{said}\nhangs")


def train(logs: Path, *arguments: Any, script: str = "train_new.py", config: str = "finetune",
          before: Callable[[], None] = lambda: None) -> Ended:
    """Learn a word from five pictures, in a new run folder in `logs`."""
    return command(script, "--base", f"configs/emoji/{config}.yaml", "-t", "--actual_resume",
                   "models/ldm/emoji/model.ckpt", "--data_root", DATA, "--init_word", "bird", "--name", "trial",
                   "--logdir", logs, *QUICK, *arguments, before=before)


def resume(run: Path, *arguments: Any, before: Callable[[], None] = lambda: None,
           script: str = "train_new.py") -> Ended:
    """Go on with a run."""
    return command(script, "-t", "--resume", run, *arguments, before=before)


def only_run(logs: Path) -> Path | None:
    """The run folder in `logs`, if one was made."""
    folders = sorted(logs.iterdir()) if logs.is_dir() else []
    return folders[0] if folders else None


def words(run: Path) -> dict[str, bytes]:
    """The files of learned words of a run, by name."""
    return {p.name: p.read_bytes() for p in sorted((run / "checkpoints").glob("embeddings*.pt"))}


def compare(run: Path, whole: Path) -> str:
    """How a run on disk differs from one that was not stopped: "" for not at all."""
    ours, theirs = words(run), words(whole)
    if different := [n for n in theirs if ours.get(n) != theirs[n] and (n in ours or n == "embeddings.pt")]:
        return f"{', '.join(different)} differ"
    states = [read_tensors(r / "checkpoints" / "last.ckpt") for r in (run, whole)]
    steps = [s["global_step"] for s in states]
    if steps[0] != steps[1]:
        return f"ends at step {steps[0]}, not {steps[1]}"
    if _flat([states[0][k] for k in ("state_dict", "optimizer_states")]) != _flat(
            [states[1][k] for k in ("state_dict", "optimizer_states")]):
        return "last.ckpt differs"
    if left := [p.name for p in run.rglob(".*")]:
        return f"left: {', '.join(left)}"
    return ""


def _flat(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _flat(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_flat(v) for v in value]
    return (tuple(value.shape), value.flatten().tolist()) if hasattr(value, "flatten") else value


class Disk:
    """Every operation on the disk below a folder, numbered in its order; `at` may do something before each one."""

    WRITES = ("open", "os.mkdir", "os.link", "fsync", "write")  # what needs room; the others: os.rename, os.remove

    def __init__(self, folder: Path, at: Callable[[int, str, str], None]) -> None:
        self.folder, self.at, self.count, self.lock = f"{folder}", at, 0, threading.Lock()

    def watch(self) -> None:
        """Begin, in this process, for good."""
        fsync, fdopen = os.fsync, os.fdopen
        paths: dict[int, str] = {}

        def watched_fsync(descriptor: int) -> None:
            self._operation("fsync", paths.get(descriptor, self.folder))
            fsync(descriptor)

        def watched_fdopen(descriptor: int, *args: Any, **kwargs: Any) -> Any:
            file = fdopen(descriptor, *args, **kwargs)
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if not path.startswith(self.folder):
                return file
            paths[descriptor] = path
            return _WatchedFile(file, lambda: self._operation("write", path))

        os.fsync, os.fdopen = watched_fsync, watched_fdopen  # type: ignore[assignment]
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = set(mode or "") & set("wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not writes or not isinstance(path, str | os.PathLike):
                return
            self._operation(event, os.fspath(path))
        elif event in ("os.mkdir", "os.rename", "os.link", "os.remove"):
            self._operation(event, os.fspath(arguments[1] if event in ("os.rename", "os.link") else arguments[0]))

    def _operation(self, kind: str, path: Any) -> None:
        if str(path).startswith(self.folder):
            with self.lock:
                number, self.count = self.count, self.count + 1
            self.at(number, kind, str(path))


class _WatchedFile:
    """A file whose writes are operations; all else is the file's."""

    def __init__(self, file: Any, before: Callable[[], None]) -> None:
        self._file, self._before = file, before

    def write(self, data: bytes) -> int:
        self._before()
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _WatchedFile:
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()


def full_disk(path: str) -> OSError:
    """What writing says when there is no room."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def try_kind(kind: str, seed: int, count: int | None) -> tuple[tuple[str, int, int, str], list[str]]:
    """(kind, trials that were handled well, trials, time), and what happened in the others."""
    module, start = importlib.import_module(f"benchmarks.faults.{kind}"), time.monotonic()
    good, total, failed = module.run(seed, count or module.COUNT)
    print(f"{kind}: {good} of {total}", *failed, sep="\n  ", file=sys.stderr, flush=True)
    return (kind, good, total, f"{time.monotonic() - start:.0f} s"), failed
