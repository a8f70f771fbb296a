"""When a word is learned: the loss on fixed inputs settles, and how far the word has moved from its start."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from ldm.errors import UserError
from ldm.fixed_loss import fixed_batch, fixed_loss
from ldm.modules.embedding_manager import PER_IMAGE_TOKENS, EmbeddingManager
from ldm.schema import Count, Share
from ldm.targets import get_obj_from_str

STATE = "AutoStop"  # where a training checkpoint has this callback's state, under `callbacks`
HARDLY = 0.02       # of a start's length: a word that moved less has hardly learned anything


def settled(losses: list[float], window: int, threshold: float) -> bool:
    """DVAR (Voronov et al., arXiv 2302.04841, section 4.3): whether the variance of the last `window` losses is below
    `threshold` times the variance of all of them. Never before there are more than `window`."""
    if len(losses) <= window:
        return False
    return statistics.pvariance(losses[-window:]) < threshold * statistics.pvariance(losses)


class AutoStop(pl.Callback):
    """Ends training when the loss on fixed pictures, captions, timesteps and noise has settled (see `settled`).

    The loss is measured before the first step and every `every` steps. It is part of training checkpoints, so that a
    resumed run stops where one that was not stopped does. The defaults are the paper's for textual inversion.
    """

    def __init__(
        self,
        window: Count = 310,      # steps
        threshold: Share = 0.15,
        pictures: Count = 8,      # of the fixed batch, as the training set draws them
        every: Count = 10,        # steps between measurements
        disabled: bool = False,
    ):
        super().__init__()
        if window < 2 * every:
            raise UserError(f"AutoStop: a window of {window} steps has no two losses, one every {every} steps; give a "
                            "longer window")
        self.window, self.threshold, self.pictures, self.every = window // every, threshold, pictures, every
        self.disabled = disabled
        self.losses: list[float] = []
        self.inputs = ""  # hash of what they are measured on
        self.done = False
        self.batch: dict[str, Any] | None = None
        self.last_step = 0

    def state_dict(self) -> dict[str, Any]:
        """What a training checkpoint keeps."""
        return {"losses": list(self.losses), "inputs": self.inputs, "done": self.done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's losses."""
        self.losses = [float(loss) for loss in state_dict["losses"]]
        self.inputs = str(state_dict["inputs"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Take the fixed batch, and its loss before anything is learned. Raises UserError for data that has no fixed
        items."""
        self.last_step = trainer.global_step
        if self.disabled:
            return
        dataset = getattr(getattr(trainer, "datamodule", None), "datasets", {}).get("train")
        if dataset is None:
            raise UserError("--stop auto: needs a data module with a training set; learn with --stop off")
        self.batch = fixed_batch(dataset, min(self.pictures, len(dataset)))
        inputs = batch_hash(self.batch, pl_module.model)
        if inputs != self.inputs:  # other pictures or captions than before: their losses do not compare
            self.inputs, self.losses = inputs, []
        if not self.losses:
            self.measure(trainer, pl_module)

    def measure(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Note the loss as it is now, the same in all processes."""
        assert self.batch is not None
        self.losses.append(trainer.strategy.broadcast(fixed_loss(pl_module.model, self.batch)))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any,
                           batch_idx: int) -> None:
        """Measure when it is time, and stop when the losses have settled."""
        if self.disabled or trainer.global_step == self.last_step:
            return
        self.last_step = trainer.global_step
        if self.last_step % self.every:
            return
        self.measure(trainer, pl_module)
        pl_module.log("fixed_loss", self.losses[-1], batch_size=1)
        if settled(self.losses, self.window, self.threshold):
            self.done = trainer.should_stop = True


def stops(trainer: pl.Trainer) -> AutoStop | None:
    """What may end the training of a trainer before its last step, if anything may."""
    return next((c for c in trainer.callbacks if isinstance(c, AutoStop) and not c.disabled), None)  # type: ignore[attr-defined]


def set_stop(config: DictConfig, stop: str) -> None:
    """Let a training config say whether learning may end by itself, "auto" or "off", with the numbers that it has."""
    callbacks = OmegaConf.select(config, "lightning.callbacks") or {}
    names = [name for name, callback in callbacks.items() if get_obj_from_str(callback.target) is AutoStop]
    for name in names:
        OmegaConf.update(config, f"lightning.callbacks.{name}.params.disabled", stop == "off", force_add=True)
    if not names and stop != "off":
        OmegaConf.update(config, "lightning.callbacks.stopping", {"target": "ldm.stopping.AutoStop"}, force_add=True)


def batch_hash(batch: Mapping[str, Any], model: Any) -> str:
    """A hash of the pictures and captions of a batch."""
    digest = hashlib.sha256(batch[model.first_stage_key].numpy().tobytes())
    digest.update("\n".join(batch[model.cond_stage_key]).encode())
    return digest.hexdigest()[:16]


# How far a word has come ---------------------------------------------------------------------------------------------

def movement(manager: EmbeddingManager) -> list[tuple[str, float, float]]:
    """(placeholder, distance from its start, length of the start) of each word, both in the mean over its vectors; not
    of those of single pictures, nor of words whose start is not known."""
    found = []
    for placeholder, known in manager.provenance.items():
        now = manager.active_vectors(placeholder).detach().cpu()
        if known.start is not None and placeholder not in PER_IMAGE_TOKENS:
            start = known.start[: len(now)]
            found.append((placeholder, float((now - start).norm(dim=1).mean()), float(start.norm(dim=1).mean())))
    return found


def describe_movement(manager: EmbeddingManager) -> list[str]:
    """A line for each word that says how far it has moved, and a warning with likely causes for one that has hardly."""
    lines = []
    for placeholder, distance, length in movement(manager):
        lines.append(f"the word {placeholder} moved {distance:.2f} from its start, which is {length:.2f} long")
        if distance < HARDLY * length:
            lines.append(f"warning: {placeholder} has hardly learned anything; likely causes: too few steps "
                         "(lightning.trainer.max_steps), too low a rate (model.base_learning_rate), captions without "
                         f"{placeholder}")
    return lines


def has_stopped(state: Mapping[str, Any]) -> bool:
    """Whether a training checkpoint is one of a run that has stopped by itself."""
    own = (state.get("callbacks") or {}).get(STATE)
    return isinstance(own, Mapping) and bool(own.get("done"))
