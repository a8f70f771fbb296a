"""Batches of sentence pairs, streamed from files of any size."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import pytorch_lightning as pl
from torch.utils.data import IterableDataset

from improvement.v2.sentences import Pair, stream_pairs

POOL = 20_000  # pairs in memory at a time


class PairBatches(IterableDataset[list[Pair]]):
    """Batches of pairs without end, from the place where the trainer is: a run that goes on sees what it would have
    seen. Files are read side by side, each as fast as it is long; pairs are shuffled within a pool, and those of about
    the same length share a batch."""

    def __init__(self, files: Mapping[Path, int], held: frozenset[int], batch_size: int, seed: int, trainer: pl.Trainer
                 ) -> None:
        """files have so many pairs; held are those left out, by their number in one file after another."""
        self.files, self.held, self.batch_size, self.seed, self.trainer = files, held, batch_size, seed, trainer

    def __iter__(self) -> Iterator[list[Pair]]:
        step, ranks = self.trainer.global_step, self.trainer.world_size
        for i, batch in enumerate(self.all_batches()):
            if i >= step * ranks and i % ranks == self.trainer.global_rank:
                yield batch

    def all_batches(self) -> Iterator[list[Pair]]:
        """Those of every rank, from the first on."""
        rng = random.Random(self.seed)
        pool: list[Pair] = []
        while True:
            for i, pair in self.all_pairs(rng):
                if i in self.held:
                    continue
                pool.append(pair)
                if len(pool) >= POOL:
                    yield from self.cut(pool, rng)
                    pool = []
            if len(pool) < POOL and len(pool) >= self.batch_size:  # the end of the files
                yield from self.cut(pool, rng)
                pool = []

    def all_pairs(self, rng: random.Random) -> Iterator[tuple[int, Pair]]:
        """The pairs of all files once, with their numbers."""
        first = accumulate(self.files.values(), initial=0)
        streams = [enumerate(stream_pairs(file), start) for file, start in zip(self.files, first, strict=False)]
        left = list(self.files.values())
        while any(left):
            chosen = rng.choices(range(len(left)), left)[0]
            left[chosen] -= 1
            yield next(streams[chosen])

    def cut(self, pool: list[Pair], rng: random.Random) -> list[list[Pair]]:
        """The pool as full batches, in any order; what is left over is left out."""
        rng.shuffle(pool)
        pool.sort(key=lambda pair: len(pair.ko) // 4)
        size = self.batch_size
        batches = [pool[i : i + size] for i in range(0, len(pool) - size + 1, size)]
        rng.shuffle(batches)
        return batches
