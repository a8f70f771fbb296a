"""Image logging: grids of inputs, reconstructions and samples while a word is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytorch_lightning as pl

from ldm.data.pictures import grid, save_image, to_image
from ldm.schema import Arguments, Count

Options = Annotated[dict[str, Any], Arguments("ldm.models.diffusion.ddpm:LatentDiffusion.log_images", ("batch", "N"))]


class ImageLogger(pl.Callback):
    """Writes what `model.log_images` returns to <run folder>/images/train and to TensorBoard: at step 0, every
    `batch_frequency` steps, and at the end."""

    def __init__(
        self,
        batch_frequency: Count = 500,            # steps between grids
        max_images: Count = 4,                   # pictures in a grid
        log_images_kwargs: Options | None = None,  # passed on: ddim_steps, unconditional_guidance_scale...
        disabled: bool = False,
        increase_log_steps: bool = False,        # also at steps 1, 2, 4, 8... up to batch_frequency
    ):
        super().__init__()
        if batch_frequency < 1:
            raise ValueError("ImageLogger.batch_frequency must be at least 1")
        self.batch_frequency, self.max_images, self.disabled = batch_frequency, max_images, disabled
        self.log_images_kwargs = log_images_kwargs or {}
        self.early_steps = {2**n for n in range(batch_frequency.bit_length())} if increase_log_steps else set()
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
        pl_module.train(training)
        run_folder = next((logger.save_dir for logger in trainer.loggers if logger.save_dir), trainer.default_root_dir)
        folder = Path(run_folder) / "images" / "train"
        for name, pictures in images.items():
            picture = grid(pictures[: self.max_images], columns=self.max_images)
            save_image(to_image(picture), folder / f"{name}_gs-{step:06}.png")
            for logger in trainer.loggers:
                if isinstance(logger, pl.loggers.TensorBoardLogger):
                    logger.experiment.add_image(f"train/{name}", (picture + 1) / 2, step)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """The grids of the step that a resumed run goes on from are there already."""
        if trainer.global_step:
            self.last_step = trainer.global_step

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
