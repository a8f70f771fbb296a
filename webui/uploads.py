"""Pictures that somebody brings to learn from: how many and how large, their squares, and what may mislead in them."""

from __future__ import annotations

import base64
import io
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from ldm.data.pictures import open_image, picture_size, save_image, some
from ldm.data.subject import square_around
from ldm.data.summary import Fault
from ldm.errors import UserError

MOST_FILES = 20
MOST_BYTES = 25 * 2**20     # of a file
MOST_PIXELS = 60 * 10**6    # of a picture
LONGEST = 1536              # pixels of the longer side that is kept
SHOWN = 360                 # pixels of the longer side that the browser gets
KEPT = 24 * 3600            # seconds that pictures are kept which nobody learns from
LEAST = 16                  # pixels of a square's side

# What the page says of the faults that the command finds (ldm.data.summary), with {} for the pictures' names.
ADVICE = {
    "squeezed": "{}: no squares, and will be squeezed.",
    "small": "{}: fewer pixels than the model looks at, so it will learn a blurred thing. Take a larger picture, or a "
             "larger square.",
    "same": "{} are the same picture, which then counts twice.",
    "few": "Three to five pictures work best, each before another background: what all of them share is learned with "
           "the thing.",
    "background": "All pictures have the same background, and it will be learned with the thing. Change it from "
                  "picture to picture, if you can.",
    "tiny": "{}: the thing is small. Draw the square closer around it, about one and a half times as wide as "
            "the thing.",
    "blurred": "{}: blurred, and will be learned so. Take a sharp picture in its place.",
}


@dataclass(frozen=True)
class Upload:
    """A picture as it was brought, turned upright, and the square of it to learn from."""

    name: str
    file: Path
    size: tuple[int, int]
    square: tuple[int, int, int]  # left, upper, side


def take(path: str | Path, name: str, folder: Path) -> Upload:
    """Read a picture that was sent, and keep it upright in a folder. Raises UserError for what is too large, or no
    picture that train_new.py reads."""
    name = Path(name).name[-80:]
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise UserError(f"{name}: larger than {MOST_BYTES >> 20} MB; save it smaller")
        width, height = picture_size(path)
        if width * height > MOST_PIXELS:
            raise UserError(f"{name}: {width} x {height} are more than {MOST_PIXELS // 10**6} million pixels; save it "
                            "smaller")
        image = open_image(path, background=None)
    except UserError as error:
        raise UserError(str(error).replace(str(path), name)) from error
    if max(image.size) > LONGEST:
        image = ImageOps.contain(image, (LONGEST, LONGEST), Image.Resampling.LANCZOS)
    if min(image.size) < LEAST:
        raise UserError(f"{name}: {image.width} x {image.height} pixels show too little of a thing")
    number = sum(1 for _ in folder.glob("*.png")) if folder.is_dir() else 0
    file = folder / f"{number:03}.png"
    save_image(image, file)
    return Upload(name, file, image.size, square_around(image))


def move(upload: Upload, left: Any, upper: Any, side: Any) -> Upload:
    """The same with another square, kept inside the picture. Raises UserError for what are no numbers."""
    try:
        left, upper, side = (round(float(value)) for value in (left, upper, side))
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError("a square is told by three numbers") from error
    width, height = upload.size
    side = max(LEAST, min(side, width, height))
    return replace(upload, square=(max(0, min(left, width - side)), max(0, min(upper, height - side)), side))


def squares(uploads: Sequence[Upload], folder: Path) -> None:
    """Write the squares into a folder, as pictures to learn from."""
    for number, upload in enumerate(uploads, 1):
        left, upper, side = upload.square
        with Image.open(upload.file) as image:
            save_image(image.crop((left, upper, left + side, upper + side)), folder / f"{number:02}.png")


def for_browser(upload: Upload) -> dict[str, Any]:
    """What the page shows of a picture: a small copy, and the square in percent of its sides."""
    with Image.open(upload.file) as image:
        small = image.convert("RGBA")
        small.thumbnail((SHOWN, SHOWN))
        flat = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    (width, height), (left, upper, side) = upload.size, upload.square
    return {"name": upload.name, "src": data_url(flat), "w": width, "h": height, "left": left, "upper": upper,
            "side": side, "x": 100 * left / width, "y": 100 * upper / height, "across": 100 * side / width,
            "down": 100 * side / height}


def data_url(image: Image.Image, format: str = "JPEG") -> str:
    """A picture as the address of itself."""
    buffer = io.BytesIO()
    image.save(buffer, format, **({"quality": 85} if format == "JPEG" else {}))
    return f"data:image/{format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def advice(faults: Sequence[Fault], uploads: Sequence[Upload]) -> list[str]:
    """What the page says of the faults of pictures that `squares` wrote."""
    def names(fault: Fault) -> str:
        return some([uploads[int(picture.path.stem) - 1].name for picture in fault.pictures], 4)

    return [ADVICE[fault.kind].format(names(fault)) for fault in faults]


def tidy(folder: Path) -> None:
    """Remove pictures that were brought long ago and that nobody has learned from."""
    for path in folder.glob("*"):
        if path.is_dir() and time.time() - path.stat().st_mtime > KEPT:
            shutil.rmtree(path, ignore_errors=True)
