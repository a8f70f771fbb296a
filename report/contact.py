"""The contact sheet of a folder of pictures: one page with all of them, and what each was made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from ldm.errors import UserError
from ldm.files import write_bytes
from ldm.parameters import Parameters, picture_parameters
from ldm.util import version
from report.page import render

FILE = "index.html"


def write_index(outdir: str | Path) -> Path:
    """Write FILE into an output folder of txt2img.py, with the pictures in its samples/, the last ones first: its
    path."""
    outdir = Path(outdir)
    files = sorted((path for path in (outdir / "samples").glob("*.png") if not path.name.startswith(".")), reverse=True)
    shown = [entry for path in files if (entry := describe(path, outdir))]
    write_bytes(outdir / FILE, render("contact.html", folder=outdir.resolve().name, pictures=shown, version=version()
                                      ).encode(errors="replace"))
    return outdir / FILE


def describe(path: Path, outdir: Path) -> dict[str, Any] | None:
    """A picture as the template shows it; None for what is none."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    try:
        made = picture_parameters(path)
    except UserError:
        made = Parameters("", "", {})
    return {"source": quote(path.relative_to(outdir).as_posix(), errors="surrogateescape"), "name": path.name,
            "width": width, "height": height, "prompt": made.prompt, "negative": made.negative_prompt,
            "settings": made.settings}
