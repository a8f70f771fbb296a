"""Several starts of one run, of which the best is kept: seeds draw other pictures, timesteps and noise in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ldm.progress import say

FOLDER = "seed-{}"  # of a start, in the run folder


def keep_best(seeds: Sequence[int], learn: Callable[[int, Path | None], tuple[float, Path]]) -> Path:
    """Learn once with each seed, and leave in the run folder the start whose loss is the lowest.

    `learn` takes a seed and the folder to learn in, or None for a new run folder, and gives the loss, comparable among
    starts, and the folder. The first start takes the run folder, each other one a folder in it; where one of these is
    the best, it changes places with the first. So each start is a run of its own throughout, and can go on. Returns the
    run folder.
    """
    losses: dict[int, float] = {}
    run: Path | None = None
    try:
        for seed in seeds:
            losses[seed], folder = learn(seed, run and run / FOLDER.format(seed))
            run = run or folder
    except (KeyboardInterrupt, SystemExit):
        say(f"{len(losses)} of {len(seeds)} starts are learned, and none is chosen: each is a run of its own")
        raise
    assert run
    best = min(losses, key=lambda seed: losses[seed])
    if best != seeds[0]:
        change_places(run, FOLDER.format(seeds[0]), FOLDER.format(best))
    for seed, loss in losses.items():
        where = run if seed == best else run / FOLDER.format(seed)
        say(f"seed {seed}: loss {loss:.5f} on the same pictures, timesteps and noise; {where}"
            + ", the best" * (seed == best))
    return run


def change_places(run: Path, out: str, into: str) -> None:
    """Move what a run folder holds, but for its starts, to its folder `out`, and what is in its folder `into` there."""
    kept = [entry for entry in run.iterdir() if not entry.name.startswith(FOLDER.format(""))]
    (run / out).mkdir()
    for entry in kept:
        entry.rename(run / out / entry.name)
    for entry in list((run / into).iterdir()):
        entry.rename(run / entry.name)
    (run / into).rmdir()
