"""How a picture comes to the square that the model takes, its mask with it, and what of it is shown each time."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ldm.data.emoji import COLOURS
from ldm.errors import UserError

Fit = Literal["crop", "pad", "random", "squeeze"]

PLACES = 16   # that `random` cuts a picture at, at most: the latents of each are kept
LONGEST = 16  # sides are as 1 to this at most when a picture is scaled whole; more is cut off on both sides
BACKGROUNDS = tuple(rgb for rgb, _ in COLOURS.values())  # under an alpha channel
LEAST = 0.5   # of what a place shows of the thing, in what the best place shows of it


def middle(width: int, height: int, sides: int = 1) -> tuple[int, int, int, int]:
    """The box (left, upper, right, lower) in the middle of a picture whose sides are as 1 to `sides` at most."""
    w, h = min(width, sides * height), min(height, sides * width)
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


def frame(image: Image.Image, size: int | None, fit: Fit, resample: Image.Resampling,
          fill: int | None = None) -> Image.Image:
    """A picture scaled to size x size; for `random`, its shorter side to size. Without a size only `crop` does
    anything. What `pad` adds has the colour `fill`, by default the median of the picture's border; nothing under an
    alpha channel."""
    if fit == "crop":
        image = image.crop(middle(*image.size))
    if size is None or fit in ("crop", "squeeze"):
        return image if size is None else image.resize((size, size), resample)
    image = image.crop(middle(*image.size, LONGEST))
    side = min(image.size) if fit == "random" else max(image.size)
    width, height = (max(1, round(n * size / side)) for n in image.size)
    image = image.resize((width, height), resample)
    if fit == "random":
        return image
    colour = (0, 0, 0, 0) if image.mode == "RGBA" else border_colour(np.asarray(image)) if fill is None else fill
    padded = Image.new(image.mode, (size, size), colour)
    padded.paste(image, ((size - width) // 2, (size - height) // 2))
    return padded


def border(pixels: np.ndarray) -> np.ndarray:
    """The pixels [N, C] at the border of a picture [H, W, C]."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def border_colour(pixels: np.ndarray) -> tuple[int, ...]:
    """The median colour at the border of a picture [H, W, C]."""
    return tuple(int(v) for v in np.median(border(pixels), axis=0))


@dataclass(frozen=True)
class Picture:
    """A picture to learn from, as the model takes it."""

    path: Path
    given: tuple[int, int]                      # width and height of what the file holds
    pixels: np.ndarray                          # uint8 [H, W, 3]; with an alpha channel where the background varies
    mask: np.ndarray | None                     # uint8 [H, W]: 255 counts in the loss, 0 does not; None: all does
    places: tuple[tuple[int, int], ...]         # upper left corners of what may be shown
    shown: tuple[int, int]                      # its height and width
    masked: bool = False                        # whether the mask is of the thing, not of padding alone

    @property
    def cut_out(self) -> bool:
        """Whether it stands before a background of changing colour."""
        return self.pixels.shape[2] == 4

    def view(self, rng: random.Random | None = None) -> tuple[np.ndarray, np.ndarray | None, str]:
        """(pixels uint8 [h, w, 3], mask uint8 [h, w] or None, what chance decided): at a place and on a background that
        are drawn; the first ones without a generator."""
        place = self.places[rng.randrange(len(self.places)) if rng else 0]
        window = tuple(slice(start, start + length) for start, length in zip(place, self.shown, strict=True))
        pixels, drawn = self.pixels[window], "" if len(self.places) == 1 else f"|{place[0]},{place[1]}"
        if self.cut_out:
            colour = BACKGROUNDS[rng.randrange(len(BACKGROUNDS)) if rng else 0]
            alpha = pixels[..., 3:] / 255.0
            pixels = (pixels[..., :3] * alpha + np.array(colour) * (1 - alpha)).round().astype(np.uint8)
            drawn += "|#{:02x}{:02x}{:02x}".format(*colour)
        return pixels, None if self.mask is None else self.mask[window], drawn

    @property
    def key(self) -> str:
        """Its name, a hash of its pixels, and their shape."""
        return f"{self.path}|{hashlib.sha256(self.pixels.tobytes()).hexdigest()}|{self.pixels.shape}"


def make_picture(path: Path, image: Image.Image, mask: Image.Image | None, size: int | None, fit: Fit,
                 resample: Image.Resampling) -> Picture:
    """A picture of a file, and its mask, which goes where it goes: a second picture, or its own alpha channel. What
    padding adds does not count in the loss. Raises UserError where the mask leaves nothing of what is shown."""
    framed, masked = np.asarray(frame(image, size, fit, resample)), mask is not None or image.mode == "RGBA"
    if mask is None and fit == "pad" and size is not None and image.width != image.height:
        mask = Image.new("L", image.size, 255)
    weights = None if mask is None else np.asarray(frame(mask, size, fit, Image.Resampling.BILINEAR, fill=0))
    if image.mode == "RGBA":
        weights = framed[..., 3]
    height, width = framed.shape[:2]
    shown = (size, size) if fit == "random" and size is not None else (height, width)
    steps = [n / (PLACES - 1) for n in range(PLACES)]
    places = list(dict.fromkeys((round((height - shown[0]) * n), round((width - shown[1]) * n)) for n in steps))
    if weights is not None:
        covered = [int(weights[y : y + shown[0], x : x + shown[1]].sum()) for y, x in places]
        if not max(covered):
            raise UserError(f"{path}: its mask leaves nothing of what is shown of it; mend the mask, or take "
                            "--fit pad, or --mask off")
        places = [p for p, c in zip(places, covered, strict=True) if c >= LEAST * max(covered)]
    return Picture(path, image.size, framed, weights, tuple(places), shown, masked)
