# PYTHON_ARGCOMPLETE_OK
"""A sheet of what the wide world shows: python -m pretrain.look --archive ZIP --out pretrain/world.png"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import random
from pathlib import Path

from PIL import Image

from ldm.cli import CommandParser, count, run_command, training_seed
from ldm.data.pictures import save_image
from load import check_files


def main(arguments: list[str] | None = None) -> None:
    """Write the sheet, and say what its captions are."""
    flags = CommandParser(
        description="Draw a sheet of pictures of the wide world.",
        example="python -m pretrain.look --archive pretrain/runs/wide/world.zip --out pretrain/world.png")
    flags.add_argument("--archive", type=Path, required=True, metavar="ZIP",
                       help="drawings of the wide world, from pretrain.icons")
    flags.add_argument("--out", type=Path, required=True, metavar="PNG", help="where the sheet goes")
    flags.add_argument("--columns", type=count, default=12, help="of pictures")
    flags.add_argument("--rows", type=count, default=8, help="of pictures")
    flags.add_argument("--seed", type=training_seed, default=0, help="seed of everything random")
    opt = flags.parse_args(arguments)
    check_files(opt.archive)
    from pretrain.wide import WideWorld

    world, side = WideWorld(opt.archive), 72
    sheet = Image.new("RGB", (opt.columns * side, opt.rows * side), "white")
    for n in range(opt.columns * opt.rows):
        picture, captions, _ = world.sample(random.Random(f"{opt.seed} {n}"), 2 * (side - 4), 1)
        small = picture.resize((side - 4, side - 4), Image.Resampling.LANCZOS)
        sheet.paste(small, (n % opt.columns * side + 2, n // opt.columns * side + 2))
        print(f"{n // opt.columns + 1}.{n % opt.columns + 1}: {captions[0]}")
    save_image(sheet.quantize(96, dither=Image.Dither.NONE), opt.out)


if __name__ == "__main__":
    run_command(main)
