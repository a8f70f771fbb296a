"""Curves over the steps of a run as SVG in a page, each with what it shows in words and in numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 1000, 300  # of the drawing; it is stretched to the room there is, its lines are not
MOST_POINTS, MOST_ROWS = 500, 13

Point = tuple[int, float]  # (step, value)


class Series(NamedTuple):
    """A curve: its points in the order of steps, and whether it is drawn as a background to others."""

    name: str
    points: Sequence[Point]
    faint: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart as the template draws it."""

    title: str
    about: str
    lines: list[tuple[str, str, bool]]   # name, path, faint
    ticks: list[tuple[str, float]]       # of values: text, percent from the top
    steps: list[tuple[str, float]]       # of steps: text, percent from the left
    words: str                           # what the curves do
    header: list[str]
    rows: list[list[str]]


def smoothed(points: Sequence[Point], share: float = 0.04) -> list[Point]:
    """Exponential means of points, over about such a share of them, the first ones over those that there are."""
    keep = 1 - 1 / max(1.0, share * len(points))
    mean, weight, found = 0.0, 0.0, []
    for step, value in points:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        found.append((step, mean / weight))
    return found


def spread(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many of the points, evenly, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def nice_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers from low to high."""
    if not high - low > 1e-300:  # below it a tenth of a step is no number
        return [low]
    rough = (high - low) / about
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * n for n in (1, 2, 2.5, 5, 10) if size * n >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def chart(title: str, about: str, series: Sequence[Series], zero: bool = False) -> Chart | None:
    """A chart of several curves in one scale, which begins at zero if it shall; None where nothing is to be drawn."""
    series = [s for s in series if len(s.points) > 1]
    if not series:
        return None
    clear = [value for s in series if not s.faint for _, value in s.points] or [v for s in series for _, v in s.points]
    faint = sorted(value for s in series if s.faint for _, value in s.points)
    low, high = min(clear), max(clear)
    if faint:  # a few of them may leave the chart
        low, high = min(low, faint[len(faint) // 50]), max(high, faint[len(faint) * 49 // 50])
    low = 0.0 if zero else low
    if high <= low:
        low, high = low - 0.5, high + 0.5
    room = (high - low) * 0.05
    low, high = (low if zero else low - room), high + room
    first, last = min(s.points[0][0] for s in series), max(s.points[-1][0] for s in series)

    def path(points: Sequence[Point]) -> str:
        return "M" + "L".join(f"{(step - first) / max(last - first, 1) * WIDTH:.1f},"
                              f"{(high - min(max(value, low), high)) / (high - low) * HEIGHT:.1f}"
                              for step, value in spread(points, MOST_POINTS))

    named = [s for s in series if not s.faint]
    values = [dict(s.points) for s in named]
    steps = [step for step, _ in spread(sorted({(step, 0.0) for v in values for step in v}), MOST_ROWS)]
    return Chart(
        title, about, [(s.name, path(s.points), s.faint) for s in series],
        [(f"{tick:.4g}", (high - tick) / (high - low) * 100) for tick in nice_ticks(low, high)],
        [(f"{tick:,.0f}", (tick - first) / max(last - first, 1) * 100) for tick in nice_ticks(first, last)
         if tick == int(tick)],
        "; ".join(f"{s.name}: {s.points[0][1]:.3g} at step {s.points[0][0]:,}, {s.points[-1][1]:.3g} at step "
                  f"{s.points[-1][0]:,}" for s in named),
        ["step", *(s.name for s in named)],
        [[f"{step:,}", *(f"{v[step]:.4g}" if step in v else "" for v in values)] for step in steps])
