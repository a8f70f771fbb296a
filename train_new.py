"""Learn a new word from a few pictures: python train_new.py --base CONFIG.yaml -t --actual_resume MODEL.ckpt \
--name NAME --data_root FOLDER --init_word WORD"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import sys

from ldm.cli import run_command
from training.config import merge_config
from training.flags import check_flags, find_run, get_parser, split_overrides
from training.learn import train, train_starts


def main(arguments: list[str] | None = None, variant: str | None = None) -> None:
    """Learn a word; variant is the one to make of the model, such as "v1", unless the flags name another."""
    parser = get_parser()
    parser.set_defaults(variant=variant)
    rest, overrides = split_overrides(parser, sys.argv[1:] if arguments is None else arguments)
    opt, unknown = parser.parse_known_args(rest)
    if opt.checkpointing is None:
        opt.checkpointing = "config" if any(".use_checkpoint=" in o for o in overrides) else "auto"
    check_flags(opt, overrides + unknown)
    run = find_run(opt)
    config = merge_config(opt, run, overrides + unknown)
    if opt.seeds > 1 and opt.train:
        train_starts(opt, run, config)
    else:
        train(opt, run, config)


if __name__ == "__main__":
    run_command(main)
