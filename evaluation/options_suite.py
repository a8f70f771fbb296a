"""What options of training change: python -m evaluation.options_suite --json report.json

Every held-out concept is learned at the defaults and with each option, with the same pictures and steps; what the words
draw from the same noise is compared concept by concept. --values keeps what was measured: the next call goes on there,
with other concepts and options, on another machine too.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from argparse import Namespace

from evaluation.paired import Means, measure_word, pair_flags, run_pairs
from evaluation.suite import BY_ITSELF, Suite, held_out_folders, suite_flags
from ldm.cli import CommandParser, run_command

# name -> what train_new.py is given for it
OPTIONS: dict[str, tuple[str, ...]] = {
    "cosine": ("--lr_schedule", "cosine"),
    "linear": ("--lr_schedule", "linear:30"),
    "rates": ("--lr_schedule", "2.4e-3:100, 8e-4:200, 2.7e-4"),
    "norms": ("model.params.preserve_embedding_norm=true",),
    "no_min_snr": ("model.params.min_snr_gamma=null",),
    "starts": ("--seeds", "3"),
    **{name: given for name, (given, _) in BY_ITSELF.items()},
}
DEFAULT = "default"


def measure_concept(opt: Namespace, name: str, ways: list[str]) -> dict[str, Means]:
    """Learn one concept with each of these options, and measure what it draws."""
    suite = Suite(Namespace(**vars(opt) | {"concepts": [name]}), opt.variant)
    (folder,) = held_out_folders(suite.opt)
    found = {}
    for option in ways:
        suite.model.embedding_manager.load(
            suite.learn_by_itself(folder, option) if option in BY_ITSELF else
            suite.learn(folder, OPTIONS.get(option, ()), "runs" if option == DEFAULT else option))
        found[option] = measure_word(suite, folder)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print what each option adds to the defaults."""
    parser = CommandParser(
        description="Compare words learned with options of training to words learned without.",
        example="python -m evaluation.options_suite --every 5 --json report.json")
    pair_flags(parser)
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS), help="what to compare")
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    run_pairs(opt, measure_concept, DEFAULT, opt.options)


if __name__ == "__main__":
    run_command(main)
