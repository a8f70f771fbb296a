"""What learned things and styles are compared with: twenty things of each kind that the embedded model has seen none
of, and thirty that it knows, in a style that it has not seen and in its own."""

from __future__ import annotations

import json

from PIL import Image

from ldm.util import ROOT

KINDS = ROOT / "evaluation/references"  # a picture of each kind: a row for each thing
NAMES = "names"  # its text chunk that says which row shows what
SIDE = 64        # of a picture in it: what the judge looks at


def kind_of(folder: str) -> str:
    """The kind of a folder of pictures: robot_3 is a robot."""
    return folder.partition("_")[0]


def read_kind(kind: str) -> dict[str, list[Image.Image]]:
    """{name: pictures} of the things of a kind; of "styles/NAME", one in the style and one of Noto's."""
    path = KINDS / f"{kind}.png"
    with Image.open(path) as file:
        names, sheet = json.loads(file.info[NAMES]), file.convert("RGB")
    columns = range(0, sheet.width, SIDE)
    return {name: [sheet.crop((x, row * SIDE, x + SIDE, (row + 1) * SIDE)) for x in columns]
            for row, name in enumerate(names)}
