"""The flags that the stages of pre-training share."""

from __future__ import annotations

import argparse
from pathlib import Path

from ldm.cli import CommandParser, count, natural, pixels, positive, rate, share, training_seed
from ldm.errors import UserError
from load import check_files
from pretrain.world import GROUPS, check_packages


def parser(description: str, example: str, pictures: int, batch_size: int, learning_rate: float) -> CommandParser:
    """The flags that all stages share."""
    flags = CommandParser(description=description, example=example)
    flags.add_argument("--run", type=Path, required=True, metavar="FOLDER",
                       help="folder of the run; an existing one is resumed")
    flags.add_argument("--pictures", type=count, default=pictures,
                       help="pictures to be seen in all, over all sittings")
    flags.add_argument("--minutes", type=positive,
                       help="end this sitting after so long; the next call goes on")
    flags.add_argument("--batch_size", type=count, default=batch_size, metavar="N",
                       help="pictures a step, on each device")
    flags.add_argument("--learning_rate", type=rate, default=learning_rate, help="peak rate")
    flags.add_argument("--cooldown", type=share, default=0.4, metavar="SHARE",
                       help="share of the pictures over which the rate falls to nothing, in the end; until then it is "
                       "constant, so that --pictures can grow between sittings")
    flags.add_argument("--ema", type=share, default=0.999, metavar="DECAY", help="decay of the averaged weights")
    flags.add_argument("--every", type=count, default=500, metavar="N", help="steps between validations, each of which "
                       "saves")
    flags.add_argument("--validation", type=count, default=512, help="pictures that the best weights are "
                       "chosen by; no training sees them")
    flags.add_argument("--seed", type=training_seed, default=0, help="seed of everything random")
    device_flags(flags.add_argument_group("what it runs on"))
    world_flags(flags.add_argument_group("what pictures show"))
    return flags


def device_flags(group: argparse._ArgumentGroup) -> None:
    """Add those of Lightning, and what makes it faster."""
    group.add_argument("--workers", type=natural, default=1, metavar="N",
                       help="processes that render pictures, for each device")
    group.add_argument("--compile", action="store_true", help="torch.compile: minutes to start, then faster")
    group.add_argument("--accelerator", default="auto", metavar="NAME", help="as Lightning has it: cpu, cuda, mps")
    group.add_argument("--devices", default="auto", metavar="NUMBERS", help="as Lightning has it: 2, or 0,1")
    group.add_argument("--num_nodes", type=count, default=1, metavar="N", help="machines")
    group.add_argument("--strategy", default="auto", metavar="NAME", help="as Lightning has it: ddp")
    group.add_argument("--precision", choices=("auto", "32-true", "bf16-mixed"), default="auto", help="auto: bfloat16 "
                       "where the device computes with it natively, and faster")


def world_flags(group: argparse._ArgumentGroup) -> None:
    """Add those that say what pictures show."""
    group.add_argument("--world", choices=("emoji", "wide"), default="emoji",
                       help="Noto's emoji alone, or the wide world of icons and things drawn by code")
    group.add_argument("--archive", type=Path, metavar="ZIP", help="drawings of the wide world, from pretrain.icons")
    group.add_argument("--noto_share", type=share, default=0.35, metavar="SHARE",
                       help="share of Noto's drawings in the wide world")
    group.add_argument("--family_share", type=share, default=0.25, metavar="SHARE",
                       help="share of things drawn by code; the rest are icons")
    group.add_argument("--pair_share", type=share, default=0.28, metavar="SHARE",
                       help="share of pictures of two things in the wide world")
    group.add_argument("--size", type=pixels, metavar="PIXELS",
                       help="of pictures; default: what the model's config says")
    group.add_argument("--groups", nargs="+", default=GROUPS, choices=GROUPS, metavar="GROUP",
                       help=f"emoji groups of the emoji world, oftener if named oftener; of: {', '.join(GROUPS)}")
    group.add_argument("--often", type=Path, metavar="FILE",
                       help="names of the emoji world, a line each, to show three times as often as others")


def check_world(opt: argparse.Namespace) -> None:
    """Raises UserError where the world that flags name cannot be drawn."""
    check_files(opt.often)
    if opt.world == "emoji":
        check_packages()
    elif opt.archive is None or not opt.archive.is_file():
        raise UserError(f"--archive {opt.archive}: the wide world needs its drawings; make them with "
                        "python -m pretrain.icons --out ZIP")
    elif opt.noto_share + opt.family_share > 1:
        raise UserError("--noto_share and --family_share: together they are more than 1")
