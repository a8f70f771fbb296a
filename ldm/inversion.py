"""Textual inversion for Lightning's trainer: the loss of a step, and what its checkpoints hold."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch

from ldm.errors import UserError
from ldm.models.diffusion.ddpm import LatentDiffusion

PREFIX = "model."  # of the model's names in Lightning's module; files have the names without it


class TextualInversion(pl.LightningModule):
    """Learns the words of a frozen LatentDiffusion (Gal et al., arXiv 2208.01618, eq. 2).

    Checkpoints hold what is learned and nothing else: frozen weights have their own file.
    """

    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.model = model
        self.strict_loading = False

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """The loss [] of a batch. Raises UserError when it is not finite."""
        self.model.embedding_manager.progressive_counter = self.global_step
        loss, parts = self.model.shared_step(batch)
        if not torch.isfinite(loss):
            raise UserError(f"the loss is {float(loss.detach())} at step {self.global_step}; what was saved before "
                            "is kept. Lower model.base_learning_rate, or train in float32")
        size = len(batch[self.model.cond_stage_key])
        self.log_dict({k: v.detach() for k, v in parts.items()}, batch_size=size)
        self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=size)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the loss of a batch that is not trained on."""
        _, parts = self.model.shared_step(batch)
        self.log_dict(parts, on_epoch=True, batch_size=len(batch[self.model.cond_stage_key]))

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The model's own."""
        return self.model.configure_optimizers()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is learned, under the model's own names."""
        learned = {n for n, p in self.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {n.removeprefix(PREFIX): v for n, v in checkpoint["state_dict"].items()
                                    if n in learned}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give the names of a file the prefix that they have here."""
        checkpoint["state_dict"] = {PREFIX + n: v for n, v in checkpoint["state_dict"].items()}
