"""What the check scripts share: their flags, the model they look into, a printed table."""

import os

import torch
from omegaconf import OmegaConf

from improvement.v1.post_BERT import CONFIG as V1
from improvement.v2.pre_BERT import CONFIG as V2
from ldm.cli import CommandParser
from load import instantiate_from_config, load_config, load_model_from_config
from txt2img import EMBEDDED_MODEL, find_config

VARIANTS = {"v1": V1, "v2": V2}


def model_flags(parser: CommandParser) -> CommandParser:
    """Add --config and --ckpt_path, by default the embedded model's."""
    parser.add_argument("--config", metavar="YAML", help="the model's config; default: the one beside the checkpoint")
    parser.add_argument("--ckpt_path", metavar="CKPT", default=os.path.relpath(EMBEDDED_MODEL),
                        help="the model's checkpoint (default: %(default)s)")
    parser.add_argument("--variant", choices=VARIANTS, help="look at the model as v1 or v2 makes it")
    return parser


def checked_config(opt):
    """The config that the flags name."""
    return OmegaConf.merge(load_config(find_config(opt)), VARIANTS.get(opt.variant, {}))


def load_checked_model(opt):
    """The model that the flags name."""
    return load_model_from_config(checked_config(opt), opt.ckpt_path)


def meta_model(config):
    """The model a config describes, with shapes but without weights."""
    with torch.device("meta"):
        return instantiate_from_config(config["model"])


def print_table(header: tuple[str, ...], rows: list[tuple]) -> None:
    """Print rows under a header, columns aligned; numbers to the right."""
    cells = [[f"{c:,}" if isinstance(c, int) else f"{c:.3f}" if isinstance(c, float) else str(c) for c in row]
             for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for n, row in enumerate(cells):
        values = rows[n - 1] if n else header
        print("  ".join(cell.rjust(w) if isinstance(value, int | float) else cell.ljust(w)
                        for cell, w, value in zip(row, widths, values, strict=True)).rstrip())
        if n == 0:
            print("  ".join("-" * w for w in widths))
