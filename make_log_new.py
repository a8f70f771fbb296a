"""Image logging: grids of inputs, reconstructions and samples while a word is learned."""

import io
from pathlib import Path

import pytorch_lightning as pl
import torch
from PIL import Image
from torchvision.utils import make_grid

from ldm.serialization import write_bytes


def to_image(x: torch.Tensor) -> Image.Image:
    """A picture [3, H, W] in [-1, 1] as PIL."""
    return Image.fromarray(((x.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())


def grid(images: torch.Tensor, columns: int) -> torch.Tensor:
    """Pictures [N, 3, H, W] in [-1, 1] as one [3, H', W'] of so many columns."""
    return make_grid(images.float().clamp(-1, 1).cpu(), nrow=columns, padding=2, pad_value=1.0)


def save_image(image: Image.Image, path: str | Path, **options) -> None:
    """Write a PNG atomically; options as for PIL's PNG writer."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    write_bytes(path, buffer.getvalue())


def save_grid(images: torch.Tensor, path: str | Path, columns: int = 4) -> None:
    """Write pictures [N, 3, H, W] in [-1, 1] as one PNG."""
    save_image(to_image(grid(images, columns)), path)


class ImageLogger(pl.Callback):
    """Writes what `model.log_images` returns to <run folder>/images/train and to TensorBoard: at step 0, every
    `batch_frequency` steps, and at the end."""

    def __init__(
        self,
        batch_frequency: int = 500,              # steps between grids
        max_images: int = 4,                     # pictures in a grid
        log_images_kwargs: dict | None = None,   # passed on: ddim_steps, unconditional_guidance_scale...
        disabled: bool = False,
        increase_log_steps: bool = False,        # also at steps 1, 2, 4, 8... up to batch_frequency
    ):
        super().__init__()
        if batch_frequency < 1:
            raise ValueError("ImageLogger.batch_frequency must be at least 1")
        self.batch_frequency, self.max_images, self.disabled = batch_frequency, max_images, disabled
        self.log_images_kwargs = log_images_kwargs or {}
        self.early_steps = {2**n for n in range(batch_frequency.bit_length())} if increase_log_steps else set()
        self.last_batch, self.last_step = None, None

    def write_grids(self, trainer, model, batch) -> None:
        """Write the grids of this moment, once a step. Training goes on as if nothing had happened."""
        step = trainer.global_step
        if self.disabled or batch is None or step == self.last_step or not trainer.is_global_zero:
            return
        self.last_step = step
        training = model.training
        model.eval()
        images = model.log_images(batch, N=self.max_images, **self.log_images_kwargs)
        model.train(training)
        folder = Path(trainer.default_root_dir) / "images" / "train"
        for name, pictures in images.items():
            picture = grid(pictures[: self.max_images], columns=self.max_images)
            save_image(to_image(picture), folder / f"{name}_gs-{step:06}.png")
            for logger in trainer.loggers:
                if isinstance(logger, pl.loggers.TensorBoardLogger):
                    logger.experiment.add_image(f"train/{name}", (picture + 1) / 2, step)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 0:
            self.write_grids(trainer, pl_module, batch)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.last_batch = batch
        if trainer.global_step % self.batch_frequency == 0 or trainer.global_step in self.early_steps:
            self.write_grids(trainer, pl_module, batch)

    def on_train_end(self, trainer, pl_module):
        self.write_grids(trainer, pl_module, self.last_batch)
