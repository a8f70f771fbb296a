"""Pictures: the one place that finds and opens them, and the one that arranges and writes them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from ldm.errors import UserError
from ldm.files import write_bytes

if TYPE_CHECKING:
    import torch

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".avif"}


# Reading -------------------------------------------------------------------------------------------------------------

def open_image(path: str | Path) -> Image.Image:
    """A picture as RGB: turned upright, transparency on white, grey and CMYK converted.

    Raises UserError for a file that is no picture or is cut short.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16-bit grey
                image = Image.fromarray((np.asarray(image, dtype=np.float64) / 257).round().astype(np.uint8))
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, struct.error,
            zlib.error, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable picture ({error}); remove it or put a good one in its place"
                        ) from error


def find_images(folder: str | Path) -> list[Path]:
    """The picture files of a folder, by name. Raises UserError if there is no folder or no picture in it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such image folder (--data_root)")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise UserError(f"{folder}: no pictures in it; put 3 to 5 of them there ({', '.join(sorted(SUFFIXES))})")
    return paths


def open_images(folder: str | Path) -> list[Image.Image]:
    """All pictures of a folder, by name. Raises UserError as `find_images` and `open_image` do."""
    return [open_image(path) for path in find_images(folder)]


# From the model ------------------------------------------------------------------------------------------------------

def to_image(x: torch.Tensor) -> Image.Image:
    """A picture [3, H, W] in [-1, 1] as PIL."""
    return Image.fromarray(((x.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())


def to_images(x: torch.Tensor) -> list[Image.Image]:
    """Pictures [N, 3, H, W] in [-1, 1] as PIL."""
    return [to_image(picture) for picture in x]


def grid(images: torch.Tensor, columns: int) -> torch.Tensor:
    """Pictures [N, 3, H, W] in [-1, 1] as one [3, H', W'] of so many columns, two white pixels around each."""
    from torch.nn.functional import pad

    images = images.float().clamp(-1, 1).cpu()
    columns = min(columns, len(images))
    missing = -len(images) % columns
    images = pad(images, (2, 0, 2, 0, 0, 0, 0, missing), value=1.0)
    return pad(rearrange(images, "(r c) p h w -> p (r h) (c w)", c=columns), (0, 2, 0, 2), value=1.0)


# Arranging and writing -----------------------------------------------------------------------------------------------

def contact_sheet(rows: list[tuple[str, list[Image.Image]]], side: int = 128) -> Image.Image:
    """Rows of pictures under their titles, as one picture."""
    font, title = ImageFont.load_default(14), 22
    columns = max(len(pictures) for _, pictures in rows)
    sheet = Image.new("RGB", (columns * (side + 4) + 4, len(rows) * (side + title + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    for r, (text, pictures) in enumerate(rows):
        top = r * (side + title + 4)
        draw.text((4, top + 3), text, fill="black", font=font)
        for c, picture in enumerate(pictures):
            picture = ImageOps.fit(picture, (side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture, (4 + c * (side + 4), top + title))
    return sheet


def titled_columns(titles: list[str], rows: list[list[Image.Image | str]], side: int = 96,
                   head: int = 46) -> Image.Image:
    """Rows of pictures, or of words in their place, under the titles of the columns, as one picture."""
    sheet = Image.new("RGB", (len(titles) * (side + 4), head + len(rows) * (side + 4)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)

    def write(text: str, x: int, y: int) -> None:
        lines = [""]
        for word in text.split():
            lines[-1:] = [f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < 14 else [lines[-1], word]
        draw.text((x, y), "\n".join(lines), fill="black", font=font, spacing=1)

    for column, title in enumerate(titles):
        write(title, column * (side + 4), 2)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            x, y = column * (side + 4), head + row * (side + 4)
            if isinstance(cell, str):
                write(cell, x + 2, y + 2)
            else:
                sheet.paste(cell.resize((side, side), Image.Resampling.LANCZOS), (x, y))
    return sheet


def save_image(image: Image.Image, path: str | Path, **options: Any) -> None:
    """Write a PNG atomically; options as for PIL's PNG writer."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    write_bytes(path, buffer.getvalue())


def save_grid(images: torch.Tensor, path: str | Path, columns: int = 4) -> None:
    """Write pictures [N, 3, H, W] in [-1, 1] as one PNG."""
    save_image(to_image(grid(images, columns)), path)
