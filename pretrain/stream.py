"""Pictures without end: picture number n is a function of the seed and n alone, rendered by worker processes while
training goes on."""

from __future__ import annotations

import argparse
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pretrain.world import (
    GROUPS,
    SEVERAL,
    Concept,
    Sample,
    all_concepts,
    caption,
    check_packages,
    random_scene,
    render,
    seen,
)

NEIGHBOURS = 8   # pictures in a run of things that follow each other


class World(Protocol):
    """What pictures are drawn from."""

    names: dict[str, int]  # of all things that can be shown -> number

    def sample(self, rng: random.Random, pixels: int, captions: int, place: float | None = None) -> Sample:
        """A picture drawn from rng; `place` in [0, 1) says of which thing, in an order where neighbours are alike."""
        ...


class EmojiWorld:
    """Today's embedded model's: Noto's emoji alone (pretrain/world.py)."""

    def __init__(self, groups: Sequence[str] = GROUPS, often: frozenset[str] = frozenset(),
                 concepts: Sequence[Concept] = ()) -> None:
        """groups: those of emoji, named twice to be seen twice as often; often: names of concepts that are shown three
        times as often; concepts: what else than all that may be trained on."""
        check_packages()
        self.concepts: list[Concept] = list(concepts) or seen(tuple(groups))
        self.weighted = self.concepts + [c for c in self.concepts if c.name in often] * 2
        self.names = {c.name: i for i, c in enumerate(dict.fromkeys(self.concepts))}

    def sample(self, rng: random.Random, pixels: int, captions: int, place: float | None = None) -> Sample:
        """As a World has it."""
        here = self.weighted if place is None else [self.concepts[int(place * len(self.concepts))]]
        scene = random_scene(rng, here)
        if place is not None and len(scene.concepts) > 1:  # not the same thing twice
            scene = random_scene(rng, self.weighted)
        texts = [caption(scene, rng) for _ in range(captions)]
        shown = self.names[scene.concepts[0].name] if len(scene.concepts) == 1 else SEVERAL
        return Sample(render(scene, rng, pixels), texts, shown)


class Batch(NamedTuple):
    """Samples together."""

    pixels: torch.Tensor        # uint8 [B, H, W, 3]
    captions: list[list[str]]   # B lists of as many as were asked for
    shown: torch.Tensor         # int64 [B]


Tensors = tuple[torch.Tensor, ...]
Prepare = Callable[[Batch], Tensors]


def pixels_alone(batch: Batch) -> Tensors:
    """The pictures of a batch."""
    return (batch.pixels,)


class Pictures(Dataset[tuple[np.ndarray, list[str], int]]):
    """Sample number n for any n >= 0, and `prepare`, what a network takes of a batch of them."""

    def __init__(self, world: World, size: int, seed: str, captions: int = 1, drop: float = 0.0, alike: bool = False,
                 prepare: Prepare = pixels_alone) -> None:
        """captions: for each picture, of which a share is dropped, which leaves nothing; with `alike`, half of the
        pictures are in runs of things that look alike."""
        self.world, self.size, self.seed, self.captions, self.drop = world, size, seed, captions, drop
        self.alike, self.prepare = alike, prepare

    def __getitem__(self, number: int) -> tuple[np.ndarray, list[str], int]:
        rng = random.Random(f"{self.seed} {number}")
        place, (run, step) = None, divmod(number, NEIGHBOURS)
        if self.alike and run % 2 == 0:
            start = random.Random(f"{self.seed} run {run}").random()
            place = (start + step / max(NEIGHBOURS, len(self.world.names))) % 1
        picture, captions, shown = self.world.sample(rng, self.size, self.captions, place)
        return np.asarray(picture), ["" if rng.random() < self.drop else text for text in captions], shown

    def collate(self, samples: list[tuple[np.ndarray, list[str], int]]) -> Tensors:
        """Samples -> what a network takes."""
        return self.prepare(collate(samples))

    def batch(self, numbers: Sequence[int]) -> Batch:
        """Samples as a batch, rendered here and now."""
        return collate([self[n] for n in numbers])


def collate(samples: list[tuple[np.ndarray, list[str], int]]) -> Batch:
    """Samples -> a batch."""
    pictures, captions, shown = zip(*samples, strict=True)
    return Batch(torch.from_numpy(np.stack(pictures)), list(captions), torch.tensor(shown))


class Onward(Sampler[list[int]]):
    """The numbers of one process's batches from a step on: each process takes its part of every step's pictures."""

    def __init__(self, first_step: int, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        self.first_step, self.batch_size, self.rank, self.processes = first_step, batch_size, rank, processes

    def __iter__(self) -> Iterator[list[int]]:
        step = self.first_step
        while True:
            start = (step * self.processes + self.rank) * self.batch_size
            yield list(range(start, start + self.batch_size))
            step += 1


def _begin_worker(_: int) -> None:
    """A worker draws on one core, and leaves Ctrl-C to the process that trains."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def stream(pictures: Pictures, sampler: Onward, workers: int, pin: bool = False) -> Iterator[Tensors]:
    """What a network takes, batch by batch, made ahead by worker processes; by this one without workers."""
    more: dict[str, Any] = {"prefetch_factor": 4, "worker_init_fn": _begin_worker} if workers else {}
    yield from DataLoader(pictures, batch_sampler=sampler, num_workers=workers, collate_fn=pictures.collate,
                          pin_memory=pin, **more)


def open_world(opt: argparse.Namespace, sealed: bool = True) -> World:
    """The world that flags name, which check_world has looked at; not sealed, with what is held out."""
    if opt.world == "emoji":
        often = frozenset(opt.often.read_text(encoding="utf-8").splitlines() if opt.often else ())
        return EmojiWorld(opt.groups, often, () if sealed else all_concepts())
    from pretrain.wide import WideWorld

    return WideWorld(opt.archive, opt.noto_share, opt.family_share, sealed, pairs=opt.pair_share)
