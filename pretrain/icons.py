# PYTHON_ARGCOMPLETE_OK
"""Draw what things.tsv lists into one file: python -m pretrain.icons --out pretrain/runs/world.zip

The icon sets come from the npm registry, by `npm pack`; the emoji world's own drawings from its font. What trains on
the file needs neither.
"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import functools
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from ldm.cli import CommandParser, run_command
from ldm.errors import UserError
from ldm.files import write_bytes
from ldm.progress import bar
from pretrain.sets import BY_NAME, fetch, read_package, svg
from pretrain.things import Row, read_list

SIDE = 136  # a little more than the pictures' size
LARGE = 9000  # bytes of a lossless file, beyond which a drawing is all shading and loses nothing that is seen


def rasterise(document: str) -> Image.Image:
    """An SVG document as RGBA, twice SIDE wide. Raises UserError without resvg."""
    try:
        import resvg_py
    except ImportError as error:
        raise UserError("drawing icons needs resvg: pip install -e '.[pretrain]'") from error
    return Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=document, width=2 * SIDE, height=2 * SIDE,
                                                       skip_system_fonts=True))).convert("RGBA")


def squared(drawing: Image.Image) -> Image.Image | None:
    """What is drawn, in the middle of a transparent square of SIDE pixels; None if nothing is."""
    box = drawing.getbbox()
    if box is None:
        return None
    drawn = drawing.crop(box)
    side = max(drawn.size)
    square = Image.new("RGBA", (side, side))
    square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return square.resize((SIDE, SIDE), Image.Resampling.LANCZOS) if side > SIDE else square


def member_name(row: Row) -> str:
    """What the drawing of a row is called in the archive."""
    return f"{row.source}/{row.key}.webp"


def draw_all(rows: tuple[Row, ...], packages: Path, draw: Callable[[str], Image.Image] = rasterise) -> bytes:
    """The archive: a WebP for each row, lossless but for those full of shading."""
    from pretrain.world import glyph

    icons = {s: read_package(fetch(BY_NAME[s], packages), "icons") for s in dict.fromkeys(
        r.source for r in rows) if s != "noto"}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for row in bar(rows, desc="drawing", unit="icon"):
            drawing = squared(glyph(row.key) if row.source == "noto" else draw(svg(icons[row.source], row.key)))
            if drawing is None:
                raise UserError(f"{row.source}: nothing is drawn for {row.key}; take it out of pretrain/things.tsv")
            data = io.BytesIO()
            drawing.save(data, "WEBP", lossless=True, method=4)
            if data.tell() > LARGE:
                data = io.BytesIO()
                drawing.save(data, "WEBP", quality=92, method=4)
            file.writestr(zipfile.ZipInfo(member_name(row)), data.getvalue())  # the same bytes at every call
    return archive.getvalue()


@functools.lru_cache(maxsize=4)
def opened(path: Path, process: int) -> zipfile.ZipFile:
    """The archive, open in this process: workers must not share a file position."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: is no archive of drawings; make it with python -m pretrain.icons --out {path}"
                        ) from error


@functools.lru_cache(maxsize=3000)
def drawing(path: Path, member: str) -> Image.Image:
    """A drawing of the archive, RGBA. Raises UserError where the archive lacks it."""
    try:
        data = opened(path, os.getpid()).read(member)
    except KeyError as error:
        raise UserError(f"{path}: has no {member}; it is older than pretrain/things.tsv: make it anew with "
                        "python -m pretrain.icons") from error
    return Image.open(io.BytesIO(data)).convert("RGBA")


def main(arguments: list[str] | None = None) -> None:
    """Write the archive."""
    flags = CommandParser(description="Draw all icons that the wide world shows into one file.",
                          example="python -m pretrain.icons --out pretrain/runs/wide/world.zip")
    flags.add_argument("--out", type=Path, required=True, metavar="ZIP", help="where the archive goes")
    flags.add_argument("--packages", type=Path, metavar="FOLDER",
                       help="folder for the packages of the npm registry; default: beside --out")
    opt = flags.parse_args(arguments)
    from pretrain.world import check_packages

    check_packages()
    write_bytes(opt.out, draw_all(read_list(), opt.packages or opt.out.parent / "packages"))
    print(f"{len(read_list())} drawings, {opt.out.stat().st_size / 1e6:.0f} MB, in {opt.out}")


if __name__ == "__main__":
    run_command(main)
