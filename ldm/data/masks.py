"""Masks: which part of a picture is the thing, by its alpha channel or by a second picture."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PIL import Image

from ldm.data.captions import beside
from ldm.data.pictures import MASK_ENDINGS, SUFFIXES, open_image
from ldm.errors import UserError

Mask = Literal["alpha", "file", "off", False]  # YAML reads `off` as False


def find_masks(pictures: list[Path], others: list[str]) -> dict[Path, Path]:
    """The mask files of pictures among the other entries of their folder: a.mask.png belongs to a.png."""
    endings = [ending + suffix for ending in MASK_ENDINGS for suffix in (".png", *sorted(SUFFIXES - {".png"}))]
    return beside(pictures, others, endings)


def open_masked(path: Path, file: Path | None, alpha: bool) -> tuple[Image.Image, Image.Image | None]:
    """(picture, mask L or None): RGB, with the mask of a file, if any; RGBA, with the mask in it, where the alpha
    channel is asked for and leaves something out. Raises UserError as open_image does, and for a mask of
    another size."""
    if alpha:
        image = open_image(path, background=None)
        cut_out = image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255)
        return (image if cut_out else image.convert("RGB")), None
    image = open_image(path)
    if file is None:
        return image, None
    mask = open_image(file, background="black").convert("L")
    if mask.size != image.size:
        upright = ", both turned upright as their EXIF data say" * (mask.size == image.size[::-1])
        raise UserError(f"{file}: {mask.width} x {mask.height} pixels, and {path.name} has {image.width} x "
                        f"{image.height}{upright}; a mask has the size of its picture; or --mask off")
    return image, mask
