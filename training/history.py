"""Keeping the history of a run, step by step: the loss, and where the learned words are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ldm.data.pictures import save_image, to_image
from ldm.files import write_bytes
from ldm.history import CHUNK, FILE, PICTURES, QUARTILES, read_history
from ldm.modules.embedding_manager import PER_IMAGE_TOKENS
from ldm.nearest import nearest

EVERY = 10        # steps between two looks at the words; at first there is one a step
MOST_VECTORS = 4  # of a word, whose nearest tokens are kept


class History(pl.Callback):
    """Keeps FILE: a line for each step with its loss, that of the pictures in each quartile of the timesteps, and now
    and then the norm of each word's vectors, their distance from the start and the tokens that they are nearest to.

    Numbers are fetched from the device every EVERY steps. The file is written when a checkpoint is, before it, and
    begins anew at the step that a resumed run goes on from: it is that of a run that was not stopped. To stand before
    callbacks that compute losses of their own.
    """

    def __init__(self, folder: Callable[[], Path]):
        super().__init__()
        self.folder = folder                # the run's
        self.lines: dict[int, dict[str, Any]] = {}  # {step: what is known of it}
        self.waiting: list[tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]] = []  # step, loss, timesteps, losses
        self.last_step = 0
        self.norms: torch.Tensor | None = None      # of the token embeddings, which are frozen

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Take what an earlier part of the run has left, and the words as they are; keep what the model sees."""
        if not trainer.is_global_zero:
            return
        self.last_step = trainer.global_step
        self.norms = pl_module.model.cond_stage_model.token_embeddings.weight.detach().norm(dim=1)
        self.lines = {line["step"]: line for line in read_history(self.folder()) if line["step"] <= self.last_step}
        if not self.last_step:
            self.lines[0] = {"step": 0, "words": words_now(pl_module.model, self.norms)}
        dataset = getattr(getattr(trainer, "datamodule", None), "datasets", {}).get("train")
        if hasattr(dataset, "image_paths"):
            save_pictures(dataset, pl_module.model, self.folder() / PICTURES)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the batch, and, when a step is over and it is time, the words."""
        if not trainer.is_global_zero or pl_module.model.last_losses is None:
            return
        step = self.last_step + 1  # the one that the batch belongs to
        self.waiting.append((step, outputs["loss"].detach(), *pl_module.model.last_losses))
        if trainer.global_step == self.last_step:
            return
        self.last_step = trainer.global_step
        if step <= EVERY or step % EVERY == 0 or step == trainer.max_steps:
            self.count(pl_module.model)
            self.lines[step]["words"] = words_now(pl_module.model, self.norms)
            if step % EVERY == 0 or step == trainer.max_steps:
                self.tell(trainer, step)

    def count(self, model: Any) -> None:
        """Turn what waits on the device into numbers."""
        first, end = model.timestep_range
        found: dict[int, tuple[list[float], list[list[float]]]] = {}
        for step, loss, timesteps, each in self.waiting:
            losses, parts = found.setdefault(step, ([], [[] for _ in range(QUARTILES)]))
            losses.append(float(loss))
            for t, one in zip(timesteps.tolist(), each.tolist(), strict=True):
                parts[min((t - first) * QUARTILES // (end - first), QUARTILES - 1)].append(one)
        for step, (losses, parts) in found.items():
            self.lines[step] = {"step": step, "loss": _mean(losses), "quartiles": [_mean(part) for part in parts]}
        self.waiting = []

    def tell(self, trainer: pl.Trainer, step: int) -> None:
        """Give TensorBoard the same numbers: of quartiles the mean over the steps since the last time."""
        recent = [self.lines[s] for s in range(max(1, step - EVERY + 1), step + 1) if s in self.lines]
        scalars: dict[str, float | None] = {
            f"train/loss_quartile_{n + 1}": _mean([line["quartiles"][n] for line in recent if line["quartiles"][n]])
            for n in range(QUARTILES)}
        words = self.lines[step]["words"]
        named = {"word" if len(words) == 1 else f"word {name}": word for name, word in words.items()}
        for name, word in named.items():
            scalars |= {f"{name}/{kind}": word[kind] for kind in ("norm", "distance")}
        for logger in trainer.loggers:
            logger.log_metrics({name: value for name, value in scalars.items() if value is not None}, step)
            if isinstance(logger, pl.loggers.TensorBoardLogger):
                for name, word in named.items():
                    logger.experiment.add_text(f"{name}/nearest", "; ".join(
                        ", ".join(f"{token} {cosine:.2f}" for token, cosine in vector)
                        for vector in word["nearest"]), step)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Write the file. Raises UserError where that is not possible."""
        if trainer.is_global_zero and self.lines:
            self.count(pl_module.model)
            lines = (json.dumps(self.lines[step], ensure_ascii=False, allow_nan=False) for step in sorted(self.lines))
            write_bytes(self.folder() / FILE, ("\n".join(lines) + "\n").encode())


def _mean(values: list[float]) -> float | None:
    """Of numbers, with 6 digits; None of none, and of what is not finite."""
    mean = sum(values) / len(values) if values else math.nan
    return float(f"{mean:.6g}") if math.isfinite(mean) else None


@torch.no_grad()
def words_now(model: Any, norms: torch.Tensor | None = None) -> dict[str, dict[str, Any]]:
    """Of each learned word, in the mean over its vectors, norm and distance from the start (None: it is not known),
    and the tokens nearest to each vector; norms as `nearest` has them."""
    manager, encoder = model.embedding_manager, model.cond_stage_model
    table, found = encoder.token_embeddings.weight, {}
    for name in manager.string_to_param_dict:
        if name in PER_IMAGE_TOKENS:
            continue
        vectors = manager.active_vectors(name)
        known = manager.provenance.get(name)
        start = None if known is None or known.start is None else known.start[: len(vectors)].to(vectors)
        found[name] = {
            "norm": _mean(vectors.norm(dim=1).tolist()),
            "distance": None if start is None else _mean((vectors - start).norm(dim=1).tolist()),
            "nearest": [[(token, round(cosine, 4)) for token, cosine in nearest(v, table, encoder.tknz_fn, norms=norms)]
                        for v in vectors[:MOST_VECTORS]]}
    return found


def save_pictures(dataset: Any, model: Any, path: Path) -> None:
    """Write what the model sees of the training pictures in the first round, as one picture."""
    items = [dataset[position] for position in range(min(dataset.num_images, 16))]
    shown = [to_image(item[model.first_stage_key].permute(2, 0, 1)) for item in items]
    keys = dict(zip(dataset.keys, (path.name for path in dataset.image_paths), strict=True))
    sheet = Image.new("RGB", (sum(picture.width for picture in shown), max(picture.height for picture in shown)))
    left = 0
    for picture in shown:
        sheet.paste(picture, (left, 0))
        left += picture.width
    text = PngInfo()
    text.add_itxt(CHUNK, json.dumps({"summary": dataset.summary.splitlines(), "pictures": [
        {"name": next((name for key, name in keys.items() if item["key"].startswith(key)), ""),
         "caption": item[model.cond_stage_key], "size": picture.size}
        for item, picture in zip(items, shown, strict=True)]}))
    save_image(sheet, path, pnginfo=text)
