"""The learning rate over a run: a function of the step, so that a run that goes on has the rate that it would have had.

A schedule is a text, in configs `model.lr_schedule`:

    constant | cosine | linear          with `:STEPS` behind it, warm-up of so many steps
    0.05:10, 0.02:20, 0.001             rates, each until a step; the last goes on to the end
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ldm.schema import MOST, Rate, convertible
from ldm.util import quoted

SHAPES = ("constant", "cosine", "linear")
FORMS = ("constant, cosine or linear, with :STEPS behind it for a warm-up of so many steps; or rates, each with the "
         "step that it is taken until, in their order: '0.05:10, 0.02:20, 0.001'")


@dataclass(frozen=True)
class Schedule:
    """What the learning rate is multiplied by at each step."""

    shape: str = "constant"
    warm_up: int = 0
    rates: tuple[tuple[float, float], ...] = ()  # (rate, the step that it is taken until), of a schedule of rates

    @property
    def varies(self) -> bool:
        """Whether the rate is not the same throughout."""
        return self != Schedule() and len(self.rates) != 1

    @property
    def needs_end(self) -> bool:
        """Whether the rate depends on how many steps there will be."""
        return not self.rates and self.shape != "constant"

    @property
    def first_rate(self) -> float | None:
        """The rate at first, where the schedule says it."""
        return self.rates[0][0] if self.rates else None

    def factor(self, step: int, steps: int) -> float:
        """The rate at a step, from 0, of `steps`, over the highest of a shape or the first of rates.

        A warm-up rises in equal parts, of which the first step has one. Behind it `linear` and `cosine` (half a period,
        as in Loshchilov & Hutter, arXiv 1608.03983, eq. 5, without restarts) fall so that they would be 0 at `steps`.
        """
        if self.rates:
            rate = next((rate for rate, until in self.rates if step < until), self.rates[-1][0])
            return rate / self.rates[0][0]
        if step < self.warm_up:
            return (step + 1) / (self.warm_up + 1)
        if self.shape == "constant":
            return 1.0
        left = min(max(steps - step, 0) / max(steps - self.warm_up, 1), 1.0)
        return left if self.shape == "linear" else (1 - math.cos(math.pi * left)) / 2

    def describe(self, rate: float, step: int, steps: int) -> str:
        """The rates of a run of `steps` that begins, or goes on, at `step`; `rate` is what factors multiply."""
        if self.rates:
            now = [(r * rate / self.rates[0][0], until) for r, until in self.rates if until > step] or [(
                self.rates[-1][0] * rate / self.rates[0][0], math.inf)]
            return ", then ".join(f"{r:g}" + f" until step {until:g}" * (n < len(now) - 1)
                                  for n, (r, until) in enumerate(now))
        if not self.varies:
            return f"{rate:g}"
        warm_up = f" with a warm-up of {self.warm_up} steps" * (self.warm_up > 0)
        here = f", {rate * self.factor(step, steps):g} at step {step}" * (step > 0)
        end = f" over {steps} steps" * self.needs_end
        return f"{rate:g} ({self.shape}{warm_up}{end}{here})"


def parse_schedule(text: str | None) -> Schedule:
    """The schedule that a text names; None and nothing are `constant`. Raises ValueError for what is none."""
    text = (text or "constant").strip()
    if match := re.fullmatch(rf"({'|'.join(SHAPES)})(?:\s*:\s*(\d{{1,9}}))?", text, re.ASCII):
        return Schedule(match[1], int(match[2] or 0))
    rates: list[tuple[float, float]] = []
    for part in filter(None, map(str.strip, text.split(","))):  # empty ones count for nothing, as in other programs
        match = re.fullmatch(r"((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*(?::\s*(\d{1,10}|-1))?", part, re.ASCII)
        if match is None:
            raise ValueError(f"{quoted(part, 40)} is neither a rate nor a rate and a step")
        until = math.inf if match[2] in (None, "-1") else int(match[2])  # -1 is the end, as in other programs
        if not convertible(rate := float(match[1]), Rate):
            raise ValueError(f"{quoted(match[1], 40)} is no rate, which is above 0 and at most 1000")
        if MOST < until < math.inf:
            raise ValueError(f"no run has {match[2]} steps")
        if rates and math.isinf(rates[-1][1]):
            raise ValueError(f"{quoted(part, 40)} stands behind a rate that goes on to the end")
        if until <= (before := rates[-1][1] if rates else 0):
            raise ValueError(f"{quoted(part, 40)} ends at a step that is not above {before:g}, where it begins")
        rates.append((rate, until))
    if not rates:
        raise ValueError("there is no rate in it")
    return Schedule(rates=tuple(rates))


def refusal(text: str) -> str | None:
    """Why a text names no schedule; None where it does."""
    try:
        parse_schedule(text)
    except ValueError as error:
        return str(error)
    return None
