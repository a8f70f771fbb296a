"""What options of training change: python -m evaluation.options_suite --json report.json

Every held-out concept is learned at the defaults and with each option, with the same pictures and steps; what the words
draw from the same noise is compared concept by concept.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from pathlib import Path

import numpy as np

from evaluation.measures import interval, print_report
from evaluation.suite import BY_ITSELF, Suite, suite_flags
from ldm.cli import CommandParser, number, run_command
from ldm.data.pictures import open_images
from ldm.progress import bar

# name -> what train_new.py is given for it
OPTIONS: dict[str, tuple[str, ...]] = {
    "cosine": ("--lr_schedule", "cosine"),
    "linear": ("--lr_schedule", "linear:30"),
    "rates": ("--lr_schedule", "2.4e-3:100, 8e-4:200, 2.7e-4"),
    "norms": ("model.params.preserve_embedding_norm=true",),
    "min_snr": ("model.params.min_snr_gamma=5",),
    "starts": ("--seeds", "3"),
    **{name: given for name, (given, _) in BY_ITSELF.items()},
}
PLAIN = 16  # pictures of a word alone: more than in the report card, since differences are small
MEASURES = ("top1", "top5", "clip_i", "background", "both")


def main(arguments: list[str] | None = None) -> None:
    """Print what each option adds to the defaults."""
    parser = CommandParser(
        description="Compare words learned with options of training to words learned without.",
        example="python -m evaluation.options_suite --every 5 --json report.json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write {metric: {value, low, high, n}}")
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS), help="what to compare")
    parser.add_argument("--every", type=number(float, 1, 1000), default=1, metavar="N",
                        help="take every Nth concept, such as 5.5")
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    suite = Suite(opt, opt.variant)
    folders = suite.held_out_folders()
    chosen = [folders[int(i * opt.every)] for i in range(max(1, round(len(folders) / opt.every)))]
    found: dict[str, list[float]] = {}
    for folder in bar(chosen, desc="held-out concepts"):
        concept, training = suite.by_slug[folder.name], open_images(folder)
        base: dict[str, float] = {}
        for name, overrides in {"default": (), **{o: OPTIONS[o] for o in opt.options}}.items():
            suite.model.embedding_manager.load(
                suite.learn_by_itself(folder, name) if name in BY_ITSELF else
                suite.learn(folder, overrides, "runs" if name == "default" else name))
            means = {m: float(np.mean(v)) for m, v in suite.measure("*", concept, training, PLAIN).items()
                     if m in MEASURES}
            base = base or means
            for measure, value in means.items():
                key = f"default/{measure}" if name == "default" else f"{name}_minus_default/{measure}"
                found.setdefault(key, []).append(value - (0 if name == "default" else base[measure]))
    print_report({name: interval(values) for name, values in found.items()}, opt.json)


if __name__ == "__main__":
    run_command(main)
