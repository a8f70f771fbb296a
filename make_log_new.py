"""Image logging: grids of inputs, reconstructions and samples while a word is learned, and a film strip of previews."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytorch_lightning as pl
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ldm.data.pictures import grid, save_image, titled_columns, to_image
from ldm.generate import sample_prompt
from ldm.schema import Arguments, Count, Trimmed

if TYPE_CHECKING:
    from ldm.models.diffusion.ddpm import LatentDiffusion

Options = Annotated[dict[str, Any], Arguments("ldm.models.diffusion.ddpm:LatentDiffusion.log_images", ("batch", "N"))]

RECONSTRUCTION = "a photo of a {}"  # what every strip of previews begins with
EDITS = ("a {} on a blue background", "a {} and a red apple")
MOST_ROWS = 32  # of a strip


class ImageLogger(pl.Callback):
    """Writes what `model.log_images` returns to images/train in the run folder, previews to images/previews, and both
    to TensorBoard: at step 0, every `batch_frequency` steps, and at the end.

    Previews are pictures of the same prompts from the same noise every time, so that what differs between them is the
    word: `gs-<step>.png` are those of a step, `strip.png` those of all steps under each other.
    """

    def __init__(
        self,
        batch_frequency: Count = 500,            # steps between grids
        max_images: Count = 4,                   # pictures in a grid
        log_images_kwargs: Options | None = None,  # passed on: ddim_steps, unconditional_guidance_scale...
        disabled: bool = False,
        increase_log_steps: bool = False,        # also at steps 1, 2, 4, 8... up to batch_frequency
        preview_prompts: list[Trimmed] | None = None,  # behind RECONSTRUCTION, {} for the word; None: EDITS; []: none
    ):
        super().__init__()
        if batch_frequency < 1:
            raise ValueError("ImageLogger.batch_frequency must be at least 1")
        self.batch_frequency, self.max_images, self.disabled = batch_frequency, max_images, disabled
        self.log_images_kwargs = log_images_kwargs or {}
        self.early_steps = {2**n for n in range(batch_frequency.bit_length())} if increase_log_steps else set()
        edits = list(EDITS if preview_prompts is None else preview_prompts)
        self.preview_prompts = [RECONSTRUCTION, *edits] if edits and self.log_images_kwargs.get("sample", True) else []
        self.last_batch: Any = None
        self.last_step: int | None = None

    def write_grids(self, trainer: pl.Trainer, pl_module: Any, batch: Any) -> None:
        """Write the grids of this moment, once a step. Training goes on as if nothing had happened."""
        step = trainer.global_step
        if self.disabled or batch is None or step == self.last_step or not trainer.is_global_zero:
            return
        self.last_step = step
        training = pl_module.training
        pl_module.eval()
        images = pl_module.model.log_images(batch, N=self.max_images, **self.log_images_kwargs)
        run_folder = next((logger.save_dir for logger in trainer.loggers if logger.save_dir), trainer.default_root_dir)
        folder = Path(run_folder) / "images"
        for name, pictures in images.items():
            picture = grid(pictures[: self.max_images], columns=self.max_images)
            save_image(to_image(picture), folder / "train" / f"{name}_gs-{step:06}.png")
            show(trainer, f"train/{name}", picture)
        if self.preview_prompts:
            self.write_previews(trainer, pl_module.model, folder / "previews")
        pl_module.train(training)

    def write_previews(self, trainer: pl.Trainer, model: LatentDiffusion, folder: Path) -> None:
        """Draw the previews of this moment, and renew the strip of all so far that were made in the same way."""
        step, word = trainer.global_step, model.embedding_manager.placeholder_strings[0]
        prompts = [prompt.replace("{}", word) for prompt in self.preview_prompts]
        steps = self.log_images_kwargs.get("ddim_steps", 20)
        scale = self.log_images_kwargs.get("unconditional_guidance_scale")
        pictures = sample_prompt(model, prompts, [model.seed] * len(prompts), "dpm_solver", steps, scale)
        made = json.dumps({"prompts": prompts, "seed": model.seed, "steps": steps, "scale": scale})
        text = PngInfo()
        text.add_text("previews", made)
        save_image(to_image(torch.cat(list(pictures), dim=2)), folder / f"gs-{step:06}.png", pnginfo=text)
        show(trainer, "previews", grid(pictures, len(pictures)))
        dataset = getattr(getattr(trainer, "train_dataloader", None), "dataset", [])
        inputs = [to_image(dataset[i][model.first_stage_key].permute(2, 0, 1))
                  for i in range(min(len(prompts), len(dataset)))]
        save_image(film_strip(folder, made, prompts, inputs, step), folder / "strip.png")

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """The grids of the step that a resumed run goes on from are there already. Previews that lack the word are
        named."""
        if trainer.global_step:
            self.last_step = trainer.global_step
        if trainer.is_global_zero and not self.disabled and self.preview_prompts:
            manager = pl_module.model.embedding_manager
            manager.warn_about([p.replace("{}", manager.placeholder_strings[0]) for p in self.preview_prompts])

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Grids of what there was before anything was learned."""
        if trainer.global_step == 0:
            self.write_grids(trainer, pl_module, batch)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any,
                           batch_idx: int) -> None:
        """Grids when it is time for them."""
        self.last_batch = batch
        if trainer.global_step % self.batch_frequency == 0 or trainer.global_step in self.early_steps:
            self.write_grids(trainer, pl_module, batch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Grids of what was learned."""
        self.write_grids(trainer, pl_module, self.last_batch)


def show(trainer: pl.Trainer, name: str, picture: torch.Tensor) -> None:
    """Give TensorBoard a picture [3, H, W] in [-1, 1], where the run has it."""
    for logger in trainer.loggers:
        if isinstance(logger, pl.loggers.TensorBoardLogger):
            logger.experiment.add_image(name, (picture + 1) / 2, trainer.global_step)


def film_strip(folder: Path, made: str, prompts: list[str], inputs: list[Image.Image], step: int) -> Image.Image:
    """The previews in a folder up to a step, a row each: of those that were made so, at most MOST_ROWS, spread evenly.
    On top are what the word is learned from and the prompts."""
    found = []
    for file in sorted(folder.glob("gs-*.png")):
        at = int(file.stem.removeprefix("gs-"))
        with Image.open(file) as row:
            if at <= step and row.info.get("previews") == made:
                found.append((at, file))
    if len(found) > MOST_ROWS:
        found = [found[round(i * (len(found) - 1) / (MOST_ROWS - 1))] for i in range(MOST_ROWS)]
    rows: list[list[Image.Image | str]] = [["learned from", *inputs]]
    for at, file in found:
        with Image.open(file) as row:
            width = row.width // len(prompts)
            rows.append([f"step {at}", *(row.crop((i * width, 0, (i + 1) * width, row.height))
                                         for i in range(len(prompts)))])
    return titled_columns(["", *prompts], rows, side=min(max(width, 96), 256))
