"""Where the thing is in a picture, as far as a plain background or transparency tells, and how sharp the picture is."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ldm.data.framing import border, border_colour, middle

APART = 24       # levels of 256 by which a pixel of the thing differs from the background
PLAIN = 0.9      # of a border's pixels that have one colour where a background is plain
LEAST = 0.001    # of a picture's pixels that are something
MARGIN = 1.5     # sides of a square around a thing, in those of the thing
LOOKED_AT = 256  # pixels of the longer side that a picture is looked at with


def subject_box(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The box (left, upper, right, lower) of what stands before transparency or a plain background; None where there
    is neither."""
    scale = max(1.0, max(image.size) / LOOKED_AT)
    pixels = np.asarray(image.resize((max(1, round(image.width / scale)), max(1, round(image.height / scale)))))
    if pixels.ndim == 3 and pixels.shape[2] == 4 and pixels[..., 3].min() < 128:
        something = pixels[..., 3] >= 128
    else:
        pixels = pixels[..., :3].astype(int)
        colour = np.array(border_colour(pixels))
        if (np.abs(border(pixels) - colour).max(axis=1) <= APART).mean() < PLAIN:
            return None
        something = np.abs(pixels - colour).max(axis=2) > APART
    if something.mean() < LEAST:
        return None
    rows, columns = np.flatnonzero(something.any(axis=1)), np.flatnonzero(something.any(axis=0))
    box = (columns[0] * scale, rows[0] * scale, (columns[-1] + 1) * scale, (rows[-1] + 1) * scale)
    return (int(box[0]), int(box[1]), min(image.width, round(box[2])), min(image.height, round(box[3])))


def square_around(image: Image.Image) -> tuple[int, int, int]:
    """(left, upper, side) of the square that shows the thing in its middle, one and a half times as wide as it is, as
    far as the picture goes; the square in the middle where it is not known what is the thing."""
    box = subject_box(image)
    if box is None:
        left, upper, right, _ = middle(*image.size)
        return left, upper, right - left
    side = min(round(MARGIN * max(box[2] - box[0], box[3] - box[1])), *image.size)
    left, upper = ((low + high - side) // 2 for low, high in ((box[0], box[2]), (box[1], box[3])))
    return max(0, min(left, image.width - side)), max(0, min(upper, image.height - side)), side


def detail(pixels: np.ndarray) -> float:
    """How much of a picture uint8 [H, W, 3] is lost when it is halved and enlarged again, as a share of its contrast:
    next to nothing of what is blurred or was enlarged. Of a picture of one colour it is 1."""
    image = Image.fromarray(pixels[..., :3]).convert("L")
    half = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)
    again = half.resize(image.size, Image.Resampling.BICUBIC)
    values = np.asarray(image, dtype=float)
    contrast = values.std()
    return float(np.sqrt(np.square(values - np.asarray(again, dtype=float)).mean()) / contrast) if contrast > 1 else 1.0
