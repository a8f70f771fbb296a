# PYTHON_ARGCOMPLETE_OK
"""Draw twenty things of each held-out kind: python -m pretrain.kinds --out evaluation/references --archive ZIP"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from evaluation.kinds import NAMES, SIDE, kind_of
from ldm.cli import CommandParser, run_command
from ldm.data.emoji import COLOURS
from ldm.data.pictures import save_image
from ldm.util import ROOT
from load import check_files
from pretrain.dataset import STYLE, wide_things

if TYPE_CHECKING:
    from pretrain.wide import Thing

OF_A_KIND, PICTURES = 20, 4


def things_of_a_kind(kind: str, folders: list[str]) -> dict[str, Thing]:
    """{name: thing}: those whose pictures are in dataset/, and others, drawn from a generator; a thing once."""
    from pretrain.held_out import held_out_lists
    from pretrain.things import read_list
    from pretrain.wide import family_thing, thing_of

    lists, rng = held_out_lists(), random.Random(kind)
    chosen = {folder: things[0] for folder in folders if (things := wide_things(folder.replace("_", " ")))}
    if kind in lists.families:
        others = {f"{kind}_{number}": family_thing(kind, number) for number in rng.sample(range(10_000), OF_A_KIND)}
    else:
        rows = [row for row in read_list() if row.source == kind and row.kind and not lists.in_text(row.names[0])]
        others = {f"{kind}_{row.names[0].replace(' ', '_')}": thing_of(row) for row in rng.sample(rows, OF_A_KIND + 5)}
    drawings = {thing.key for thing in chosen.values()}
    more = {name: thing for name, thing in others.items() if thing.key not in drawings}
    return dict([*chosen.items(), *more.items()][:OF_A_KIND])


def main(arguments: list[str] | None = None) -> None:
    """Write a PNG for each kind: a row of pictures for each thing, on backgrounds of several colours."""
    flags = CommandParser(
        description="Draw twenty things of each held-out kind, four pictures each, for evaluation.kinds_suite.",
        example="python -m pretrain.kinds --out evaluation/references --archive pretrain/runs/wide/world.zip")
    flags.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for a picture of each kind")
    flags.add_argument("--archive", type=Path, required=True, metavar="ZIP", help="drawings, from pretrain.icons")
    opt = flags.parse_args(arguments)
    check_files(opt.archive)
    from pretrain.wide import View, WideWorld

    world, folders = WideWorld(opt.archive, sealed=False), dict[str, list[str]]()
    for folder in sorted((ROOT / "dataset").iterdir()):
        name = folder.name.replace("_", " ")
        if wide_things(name) and not name.endswith(f" {STYLE}"):
            folders.setdefault(kind_of(folder.name), []).append(folder.name)
    for kind, own in folders.items():
        things = things_of_a_kind(kind, own)
        sheet = Image.new("RGB", (PICTURES * SIDE, len(things) * SIDE))
        for row, (name, thing) in enumerate(things.items()):
            rng = random.Random(f"kind {name}")
            for column, colour in enumerate(rng.sample([c for c in COLOURS if c != thing.colour], PICTURES)):
                picture = world.render(View((thing,), colour), rng, SIDE)
                sheet.paste(picture, (column * SIDE, row * SIDE))
        text = PngInfo()
        text.add_text(NAMES, json.dumps(list(things)))
        save_image(sheet.quantize(256, dither=Image.Dither.NONE), opt.out / f"{kind}.png", pnginfo=text, optimize=True)
        print(f"{opt.out / f'{kind}.png'}: {len(things)} things")


if __name__ == "__main__":
    run_command(main)
