"""Many pictures of the emoji world at once, rendered on every core."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterable, Iterator

import numpy as np

from ldm.progress import bar
from pretrain.world import GROUPS, Scene, all_concepts, caption, caption_ko, random_scene, render, seen

Shown = tuple[Scene, int]  # what a picture shows, and the seed that its captions are drawn with


def _batch(arguments: tuple[str, int, tuple[str, ...], int, frozenset[str]]) -> tuple[np.ndarray, list[Shown]]:
    seed, count, groups, pixels, often = arguments
    rng, concepts = random.Random(seed), list(seen(groups) if groups else all_concepts())
    concepts += [c for c in concepts if c.name in often] * 2
    pictures = np.empty((count, pixels, pixels, 3), np.uint8)
    scenes = []
    for i in range(count):
        scene = random_scene(rng, concepts)
        scenes.append((scene, rng.randrange(2**31)))
        pictures[i] = np.asarray(render(scene, rng, pixels))
    return pictures, scenes


def render_bank(count: int, seed: int, groups: tuple[str, ...] = GROUPS, pixels: int = 64,
                often: frozenset[str] = frozenset()) -> Iterator[tuple[np.ndarray, list[Shown]]]:
    """Yield (pictures uint8 [b, pixels, pixels, 3], [(scene, caption seed)] of length b) until `count` are made.

    They show the concepts of the groups that may be trained on; without groups, all there are, held-out ones too.
    Concepts whose names are in `often` appear three times as often. The same arguments give the same pictures.
    """
    size = 500
    jobs = [(f"{seed}-{start}", min(size, count - start), groups, pixels, often) for start in range(0, count, size)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        yield from bar(pool.imap(_batch, jobs), total=len(jobs), desc="rendering", unit="batch")


def captions(scenes: Iterable[Shown], language: str = "en") -> list[str]:
    """A caption for each (scene, caption seed): one of many its scene could have, the same at every call."""
    write = caption if language == "en" else caption_ko
    return [write(scene, random.Random(seed)) for scene, seed in scenes]
