# PYTHON_ARGCOMPLETE_OK
"""Write pictures of what no training has seen: python -m pretrain.dataset --out dataset flamingo "hot pepper"...

Of the wide world, with --archive: "robot 3" is a member of a held-out family, "twemoji octopus" a thing as a held-out
icon set draws it, and "twemoji style" are five things of that set.
"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import random
from pathlib import Path
from typing import TYPE_CHECKING

from ldm.cli import CommandParser, run_command
from ldm.data.emoji import COLOURS
from ldm.data.pictures import save_image
from ldm.errors import UserError
from load import check_files
from pretrain.world import Concept, Scene, held_out, render

if TYPE_CHECKING:
    from pretrain.wide import Thing

STYLE = "style"  # stands for a set itself
PICTURES, SIDE = 5, 128


def write_pictures(concept: Concept, folder: Path, count: int = PICTURES, pixels: int = SIDE) -> None:
    """`count` pictures of a concept, each on a background of its own colour; the same at every call."""
    rng = random.Random(concept.name)
    for i, colour in enumerate(rng.sample(list(COLOURS), count)):
        save_image(render(Scene((concept,), colour), rng, pixels), folder / f"{i + 1}.png")


def wide_things(name: str) -> list[Thing] | None:
    """What a held-out name of the wide world stands for: one thing, or as many as there are pictures; None for a name
    that stands for nothing held out."""
    from pretrain.held_out import held_out_lists
    from pretrain.things import read_list
    from pretrain.wide import family_thing, thing_of

    lists, (first, _, rest) = held_out_lists(), name.partition(" ")
    if first in lists.families and rest.isdecimal():
        return [family_thing(first, int(rest))]
    if first not in lists.styles:
        return None
    rows = [row for row in read_list() if row.source == first and not lists.in_text(row.names[0])]
    if rest == STYLE:
        return [thing_of(row) for row in random.Random(name).sample([r for r in rows if r.kind], PICTURES)]
    return [thing_of(row) for row in rows if row.names[0] == rest][:1] or None


def write_wide(name: str, things: list[Thing], folder: Path, archive: Path) -> None:
    """Pictures of one thing, or of one each, on backgrounds of several colours; the same at every call."""
    from pretrain.wide import View, WideWorld

    world, rng = WideWorld(archive, sealed=False), random.Random(name)
    colours = rng.sample([c for c in COLOURS if c != things[0].colour], PICTURES)
    for i, colour in enumerate(colours):
        view = View((things[i % len(things)],), colour)
        save_image(world.render(view, rng, SIDE), folder / f"{i + 1}.png")


def main(arguments: list[str] | None = None) -> None:
    """Write folders of pictures. Raises UserError, before any, for a name of what is not held out."""
    flags = CommandParser(
        description="Write five pictures each of what no training has seen.",
        example='python -m pretrain.dataset --out dataset flamingo "hot pepper"')
    flags.add_argument("names", nargs="*", help='held-out concepts; with --archive "robot 3", "twemoji octopus" and '
                       '"twemoji style" too; default: all concepts')
    flags.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for a folder of each")
    flags.add_argument("--archive", type=Path, metavar="ZIP", help="drawings of the wide world, from pretrain.icons")
    opt = flags.parse_args(arguments)
    check_files(opt.archive)
    concepts = {c.name: c for c in held_out()}
    wide = {name: things for name in opt.names if opt.archive and (things := wide_things(name))}
    for name in opt.names:
        if name not in concepts and name not in wide:
            raise UserError(f"{name!r} is not held out; these are: {', '.join(concepts)}"
                            f"{'' if opt.archive else '; those of the wide world need --archive'}")
    for name in opt.names or concepts:
        if name in wide:
            write_wide(name, wide[name], opt.out / name.replace(" ", "_"), opt.archive)
        else:
            write_pictures(concepts[name], opt.out / concepts[name].slug)


if __name__ == "__main__":
    run_command(main)
