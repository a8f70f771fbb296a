"""SetupCallback: the run folder, the resolved configs in it, and checkpoints, also when training is interrupted."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins.io import TorchCheckpointIO

from ldm.devices import is_first_process
from ldm.errors import UserError
from ldm.files import keep_as, sweep, write_bytes
from ldm.inversion import Diverged, TextualInversion
from ldm.models.diffusion.ddpm import LatentDiffusion
from ldm.serialization import read_tensors, write_tensors

LAST, PREVIOUS = "last.ckpt", "last-previous.ckpt"


class CheckpointFiles(TorchCheckpointIO):
    """Training states as all other tensor files are: written whole or not at all, and read without running code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a state. Raises UserError where that is not possible."""
        write_tensors(path, checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a state, on the CPU. Raises UserError for a file that holds none."""
        return read_tensors(path)


class RunLogger(pl.loggers.TensorBoardLogger):
    """TensorBoard's, which says in one line when the disk is full."""

    @contextmanager
    def _full_disk_is_one_line(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # the latter is what Lightning makes of everything
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError):
                raise
            raise UserError(f"{self.log_dir}: could not be written ({cause.strerror}); free some space") from error

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        """As TensorBoardLogger. Raises UserError when it cannot be written."""
        with self._full_disk_is_one_line():
            super().log_metrics(*args, **kwargs)

    def save(self) -> None:
        """As TensorBoardLogger. Raises UserError when it cannot be written."""
        with self._full_disk_is_one_line():
            super().save()

    def finalize(self, status: str) -> None:
        """As TensorBoardLogger. Raises UserError when it cannot be written, unless something has failed already."""
        try:
            with self._full_disk_is_one_line():
                super().finalize(status)
        except UserError:
            if status == "success":
                raise


class SetupCallback(pl.Callback):
    """Keeps a run on disk.

    <logdir>/configs/<now>-project.yaml and <now>-lightning.yaml    what the run was made from
    <logdir>/checkpoints/embeddings_gs-<step>.pt, embeddings.pt     the learned words, at every save and now
    <logdir>/checkpoints/last.ckpt                                  what a resumed run goes on from
    <logdir>/checkpoints/last-previous.ckpt                         the one before it

    Files are written in this order: when last.ckpt is there, so is all that belongs to it. Ctrl-C (or SIGTERM) ends
    training after the step under way, with everything saved; a second one ends it at once.
    """

    def __init__(
        self,
        logdir: str | Path,             # the run folder
        now: str,                       # time stamp, part of the configs' names
        config: DictConfig,             # the merged config: model, data
        lightning_config: DictConfig,   # trainer and callbacks
        every_n_train_steps: int = 500, # between checkpoints
    ):
        super().__init__()
        self.logdir, self.now, self.config, self.lightning_config = Path(logdir), now, config, lightning_config
        if every_n_train_steps < 1:
            raise UserError("lightning.modelcheckpoint.params.every_n_train_steps must be at least 1")
        self.every_n_train_steps = every_n_train_steps
        self.interrupted = False
        self.last_step = 0                   # that a batch ended
        self.saved_step: int | None = None   # that is on disk
        self._handlers: dict[int, Any] = {}  # of signals, as they were before training
        self._thread_hook = threading.excepthook

    @property
    def checkpoints(self) -> Path:
        """The folder of learned words and training states."""
        return self.logdir / "checkpoints"

    def take_folder(self) -> Path:
        """Make the run folder, for this run alone: where the name is taken, with a number behind it. Its path. Raises
        UserError where that is not possible."""
        wanted = self.logdir
        try:
            for n in itertools.count():
                self.logdir = wanted.with_name(f"{wanted.name}-{n}") if n else wanted
                try:
                    self.logdir.mkdir(parents=True)
                    break
                except FileExistsError:
                    pass
            for name in ("checkpoints", "configs", "images"):
                (self.logdir / name).mkdir()
            return self.logdir
        except OSError as error:
            raise UserError(f"{self.logdir}: the run folder cannot be made ({error.strerror}); give another "
                            "--logdir") from error

    def reopen_folder(self, model: LatentDiffusion, step: int) -> None:
        """Let the run folder be what it was when the state of this step was saved, which the model has been given:
        without what an interrupted write left, and with the words of that step in embeddings.pt."""
        sweep(self.logdir)
        model.embedding_manager.progressive_counter = max(step - 1, 0)  # as it was then
        model.embedding_manager.save(self.checkpoints / "embeddings.pt", step)
        self.last_step = self.saved_step = step

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the configs, open the log, and take over Ctrl-C and SIGTERM where that is possible: in the main
        thread."""
        if trainer.is_global_zero:
            for kind, config in (("project", self.config), ("lightning", self.lightning_config)):
                write_bytes(self.logdir / "configs" / f"{self.now}-{kind}.yaml", OmegaConf.to_yaml(config).encode())
        trainer.logger = RunLogger(self.logdir, "tensorboard", "")
        self._thread_hook = threading.excepthook
        threading.excepthook = self._thread_exception
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._interrupt)

    def _thread_exception(self, args: Any) -> None:
        if not isinstance(args.exc_value, OSError):  # TensorBoard's thread: the main one gets it from there
            self._thread_hook(args)

    def _interrupt(self, *_: object) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        if is_first_process():
            print("\nstopping after this step; once more to stop at once", file=sys.stderr)

    def _restore_handlers(self) -> None:
        threading.excepthook = self._thread_hook
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def save(self, trainer: pl.Trainer, pl_module: TextualInversion) -> None:
        """Write the learned words and the training state, unless this step's are there.

        Raises UserError, and leaves what was saved before, when the disk is full or the words are lost.
        """
        step = trainer.global_step
        if step == self.saved_step:
            return
        pl_module.check_words(step)
        if trainer.is_global_zero:
            for name in (f"embeddings_gs-{step}.pt", "embeddings.pt"):
                pl_module.model.embedding_manager.save(self.checkpoints / name, step)
            if (self.checkpoints / LAST).is_file():
                keep_as(self.checkpoints / LAST, PREVIOUS)
        trainer.save_checkpoint(self.checkpoints / LAST)
        self.saved_step = step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any,
                           batch_idx: int) -> None:
        """Save every `every_n_train_steps` steps; stop, on all processes at the same step, when one was interrupted."""
        if trainer.global_step == self.last_step:
            return  # in the middle of a step
        self.last_step = trainer.global_step
        if trainer.strategy.reduce_boolean_decision(self.interrupted, all=False):
            self.interrupted = trainer.should_stop = True
            trainer.limit_val_batches = 0
        if trainer.should_stop or trainer.global_step % self.every_n_train_steps == 0:
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Give the signals back, and save."""
        self._restore_handlers()
        self.save(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Give the signals back; what was saved before stays. When training has lost the word and nothing was saved,
        save it as it was before."""
        self._restore_handlers()
        if not isinstance(exception, Diverged) or not trainer.is_global_zero:
            return
        kept, step = self.checkpoints / "embeddings.pt", self.saved_step
        if step is None and (step := pl_module.restore_last_good()) is not None:
            pl_module.model.embedding_manager.save(kept, step)
        if step is not None:
            print(f"the word of step {step} is kept: {kept}", file=sys.stderr)
