"""A small canvas for drawings made by code: smooth shapes with outlines on a transparent ground, antialiased."""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Sequence

from PIL import Image, ImageDraw

from ldm.data.emoji import COLOURS

Point = tuple[float, float]
Colour = tuple[int, int, int]

OVERSAMPLING = 3


def shade(colour: Colour, by: float) -> Colour:
    """The colour, darker for by < 0 and lighter for by > 0, at most black or white at -1 and 1."""
    target = 255 if by > 0 else 0
    r, g, b = (round(c + (target - c) * abs(by)) for c in colour)
    return r, g, b


def near(name: str, rng: random.Random) -> Colour:
    """A colour that people would call by the name."""
    h, s, v = colorsys.rgb_to_hsv(*(c / 255 for c in COLOURS[name][0]))
    h, s, v = h + rng.uniform(-0.02, 0.02), s * rng.uniform(0.85, 1.1), v * rng.uniform(0.88, 1.1)
    r, g, b = (round(255 * c) for c in colorsys.hsv_to_rgb(h % 1, min(s, 1), min(v, 1)))
    return r, g, b


def smooth(points: Sequence[Point], closed: bool = True, pieces: int = 8) -> list[Point]:
    """Points of a curve through the given ones (Catmull-Rom)."""
    n = len(points)
    curve: list[Point] = []
    for i in range(n if closed else n - 1):
        at = [points[(i + k) % n] if closed else points[min(max(i + k, 0), n - 1)] for k in (-1, 0, 1, 2)]
        for j in range(pieces):
            t = j / pieces
            weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
            curve.append((sum(w * p[0] for w, p in zip(weights, at, strict=True)) / 2,
                          sum(w * p[1] for w, p in zip(weights, at, strict=True)) / 2))
    return curve if closed else [*curve, points[-1]]


def ring(x: float, y: float, rx: float, ry: float, turned: float = 0.0, power: float = 2.0) -> list[Point]:
    """Points of an ellipse, turned by an angle; of a superellipse, which is boxier, for powers above 2."""
    points = []
    for i in range(40):
        c, s = math.cos(i * math.pi / 20), math.sin(i * math.pi / 20)
        c, s = (math.copysign(abs(v) ** (2 / power), v) for v in (c, s))
        points.append((x + rx * c * math.cos(turned) - ry * s * math.sin(turned),
                       y + rx * c * math.sin(turned) + ry * s * math.cos(turned)))
    return points


class Canvas:
    """A transparent square of 100 x 100 units to draw on. The colours of a drawing, the colour and width of its
    outlines are chosen once, at random."""

    def __init__(self, rng: random.Random, pixels: int = 160) -> None:
        self.rng, self.pixels, self.unit = rng, pixels, pixels * OVERSAMPLING / 100
        self.image = Image.new("RGBA", (pixels * OVERSAMPLING,) * 2)
        self.brush = ImageDraw.Draw(self.image)
        self.colour_name, self.second_name = rng.sample(list(COLOURS), 2)
        self.main, self.second = near(self.colour_name, rng), near(self.second_name, rng)
        dark = self.colour_name == "black"
        self.ink: Colour = (235, 235, 235) if dark and rng.random() < 0.5 else (32, 28, 36)
        self.manner = rng.choice(("flat", "outlined", "soft"))
        self.edge = {"flat": None, "outlined": self.ink,
                     "soft": shade(self.main, 0.45 if dark else -0.4)}[self.manner]
        self.width = rng.uniform(1.6, 3.4)

    def maybe(self, chance: float) -> bool:
        """Whether something that has this chance happens."""
        return self.rng.random() < chance

    def shape(self, points: Sequence[Point], fill: Colour, edge: bool = True) -> None:
        """A filled polygon, with an outline where the drawing has any."""
        scaled = [(x * self.unit, y * self.unit) for x, y in points]
        self.brush.polygon(scaled, fill=fill)
        if edge and self.edge is not None:
            self.brush.line([*scaled, *scaled[:2]], fill=self.edge, width=round(self.width * self.unit), joint="curve")

    def blob(self, points: Sequence[Point], fill: Colour, edge: bool = True) -> None:
        """A smooth closed shape through the points."""
        self.shape(smooth(points), fill, edge)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour, edge: bool = True, turned: float = 0.0,
             power: float = 2.0) -> None:
        """An ellipse around (x, y), or what is boxier."""
        self.shape(ring(x, y, rx, ry, turned, power), fill, edge)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour, edge: bool = True,
            round_by: float = 0.0) -> None:
        """A rectangle, its corners rounded by a radius."""
        r = max(0.01, min(round_by, (right - left) / 2, (bottom - top) / 2))
        corners = ((right - r, bottom - r), (left + r, bottom - r), (left + r, top + r), (right - r, top + r))
        points = [(x + r * math.cos(math.pi / 2 * (quarter + k / 6)), y + r * math.sin(math.pi / 2 * (quarter + k / 6)))
                  for quarter, (x, y) in enumerate(corners) for k in range(7)]
        self.shape(points, fill, edge)

    def stroke(self, points: Sequence[Point], fill: Colour, width: float, edge: bool = True) -> None:
        """A smooth line with round ends."""
        curve = [(x * self.unit, y * self.unit) for x, y in smooth(points, closed=False)]
        outline = [(self.edge, width + 2 * self.width)] if edge and self.edge is not None else []
        for colour, wide in [*outline, (fill, width)]:
            r = wide * self.unit / 2
            self.brush.line(curve, fill=colour, width=max(1, round(2 * r)), joint="curve")
            for x, y in (curve[0], curve[-1]):
                self.brush.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def eyes(self, x: float, y: float, apart: float, size: float, count: int = 2) -> None:
        """Eyes in a row around (x, y), all looking one way, or closed."""
        look = self.rng.uniform(-0.35, 0.35), self.rng.uniform(-0.3, 0.3)
        kind = self.rng.choice(("white", "white", "dots", "closed")) if self.colour_name != "black" else "white"
        for i in range(count):
            at = x + (i - (count - 1) / 2) * apart
            if kind == "white":
                self.oval(at, y, size, size * 1.1, (252, 252, 252))
                self.oval(at + look[0] * size, y + look[1] * size, size * 0.5, size * 0.55, (20, 20, 24), edge=False)
            elif kind == "dots":
                self.oval(at, y, size * 0.6, size * 0.75, (20, 20, 24), edge=False)
                self.oval(at + size * 0.2, y - size * 0.25, size * 0.2, size * 0.2, (250, 250, 250), edge=False)
            else:
                self.stroke([(at - size * 0.7, y), (at, y + size * 0.6), (at + size * 0.7, y)], (20, 20, 24),
                            size * 0.35, edge=False)

    def mouth(self, x: float, y: float, width: float) -> None:
        """A smile, a frown, an open mouth or one with a tooth."""
        kind = self.rng.choice(("smile", "smile", "open", "tooth", "flat"))
        if kind == "open":
            self.oval(x, y, width * 0.4, width * 0.45, (90, 20, 30), edge=False)
            return
        bend = {"flat": 0.0, "smile": 0.35, "tooth": 0.3}[kind] * width
        ink = (240, 240, 240) if self.colour_name == "black" else (40, 16, 24)
        self.stroke([(x - width / 2, y - bend / 2), (x, y + bend / 2), (x + width / 2, y - bend / 2)], ink,
                    width * 0.13, edge=False)
        if kind == "tooth":
            self.shape([(x - width * 0.2, y), (x, y + bend / 4), (x - width * 0.1, y + width * 0.28)], (252, 252, 250),
                       edge=False)

    def finished(self) -> Image.Image:
        """The drawing, cut to what is drawn and padded to a square."""
        small = self.image.reduce(OVERSAMPLING)
        drawn = small.crop(small.getbbox())
        side = max(drawn.size)
        square = Image.new("RGBA", (side, side))
        square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
        return square
