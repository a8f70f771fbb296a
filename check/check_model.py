"""What is in a checkpoint: python -m check.check_model CKPT [--config YAML] [--export FOLDER]"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import argparse
from collections import Counter, defaultdict
from pathlib import Path

from ldm.cli import CommandParser, count, print_json, print_table, run_command
from ldm.errors import UserError
from ldm.filetypes import shown
from ldm.progress import say
from load import (
    add_model_flags,
    check_files,
    compare_state,
    find_config,
    meta_model,
    model_config,
    read_state_dict,
    read_weights,
)

# Parts as published checkpoints name them.
PARTS = (("model.diffusion_model.", "UNet"), ("first_stage_model.", "autoencoder"),
         ("cond_stage_model.", "text encoder"), ("model_ema.", "averaged UNet"),
         ("embedding_manager.", "learned words"))


def part_of(name: str) -> str:
    """The part of the model that a weight belongs to."""
    return next((part for prefix, part in PARTS if name.startswith(prefix)), "schedule and other")


def print_names(title: str, names: list[str], most: int) -> None:
    """Print a title, how many names there are, and at most so many of them."""
    print(f"\n{title}: {len(names) or 'none'}")
    for name in names[:most]:
        print(f"  {shown(name)}")
    if len(names) > most:
        print(f"  ... and {len(names) - most} more")


def main(arguments: list[str] | None = None) -> None:
    """Print what a checkpoint holds, or write it in another layout."""
    parser = CommandParser(
        description="Print the parts of a checkpoint with parameter counts and number "
        "formats, and what its config misses or does not expect.",
        example="python -m check.check_model models/ldm/emoji/model.ckpt")
    parser.add_argument("ckpt", metavar="CKPT", help="checkpoint, or folder of diffusers")
    add_model_flags(parser, "--config")
    parser.add_argument("--most", type=count, default=10, help="names to list at most")
    parser.add_argument("--export", metavar="FOLDER", type=Path, help="instead, write the model there as a folder of "
                        "diffusers")
    parser.add_json()
    opt = parser.parse_args(arguments)
    if opt.json and not opt.export:
        raise UserError("--json says what --export has written; name the folder to write")
    check_files(opt.ckpt, opt.config)
    if opt.export:
        export(opt.ckpt, opt.config, opt.export)
        if opt.json:
            print_json({"model": opt.export})
    else:
        report(opt)


def export(ckpt: str, config_file: str | None, folder: Path) -> None:
    """Write a model as a folder of diffusers: its averaged weights where its config uses those."""
    from ldm.diffusers_folder import write_folder

    config = model_config(ckpt, config_file)
    model = meta_model(config, ckpt)
    weights = read_weights(model, ckpt)
    for name in [n for n in weights if n.startswith("model.")]:
        averaged = "model_ema." + name.removeprefix("model.").replace(".", "")
        weights[name] = weights.get(averaged, weights[name])
    text_encoder = model.cond_stage_model
    write_folder(folder, config["model"], weights, text_encoder.tknz_fn.tokenizer, text_encoder.max_seq_len)
    say(f"{folder}: written")


def report(opt: argparse.Namespace) -> None:
    """Print the parts of a checkpoint and how its config fits them."""
    weights = read_state_dict(opt.ckpt)
    counts: Counter[str] = Counter()
    tensors: Counter[str] = Counter()
    formats: dict[str, set[str]] = defaultdict(set)
    for name, value in weights.items():
        part = part_of(name)
        counts[part] += value.numel()
        tensors[part] += 1
        formats[part].add(str(value.dtype).removeprefix("torch."))
    rows = [(part, tensors[part], counts[part], ", ".join(sorted(formats[part]))) for part in counts]
    rows.append(("all", len(weights), sum(counts.values()), ""))
    print_table(("part", "tensors", "numbers", "format"), rows)

    config = find_config(opt.ckpt, opt.config)
    missing, unexpected, misshapen = compare_state(meta_model(model_config(opt.ckpt, opt.config), opt.ckpt), weights)
    print(f"\ncompared with {config}")
    print_names("weights the config expects and the checkpoint misses", missing, opt.most)
    print_names("entries the config does not expect", unexpected, opt.most)
    print_names("weights of another shape", misshapen, opt.most)

    from ldm.serialization import not_finite

    print_names("weights that are not finite (of a large file some small ones are looked at)", not_finite(weights),
                opt.most)


if __name__ == "__main__":
    run_command(main)
