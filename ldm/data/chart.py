"""Curves over training steps, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#1f5fbf", "#c05a00", "#2d7d3a", "#8a2f8f")
PANEL, MARGIN = (480, 150), (64, 26, 20, 26)  # size of a panel; left, top, right and bottom of its axes


def curves(steps: Sequence[int], series: Mapping[str, Sequence[float]], best: int | None = None) -> Image.Image:
    """One panel under another, each with the values of a series at the steps; the best step is marked in all."""
    width, height = PANEL
    picture = Image.new("RGB", (width, height * len(series)), "white")
    for number, (name, values) in enumerate(series.items()):
        panel = _panel(steps, name, values, best, COLOURS[number % len(COLOURS)])
        picture.paste(panel, (0, number * height))
    return picture


def _panel(steps: Sequence[int], name: str, values: Sequence[float], best: int | None, colour: str) -> Image.Image:
    width, height = PANEL
    left, top, right, bottom = MARGIN
    panel, font = Image.new("RGB", PANEL, "white"), ImageFont.load_default(12)
    draw = ImageDraw.Draw(panel)
    low, high = min(values), max(values)

    def place(step: int, value: float) -> tuple[float, float]:
        x = (step - steps[0]) / max(steps[-1] - steps[0], 1)
        y = (value - low) / (high - low) if high > low else 0.5
        return left + x * (width - left - right), height - bottom - y * (height - top - bottom)

    draw.rectangle((left, top, width - right, height - bottom), outline="#999999")
    draw.text((left, 6), name, fill=colour, font=font)
    for value in dict.fromkeys((low, high)):
        draw.text((left - 6, place(steps[0], value)[1]), f"{value:.3f}", fill="black", font=font, anchor="rm")
    for step in dict.fromkeys((steps[0], steps[-1])):
        draw.text((place(step, low)[0], height - bottom + 4), str(step), fill="black", font=font, anchor="ma")
    points = [place(step, value) for step, value in zip(steps, values, strict=True)]
    if len(points) > 1:
        draw.line(points, fill=colour, width=2)
    for step, (x, y) in zip(steps, points, strict=True):
        size = 5 if step == best else 2
        draw.ellipse((x - size, y - size, x + size, y + size), fill=colour)
        if step == best and step not in (steps[0], steps[-1]):
            draw.text((x, height - bottom + 4), str(step), fill=colour, font=font, anchor="ma")
    return panel
