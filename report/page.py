"""What the pages share: templates, and pictures inside the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"
LARGE = 200_000  # pixels, beyond which a picture is written with losses that nobody sees


def render(template: str, **content: Any) -> str:
    """A page from one of TEMPLATES. What goes in is text: it is escaped."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.get_template(template).render(**content)


def inline(image: Image.Image) -> str:
    """A picture as an address that holds it: WebP, without losses where it is small."""
    buffer = io.BytesIO()
    small = image.width * image.height <= LARGE
    image.convert("RGB").save(buffer, "WEBP", **({"lossless": True} if small else {"quality": 88}))
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
