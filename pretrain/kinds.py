# PYTHON_ARGCOMPLETE_OK
"""Draw what learned things and styles are compared with: python -m pretrain.kinds --out evaluation/references \
--archive ZIP"""

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
IN_A_STYLE = 30


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


def things_in_two_styles(style: str) -> dict[str, tuple[Thing, Thing]]:
    """{name: (thing as a held-out set draws it, as Noto does)} of things that the model has seen in other styles, none
    of them among the pictures that the style is learned from."""
    from pretrain.held_out import held_out_lists
    from pretrain.things import read_list
    from pretrain.wide import thing_of

    lists, shown = held_out_lists(), {thing.key for thing in wide_things(f"{style} {STYLE}") or ()}
    noto = {row.names[0]: thing_of(row) for row in read_list() if row.source == "noto" and not row.held_out}
    own = {row.names[0]: thing_of(row) for row in read_list() if row.source == style and row.kind}
    names = sorted(name for name, thing in own.items()
                   if name in noto and thing.key not in shown and not lists.in_text(name))
    return {name: (own[name], noto[name]) for name in random.Random(style).sample(names, IN_A_STYLE)}


def write_sheet(rows: dict[str, list[Image.Image]], path: Path) -> None:
    """Write the pictures of each name as a row, and the names."""
    sheet = Image.new("RGB", (max(map(len, rows.values())) * SIDE, len(rows) * SIDE))
    for row, pictures in enumerate(rows.values()):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * SIDE, row * SIDE))
    text = PngInfo()
    text.add_text(NAMES, json.dumps(list(rows)))
    save_image(sheet.quantize(256, dither=Image.Dither.NONE), path, pnginfo=text, optimize=True)
    print(f"{path}: {len(rows)} things")


def main(arguments: list[str] | None = None) -> None:
    """Write a PNG for each kind: a row of pictures for each thing, on backgrounds of several colours; and one for each
    style, a row as the style and as Noto has it."""
    flags = CommandParser(
        description="Draw twenty things of each held-out kind, four pictures each, for evaluation.kinds_suite, and "
        "thirty things in each held-out style and in Noto's, for evaluation.style_suite.",
        example="python -m pretrain.kinds --out evaluation/references --archive pretrain/runs/wide/world.zip")
    flags.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for a picture of each kind")
    flags.add_argument("--archive", type=Path, required=True, metavar="ZIP", help="drawings, from pretrain.icons")
    opt = flags.parse_args(arguments)
    check_files(opt.archive)
    from pretrain.held_out import held_out_lists
    from pretrain.wide import View, WideWorld

    world, folders = WideWorld(opt.archive, sealed=False), dict[str, list[str]]()
    for folder in sorted((ROOT / "dataset").iterdir()):
        name = folder.name.replace("_", " ")
        if wide_things(name) and not name.endswith(f" {STYLE}"):
            folders.setdefault(kind_of(folder.name), []).append(folder.name)
    for kind, own in folders.items():
        rows = {}
        for name, thing in things_of_a_kind(kind, own).items():
            rng = random.Random(f"kind {name}")
            colours = rng.sample([c for c in COLOURS if c != thing.colour], PICTURES)
            rows[name] = [world.render(View((thing,), colour), rng, SIDE) for colour in colours]
        write_sheet(rows, opt.out / f"{kind}.png")
    for style in sorted(held_out_lists().styles):
        write_sheet({name: [world.render(View((thing,), "white"), random.Random(name), SIDE) for thing in both]
                     for name, both in things_in_two_styles(style).items()}, opt.out / f"styles/{style}.png")


if __name__ == "__main__":
    run_command(main)
