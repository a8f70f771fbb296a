"""How far a run is, read from its folder: steps, loss, the time that is left, and the word's pictures so far."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from omegaconf import OmegaConf
from PIL import Image

from ldm.errors import UserError
from ldm.progress import duration
from ldm.ranking import spread
from load import load_config
from report.charts import smoothed
from webui.jobs import FAILED, LEARNED, LEARNING, STOPPED, WAITING, Job
from webui.uploads import data_url

MOST_SHOWN = 12  # steps whose picture is shown
PACE = 6         # logged steps that the pace is told by


@dataclass(frozen=True)
class Progress:
    """Where a run is."""

    step: int                              # that was logged or drawn last
    most: int | None                       # steps it has at most, where its config says so
    losses: tuple[tuple[int, float], ...]  # (step, loss)
    seconds: float | None                  # a step takes, once two were logged
    logged: float                          # when the last step was, in seconds
    previews: dict[int, Path]              # {step: picture}

    @property
    def left(self) -> float | None:
        """Seconds until the last step, if it goes on at its pace."""
        if self.seconds is None or self.most is None:
            return None
        return max(0.0, (self.most - self.step) * self.seconds - max(0.0, time.time() - self.logged))


def read_progress(run: Path) -> Progress:
    """How far a run is, by what is in its folder."""
    losses = read_losses(run)
    previews = {int(path.stem.removeprefix("gs-")): path for path in sorted((run / "images/previews").glob("gs-*.png"))}
    last = losses[-PACE:]
    paces = [(b[2] - a[2]) / (b[0] - a[0]) for a, b in zip(last, last[1:], strict=False) if b[0] > a[0]]
    step = max([0, *previews, *(s for s, *_ in losses)])
    return Progress(step, steps_of(run), tuple((s, loss) for s, loss, _ in losses),
                    statistics.median(paces) if paces else None, losses[-1][2] if losses else 0.0, previews)


def read_losses(run: Path) -> list[tuple[int, float, float]]:
    """(step, loss, time) as TensorBoard has them. A step counts from 1, since it is over when it is logged."""
    if not any((run / "tensorboard").glob("events.*")):
        return []
    accumulator = _accumulator(run / "tensorboard")
    accumulator.Reload()
    if "train/loss" not in accumulator.Tags()["scalars"]:
        return []
    found = {event.step + 1: (event.value, event.wall_time) for event in accumulator.Scalars("train/loss")}
    return [(step, loss, when) for step, (loss, when) in sorted(found.items())]


@functools.lru_cache(64)
def _accumulator(folder: Path):  # type: ignore[no-untyped-def]  # TensorBoard has no types
    """What reads on where it has stopped."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 1, "tensors": 1, "histograms": 1})


def steps_of(run: Path) -> int | None:
    """How many steps a run has at most, by the last config that it wrote."""
    configs = sorted(run.glob("configs/*-lightning.yaml"))
    try:
        steps = OmegaConf.select(load_config(configs[-1]), "lightning.trainer.max_steps") if configs else None
    except UserError:
        return None
    return steps if isinstance(steps, int) and steps > 0 else None


# As the page shows it ------------------------------------------------------------------------------------------------

SAYS = {WAITING: "waits for its turn", LEARNING: "learning", LEARNED: "learned", STOPPED: "stopped", FAILED: "failed"}


def state_line(job: Job, progress: Progress | None) -> str:
    """Where a run is, in a few words."""
    if job.state == FAILED:
        return f"failed: {job.said.removeprefix('error: ')}"
    if job.state != LEARNING:
        return SAYS[job.state] + (f" at step {progress.step}" if progress and job.state == STOPPED else "")
    if progress is None or not progress.step:
        return "getting ready"
    of = f" of {'at most ' if progress.most else ''}{progress.most}" if progress.most else ""
    left = "" if progress.left is None else f", about {duration(progress.left)} left"
    if progress.most and progress.step >= progress.most:
        left = ", choosing the best step"
    return ("stopping after " if job.asked_to_stop else "") + f"step {progress.step}{of}{left}"


def show(job: Job, progress: Progress | None) -> str:
    """A run as HTML: its state, a bar, the loss, and the word's pictures at the steps so far."""
    line = escape(state_line(job, progress))
    share = 0.0 if progress is None or not progress.most else min(1.0, progress.step / progress.most)
    share = 1.0 if job.state == LEARNED else share
    bar = f'<progress max="1" value="{share:.3f}" aria-label="{escape(job.name)}"></progress>'
    parts = [f'<h3>{escape(job.name)}</h3><p role="status">{line}</p>{bar}']
    if progress is not None:
        parts.append(film(progress))
        parts.append(loss_chart(progress.losses))
    return f'<div class="run {job.state}">{"".join(parts)}</div>'


def film(progress: Progress) -> str:
    """The word's picture at the steps so far, as HTML."""
    cells = []
    for step in spread(sorted(progress.previews), MOST_SHOWN):
        path = progress.previews[step]
        try:
            cells.append(f'<figure><img src="{first_preview(path, path.stat().st_mtime_ns)}" alt="the word at step '
                         f'{step}"><figcaption>step {step}</figcaption></figure>')
        except OSError:
            continue
    return f'<div class="film">{"".join(cells)}</div>' if cells else ""


@functools.lru_cache(256)
def first_preview(path: Path, written: int) -> str:
    """The picture of the word alone among the previews of a step, as the address of itself."""
    with Image.open(path) as row:
        return data_url(row.crop((0, 0, row.height, row.height)).convert("RGB"), "PNG")


def loss_chart(losses: Sequence[tuple[int, float]], width: int = 320, height: int = 72) -> str:
    """The loss over the steps as a line, with its running mean, in SVG."""
    if len(losses) < 2:
        return ""
    means = smoothed(losses, 0.2)
    (first, _), (last, now) = losses[0], losses[-1]
    high = max(loss for _, loss in losses)

    def line(points: Sequence[tuple[int, float]], kind: str) -> str:
        places = " ".join(f"{width * (step - first) / max(1, last - first):.1f},{height - (height - 4) * y / high:.1f}"
                          for step, y in points)
        return f'<polyline class="{kind}" points="{places}"/>'

    text = f"loss {now:.3f}, {means[-1][1]:.3f} on average"
    return (f'<figure class="loss"><svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
            f'aria-label="{text}">{line(losses, "raw")}{line(means, "mean")}</svg>'
            f"<figcaption>{text}</figcaption></figure>")
