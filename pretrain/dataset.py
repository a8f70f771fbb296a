"""Write pictures of held-out concepts: python -m pretrain.dataset --out dataset flamingo "hot pepper"..."""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import random
from pathlib import Path

from ldm.cli import CommandParser, run_command
from ldm.data.emoji import COLOURS
from ldm.data.pictures import save_image
from ldm.errors import UserError
from pretrain.world import Concept, Scene, held_out, render


def write_pictures(concept: Concept, folder: Path, count: int = 5, pixels: int = 128) -> None:
    """`count` pictures of a concept, each on a background of its own colour; the same at every call."""
    rng = random.Random(concept.name)
    for i, colour in enumerate(rng.sample(list(COLOURS), count)):
        save_image(render(Scene((concept,), colour), rng, pixels), folder / f"{i + 1}.png")


def main(arguments: list[str] | None = None) -> None:
    """Write folders of pictures. Raises UserError, before any, for a name that is not a held-out concept's."""
    flags = CommandParser(
        description="Write five pictures each of concepts that no training has seen.",
        example='python -m pretrain.dataset --out dataset flamingo "hot pepper"')
    flags.add_argument("names", nargs="*", help="held-out concepts; default: all of them")
    flags.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for a folder of each")
    opt = flags.parse_args(arguments)
    concepts = {c.name: c for c in held_out()}
    for name in opt.names:
        if name not in concepts:
            raise UserError(f"{name!r} is not held out; these are: {', '.join(concepts)}")
    for name in opt.names or concepts:
        write_pictures(concepts[name], opt.out / concepts[name].slug)


if __name__ == "__main__":
    run_command(main)
