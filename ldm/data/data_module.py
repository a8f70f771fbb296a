"""Data sets from a config, for Lightning."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Annotated, Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader, Sampler

from ldm.errors import UserError
from ldm.schema import Builds, Count, Range
from ldm.util import instantiate_from_config

DataSet = Annotated[dict[str, Any], Builds("torch.utils.data.dataset.Dataset")]
Workers = Annotated[int, Range(0, 256)]


def leave_interrupts(worker: int) -> None:
    """In a process that reads pictures: Ctrl-C, which reaches all processes, is for the one that trains. It may need
    some more batches to end its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class PositionSampler(Sampler[int]):
    """Item positions that go on where training stands: batch k of a run has the same items whether or not the run was
    stopped before it.

    Batches are dealt to the processes of a distributed run in turn, whole: two processes see in a step what one sees
    that accumulates two batches.
    """

    def __init__(self, trainer: pl.Trainer, length: int, batch_size: int):
        self.trainer, self.batch_size = trainer, batch_size
        stride = batch_size * trainer.accumulate_grad_batches * trainer.world_size   # items a step
        self.batches = max(1, length // stride) * trainer.accumulate_grad_batches    # an epoch, in this process

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        """As many as in an epoch, also where training stands in the middle of one: the trainer counts its batches."""
        trainer, size = self.trainer, self.batch_size
        first = trainer.global_step * trainer.accumulate_grad_batches
        batches = range(first * trainer.world_size + trainer.global_rank,
                        (first + self.batches) * trainer.world_size, trainer.world_size)
        return (batch * size + i for batch in batches for i in range(size))


class DataModuleFromConfig(pl.LightningDataModule):
    """Builds the data sets that a config names and their loaders."""

    def __init__(
        self,
        batch_size: Count,                         # a device
        train: DataSet | None = None,              # target and params of each data set
        validation: DataSet | None = None,
        test: DataSet | None = None,
        num_workers: Workers = 0,                  # 0 is fastest for a handful of pictures: they are kept decoded
    ):
        super().__init__()
        self.batch_size, self.num_workers = batch_size, num_workers
        self.configs = {k: v for k, v in (("train", train), ("validation", validation), ("test", test)) if v}
        self.datasets: dict[str, Any] = {}

    def setup(self, stage: str | None = None) -> None:
        """Build the data sets: reads the pictures. Raises UserError for a folder without any."""
        if not self.datasets:
            self.datasets = {name: instantiate_from_config(config) for name, config in self.configs.items()}

    def check_sizes(self, stride: int | None) -> None:
        """Raises UserError for pictures that cannot go into one batch, or whose sides are no multiples of stride."""
        for name, dataset in self.datasets.items():
            first: tuple[int, int] | None = None
            for path, image in zip(getattr(dataset, "image_paths", ()), getattr(dataset, "images", ()), strict=True):
                height, width = image.shape[:2]
                remedy = f"set data.params.{name}.params.size to one that all are scaled to"
                if stride and (height % stride or width % stride):
                    raise UserError(f"{path} comes to {width} x {height} pixels, and this model takes multiples of "
                                    f"{stride}; {remedy}")
                first = first or (width, height)
                if self.batch_size > 1 and first != (width, height):
                    raise UserError(f"{dataset.image_paths[0]} has {first[0]} x {first[1]} pixels and {path} has "
                                    f"{width} x {height}, and a batch takes pictures of one size; {remedy}")

    def _loader(self, name: str, sampler: Sampler[int] | None = None) -> DataLoader[Any] | list[Any]:
        if name not in self.configs:
            return []
        return DataLoader(self.datasets[name], self.batch_size, sampler=sampler, num_workers=self.num_workers,
                          persistent_workers=self.num_workers > 0, worker_init_fn=leave_interrupts)

    def check_train(self) -> None:
        """Raises UserError when there is nothing to learn from."""
        if "train" not in self.datasets:
            raise UserError("the config has no data.params.train: nothing to learn from")

    def _sampler(self) -> PositionSampler:
        self.check_train()
        assert self.trainer is not None
        return PositionSampler(self.trainer, len(self.datasets["train"]), self.batch_size)

    def batches_per_epoch(self) -> int:
        """How many batches of this process the trainer calls an epoch. Raises UserError as train_dataloader does."""
        sampler = self._sampler()
        limit = sampler.trainer.limit_train_batches
        return min(sampler.batches, limit) if isinstance(limit, int) else int(sampler.batches * limit)

    def train_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Batches that go on where training stands. Raises UserError when the config has no data to learn from."""
        return self._loader("train", self._sampler())

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Batches to measure the loss on; none where the config has no such data."""
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Batches for the test that follows training; none where the config has no such data."""
        return self._loader("test")
