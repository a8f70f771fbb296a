"""What commands say while they work: lines, bars on a terminal, now and then a line elsewhere, little with --quiet."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TextIO

SECONDS = 10.0  # between two lines of progress where nobody sees a bar
quiet = False   # whether the command under way was called with --quiet


def say(text: object) -> None:
    """Print lines on stderr, above a bar if there is one; with --quiet only warnings."""
    lines = [line for line in str(text).splitlines() if line.startswith("warning: ") or not quiet]
    if not lines:
        return
    if bars := sys.modules.get("tqdm"):
        bars.tqdm.write("\n".join(lines), file=sys.stderr)
    else:
        print(*lines, sep="\n", file=sys.stderr)


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can draw a line anew."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def counted(number: int, noun: str) -> str:
    """So many of something: "1 step", "2,000 steps"."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def duration(seconds: float) -> str:
    """About how long something takes: "40 s", "5 min", "2.5 h"."""
    return (f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 90 * 60 else
            f"{seconds / 3600:.1f} h")


def bar(iterable: Iterable[Any] | None = None, *, total: int | None = None, desc: str, unit: str = "step",
        initial: int = 0, disable: bool = False) -> Any:
    """What goes through an iterable, or counts, and shows on stderr how far it is and the time that is left: on a
    terminal tqdm's bar, elsewhere a line every SECONDS, and with --quiet nothing."""
    if disable or quiet or not is_terminal(sys.stderr):
        return Lines(iterable, total, desc, unit, initial, disable or quiet)
    from tqdm import tqdm

    try:
        width: dict[str, Any] = {"dynamic_ncols": os.get_terminal_size(sys.stderr.fileno()).columns > 0}
    except (OSError, ValueError):
        width = {}
    if not width.get("dynamic_ncols"):  # the terminal does not say how wide it is
        size = shutil.get_terminal_size()
        width = {"ncols": size.columns, "nrows": size.lines or 24}
    return tqdm(iterable, total=total, desc=desc, unit=unit, initial=initial, **width)


class Lines:
    """What tqdm's bar does, as lines: one every SECONDS, and a last one where there was one before."""

    def __init__(self, iterable: Iterable[Any] | None, total: int | None, desc: str, unit: str, initial: int,
                 hidden: bool):
        self.iterable, self.desc, self.unit, self.hidden = iterable, desc, unit, hidden
        self.total = len(iterable) if total is None and isinstance(iterable, Sized) else total
        self.n = self.initial = initial
        self.more = ""
        self.began = self.said_at = time.monotonic()
        self.said: int | None = None  # how far it was in the last line
        self.first: tuple[float, int] | None = None  # when the first were done, which take longer, and how many

    def __iter__(self) -> Iterator[Any]:
        assert self.iterable is not None
        for item in self.iterable:
            yield item
            self.update()
        self.close()

    def update(self, n: int = 1) -> None:
        """So many more are done."""
        self.n += n
        self.first = self.first or (time.monotonic(), self.n)
        if not self.hidden and time.monotonic() - self.said_at >= SECONDS:
            self.said_at, self.said = time.monotonic(), self.n
            say(self.describe())

    def write(self, text: str) -> None:
        """Print a line on stdout."""
        print(text)

    def set_postfix_str(self, text: str = "", refresh: bool = True) -> None:
        """What else to say."""
        self.more = text

    def describe(self) -> str:
        """One line: how far it is, how long that took, and how long the rest will."""
        gone = time.monotonic() - self.began
        of = f" of {self.total:,}" if self.total else ""
        left = ""
        if self.total and self.first and self.first[1] < self.n < self.total:
            seconds = (time.monotonic() - self.first[0]) / (self.n - self.first[1])
            left = f", about {duration((self.total - self.n) * seconds)} left"
        more = f", {self.more}" if self.more else ""
        return f"{self.desc}: {self.unit} {self.n:,}{of}{more}; {duration(gone)} gone{left}"

    def close(self) -> None:
        """It is over."""
        if self.said is not None and self.said != self.n:
            self.said = self.n
            say(self.describe())
