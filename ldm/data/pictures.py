"""Pictures: the one place that finds and opens them, and the one that arranges and writes them."""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from ldm.errors import UserError
from ldm.files import write_bytes, write_numbered
from ldm.progress import counted, say

if TYPE_CHECKING:
    import torch

# What is read, by Pillow's names. Not EPS, for which Pillow starts another program, and nothing without pixels of its
# own, such as WMF.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM", "QOI", "SGI",
           "PCX", "TGA")
# What counts as a picture by its name, whatever is in it; other files count when their content is a picture's.
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff",
            ".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".qoi",
            ".tga", ".pcx", ".sgi"}
# Camera raw is TIFF to Pillow, which would take the thumbnail in it for the picture.
RAW_SUFFIXES = {".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".srw", ".orf", ".rw2", ".pef", ".raf"}
MASK_ENDINGS = (".mask", "-masklabel")  # of names without suffix: a.mask.png is a mask of a.png, no picture
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}


# Finding -------------------------------------------------------------------------------------------------------------

def list_images(folder: str | Path) -> tuple[list[Path], list[str]]:
    """(the pictures of a folder, what else is in it), each by name; hidden files are not mentioned. Masks of pictures
    (MASK_ENDINGS) are something else.

    Only regular files are opened, links to them included: nothing waits on a pipe or a device. Raises UserError if
    there is no folder or no picture in it.
    """
    folder = Path(folder)
    try:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such image folder (--data_root)")
        entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; give a folder that you may read (--data_root)") from error
    paths, left_out = [], []
    for path in entries:
        if _is_picture(path) and not path.stem.lower().endswith(MASK_ENDINGS):
            paths.append(path)
        else:
            note = " (camera raw: save it as JPEG)" if path.suffix.lower() in RAW_SUFFIXES else ""
            left_out.append(path.name + "/" * _is_folder(path) + note)
    if not paths:
        others = f", only {some(left_out)}" if left_out else ""
        raise UserError(f"{folder}: no pictures in it{others}; put 3 to 5 of them there (JPEG, PNG, WebP, ...)")
    return paths, left_out


def find_images(folder: str | Path) -> list[Path]:
    """The picture files of a folder, by name. Raises UserError if there is no folder or no picture in it."""
    return list_images(folder)[0]


def describe_images(folder: str | Path, count: int, left_out: list[str]) -> str:
    """One line: how many pictures are taken from a folder, and what in it is not."""
    text = f"{counted(count, 'picture')} from {folder}"
    return f"{text}; left out: {some(left_out)}" if left_out else text


def some(names: Sequence[str], most: int = 10) -> str:
    """Names as a line can hold them: the first ones, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(_printable(n) for n in names[:most]) + more


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)[1:-1]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def is_regular(path: Path) -> bool:
    """Whether a path is a file of bytes, or a link to one: no folder, pipe or device."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _is_picture(path: Path) -> bool:
    suffix = path.suffix.lower()
    if not is_regular(path) or suffix in RAW_SUFFIXES:
        return False
    if suffix in SUFFIXES:
        return True
    try:
        if _is_heic(path):
            return True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=_formats(path)).close()
        return True
    except Exception:  # whatever a decoder makes of a file that need not be a picture
        return False


# Reading -------------------------------------------------------------------------------------------------------------

def open_image(path: str | Path, background: str | None = "white") -> Image.Image:
    """A picture as RGB: turned upright, transparency on white, grey and CMYK converted, the first of several. Without
    a background, one with transparency is RGBA.

    Grey of more than 8 bits is scaled: floats from 0 to 1, whole numbers from 0 to 65535 (those that end at 255 are
    taken as 8 bits). Raises UserError for a file that is no picture, is cut short, or holds other numbers.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what decoders say of metadata is nothing that the user can mend
            with _open(path) as file:
                image = _to_rgb(file, background)
                several = file.format in ("GIF", "PNG", "WEBP", "AVIF", "TIFF") and _holds_several(file)
    except UserError:
        raise
    except Exception as error:  # whatever a decoder makes of a stranger's file
        raise _unreadable(path, error) from error
    if several:
        say_once(f"{path}: holds several pictures; the first is taken")
    return image


def picture_size(path: str | Path) -> tuple[int, int]:
    """Width and height of a picture as its file has it, before its pixels are read. Raises UserError for a file that
    is no picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _open(Path(path)) as file:
                return file.size
    except UserError:
        raise
    except Exception as error:  # whatever a decoder makes of a stranger's file
        raise _unreadable(Path(path), error) from error


def open_images(folder: str | Path) -> list[Image.Image]:
    """All pictures of a folder, by name; what is left out is said. Raises UserError as `find_images` and `open_image`
    do."""
    paths, left_out = list_images(folder)
    if left_out:
        say_once(describe_images(folder, len(paths), left_out))
    return [open_image(path) for path in paths]


@cache
def say_once(line: str) -> None:
    """Print a line on stderr unless it was printed before: several data sets read the same folder."""
    say(line)


@cache
def _has_heif() -> bool:
    """Whether Pillow can be taught to read HEIC here; then it is."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _is_heic(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(64)
    if head[4:8] != b"ftyp":
        return False
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, min(len(head), int.from_bytes(head[:4], "big")), 4))}
    return bool(brands & HEIC_BRANDS) and not brands & {b"avif", b"avis"}


def _formats(path: Path) -> list[str]:
    """FORMATS as far as they are there. TGA has no signature, so that only its suffix tells it."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN and (name != "TGA" or path.suffix.lower() == ".tga")]


def _open(path: Path) -> Image.Image:
    if not is_regular(path) and path.exists():
        raise ValueError("not a file")
    if _is_heic(path) and not _has_heif():
        raise UserError(f"{path}: HEIC; pip install pillow-heif, or save it as JPEG")
    return Image.open(path, formats=_formats(path))


def _to_rgb(file: Image.Image, background: str | None) -> Image.Image:
    file.load()
    bits = int(getattr(file, "tag_v2", {}).get(258, (16,))[0])  # BitsPerSample of a TIFF
    try:
        image = ImageOps.exif_transpose(file)
    except Exception:  # metadata that cannot be read says nothing of which side is up
        image = file.copy()
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_grey(image, bits)
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if background is None:
            return image
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    return image.convert("RGB")


def _to_grey(image: Image.Image, bits: int) -> Image.Image:
    """8 bits of a picture of floats, or of whole numbers of 12, 16 or 32 bits. Raises ValueError for other ranges."""
    values = np.asarray(image, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    top = 1.0 if image.mode == "F" else 4095.0 if bits == 12 else 65535.0
    if image.mode == "I" and high <= 255:
        top = 255.0
    if not 0 <= low <= high <= top:  # false for numbers that are not finite
        raise ValueError(f"its numbers go from {low:g} to {high:g}; floats are read from 0 to 1, whole numbers from 0 "
                         "to 65535")
    return Image.fromarray((values / (top / 255)).round().astype(np.uint8))


def _holds_several(file: Image.Image) -> bool:
    try:
        return bool(getattr(file, "is_animated", False))
    except Exception:  # only the first picture need be good
        return True


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable picture ({_reason(path, error)}); remove it or put a good one in its "
                     "place")


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        empty = path.stat().st_size == 0
        return "it is empty" if empty else "its content is no picture's, or cut short"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


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


def _png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def save_image(image: Image.Image, path: str | Path, **options: Any) -> None:
    """Write a PNG atomically; options as for PIL's PNG writer."""
    write_bytes(path, _png(image, **options))


def save_numbered(image: Image.Image, folder: str | Path, digits: int, name: str, wanted: int | None = None,
                  **options: Any) -> Path:
    """Write a PNG as `<number>_<name>.png` under the number wanted, or the folder's next, which nobody else gets
    (ldm.files.write_numbered): its path."""
    return write_numbered(folder, _png(image, **options), digits, f"_{name}.png", wanted)


def save_grid(images: torch.Tensor, path: str | Path, columns: int = 4) -> None:
    """Write pictures [N, 3, H, W] in [-1, 1] as one PNG."""
    save_image(to_image(grid(images, columns)), path)
