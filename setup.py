"""SetupCallback: the run folder, the resolved configs in it, and checkpoints, also when training is interrupted."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from ldm.errors import UserError
from ldm.files import write_bytes


class SetupCallback(pl.Callback):
    """Keeps a run on disk.

    <logdir>/configs/<now>-project.yaml and <now>-lightning.yaml    what the run was made from
    <logdir>/checkpoints/embeddings.pt, embeddings_gs-<step>.pt     the learned words, now and at every save
    <logdir>/checkpoints/last.ckpt                                  what a resumed run goes on from

    Ctrl-C (or SIGTERM) ends training after the step under way, with everything saved; a second one ends it at once.
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
        self._handlers: dict[int, Any] = {}  # of signals, as they were before training

    @property
    def checkpoints(self) -> Path:
        """The folder of learned words and training states."""
        return self.logdir / "checkpoints"

    def make_folders(self) -> None:
        """Make the run folder. Raises UserError where that is not possible."""
        try:
            for folder in (self.checkpoints, self.logdir / "configs", self.logdir / "images"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.logdir}: the run folder cannot be made ({error.strerror}); give another "
                            "--logdir") from error

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Make the run folder and write the configs."""
        if trainer.is_global_zero:
            self.make_folders()
            for kind, config in (("project", self.config), ("lightning", self.lightning_config)):
                write_bytes(self.logdir / "configs" / f"{self.now}-{kind}.yaml", OmegaConf.to_yaml(config).encode())

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Take over Ctrl-C and SIGTERM, where that is possible: in the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._interrupt)

    def _interrupt(self, *_: object) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        print("\nstopping after this step; once more to stop at once", file=sys.stderr)

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def save(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the learned words and the training state, each under a temporary name first.

        Raises UserError, and leaves what was saved before, when the disk is full or the words are not finite.
        """
        if not all(p.isfinite().all() for p in pl_module.model.trainable_parameters()):
            raise UserError(f"the learned embedding is not finite at step {trainer.global_step}; lower "
                            "model.base_learning_rate")
        temporary = self.checkpoints / ".last.ckpt"
        try:
            trainer.save_checkpoint(temporary)
            if trainer.is_global_zero:
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(temporary, self.checkpoints / "last.ckpt")
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise UserError(f"{self.checkpoints}: the checkpoint could not be written ({error.strerror}); what was "
                            "saved before is still good") from error
        if trainer.is_global_zero:
            for name in (f"embeddings_gs-{trainer.global_step}.pt", "embeddings.pt"):
                pl_module.model.embedding_manager.save(self.checkpoints / name)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any,
                           batch_idx: int) -> None:
        """Save every `every_n_train_steps` steps; stop, on all processes at the same step, when one was interrupted."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # in the middle of a step
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
        """Give the signals back; what was saved before stays."""
        self._restore_handlers()
