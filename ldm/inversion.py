"""Textual inversion for Lightning's trainer: the loss of a step, and what its checkpoints hold."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch

from ldm.errors import UserError
from ldm.models.diffusion.ddpm import LatentDiffusion
from ldm.provenance import kept_start
from ldm.schedules import Schedule

PREFIX = "model."  # of the model's names in Lightning's module; files have the names without it


class Diverged(UserError):
    """Training has lost the word: what it learned last is not to be kept."""


class TextualInversion(pl.LightningModule):
    """Learns the words of a frozen LatentDiffusion (Gal et al., arXiv 2208.01618, eq. 2).

    Checkpoints hold what is learned and nothing else: frozen weights have their own file.
    """

    def __init__(self, model: LatentDiffusion, schedule: Schedule | None = None) -> None:
        super().__init__()
        self.model, self.schedule = model, schedule or Schedule()
        self.strict_loading = False
        self.last_good: tuple[int, list[torch.Tensor]] | None = None  # a step, and what was learned by then

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """The loss [] of a batch. Raises Diverged when it is not finite, in all processes, or the words are lost."""
        step = self.global_step
        self.model.embedding_manager.progressive_counter = step
        loss, parts = self.model.shared_step(batch)
        lost = not self.check_words(step, loss)
        if lost or self._trainer and self._trainer.strategy.reduce_boolean_decision(lost, all=False):
            value = float(loss.detach()) if lost else "not finite in another process"
            raise Diverged(f"the loss is {value} at step {step}; lower model.base_learning_rate, or train in float32")
        if self.last_good is None or self.last_good[0] != step:
            self.last_good = step, [p.detach().clone() for p in self.model.trainable_parameters()]
        size = len(batch[self.model.cond_stage_key])
        self.log_dict({k: v.detach() for k, v in parts.items()}, batch_size=size)
        self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=size)
        return loss

    def check_words(self, step: int, loss: torch.Tensor | None = None) -> bool:
        """Raises Diverged when something learned is not finite, or a vector is longer than any word's could be. Whether
        a loss is finite, if there is one. A GPU is waited for once."""
        model = self.model
        words = list(model.embedding_manager.string_to_param_dict) if model.max_vector_norm else []
        finite = torch.stack([p.isfinite().all() for p in model.trainable_parameters()]).all()
        signs = [finite, finite if loss is None else loss.isfinite()]
        if words:
            longest = model.cond_stage_model.token_embeddings.weight.norm(dim=1).max()
            signs += [model.embedding_manager.string_to_param_dict[w].detach().norm(dim=1).max() / longest
                      for w in words]
        all_finite, good, *lengths = torch.stack([sign.float() for sign in signs]).tolist()
        if not all_finite:
            raise Diverged(f"the learned embedding is not finite at step {step}; lower model.base_learning_rate")
        for placeholder, times in zip(words, lengths, strict=True):
            if times > model.max_vector_norm:
                raise Diverged(f"the vector of {placeholder} is {times:.0f} times as long as the longest token "
                               f"embedding at step {step}; lower model.base_learning_rate")
        return bool(good)

    def check_optimizer(self, states: list[Any]) -> None:
        """Raises UserError for states of optimizers, as a checkpoint has them, that are not of this module's."""
        try:
            (state,), optimizer = states, self.configure_optimizers()
            optimizer.load_state_dict(state)
            fits = all(value.shape == parameter.shape for parameter, kept in optimizer.state.items()
                       for value in kept.values() if torch.is_tensor(value) and value.dim())
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(f"its optimizer's state cannot be read ({error})") from error
        if not fits:
            raise UserError("its optimizer's state is of something else than what is learned")

    def restore_last_good(self) -> int | None:
        """Take back what made the loss not finite or the words too long. The step that this leads to, if any."""
        if self.last_good is None:
            return None
        step, kept = self.last_good
        with torch.no_grad():
            for parameter, value in zip(self.model.trainable_parameters(), kept, strict=True):
                parameter.copy_(value)
        return step

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the loss of a batch that is not trained on."""
        _, parts = self.model.shared_step(batch)
        self.log_dict(parts, on_epoch=True, sync_dist=True, batch_size=len(batch[self.model.cond_stage_key]))

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The model's own. Where the rate varies, each group remembers what it is multiplied by."""
        optimizer = self.model.configure_optimizers()
        if self.schedule.varies:
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        return optimizer

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """A step at the rate that the schedule has for it."""
        if self.schedule.varies:
            factor = self.schedule.factor(self.global_step, self.trainer.max_steps)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            self.log("rate", optimizer.param_groups[0]["lr"])
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.model.preserve_embedding_norm:
            self.model.keep_norms()

    def learned(self) -> dict[str, torch.Tensor]:
        """What a checkpoint keeps, under the model's own names."""
        return {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is learned, under the model's own names."""
        learned = {PREFIX + n for n in self.learned()}
        checkpoint["state_dict"] = {n.removeprefix(PREFIX): v for n, v in checkpoint["state_dict"].items()
                                    if n in learned}
        checkpoint["start"] = kept_start(self.model.embedding_manager)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give the names of a file the prefix that they have here, and let the config of today count: its rates, and
        what its batches make an epoch."""
        checkpoint["state_dict"] = {PREFIX + n: v for n, v in checkpoint["state_dict"].items()}
        for state in checkpoint.get("optimizer_states", []):
            for kept, configured in zip(state["param_groups"], self.configure_optimizers().param_groups, strict=True):
                kept |= {k: v for k, v in configured.items() if k != "params"}
        data = getattr(self._trainer, "datamodule", None)
        if "loops" in checkpoint and data is not None and hasattr(data, "batches_per_epoch"):
            checkpoint["loops"] |= {"fit_loop": fit_loop_state(
                checkpoint["global_step"], data.batches_per_epoch(),
                self.trainer.accumulate_grad_batches, self.trainer.max_steps != -1)}


def fit_loop_state(step: int, batches: int, accumulation: int, counts_steps: bool = True) -> dict[str, Any]:
    """What Lightning's fit loop goes on from after `step` steps, in epochs of so many batches.

    Lightning's own record depends on where in a batch it was made and what ended training there, and at the end of an
    epoch it is ambiguous. This one depends on its arguments alone. It says that batches were processed, but not quite
    completed: that is how Lightning records a checkpoint made between two batches. After an epoch's last batch the
    epoch is over, and the next one not yet begun.
    """
    steps = -(-batches // accumulation)  # an epoch; Lightning steps after its last batch in any case
    epochs, rest = divmod(step, steps)
    current = rest * accumulation if rest else batches if step else 0
    total = (epochs - (not rest)) * batches + current if step else 0

    def progress(total: int, current: int, unfinished: bool = False) -> dict[str, Any]:
        return {name: {"ready": n, "started": n, "processed": n, "completed": max(n - unfinished, 0)}
                for name, n in (("total", total), ("current", current))}

    begun = {"ready": epochs + bool(rest), "started": epochs + bool(rest), "processed": epochs, "completed": epochs}
    optimizer = {"ready": step, "completed": step}
    return {
        "epoch_progress": {"total": begun, "current": begun.copy()},
        # one is added on going on, unless epochs are counted and one is over
        "epoch_loop.state_dict": {"_batches_that_stepped": step if not counts_steps and not rest else max(step - 1, 0)},
        "epoch_loop.batch_progress": progress(total, current, unfinished=True) | {"is_last_batch": False},
        "epoch_loop.automatic_optimization.optim_progress": {"optimizer": {
            "step": {"total": optimizer, "current": optimizer.copy()},
            "zero_grad": {name: optimizer | {"started": step} for name in ("total", "current")},
        }},
    }
