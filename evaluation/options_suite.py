"""What options of training change: python -m evaluation.options_suite --json report.json

Every held-out concept is learned at the defaults and with each option, with the same pictures and steps; what the words
draw from the same noise is compared concept by concept.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import multiprocessing
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.measures import interval, print_report, write_report
from evaluation.suite import BY_ITSELF, Suite, held_out_folders, suite_flags
from ldm.cli import CommandParser, count, number, run_command
from ldm.data.pictures import open_images
from ldm.progress import bar
from load import check_files

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


def measure_concept(opt: Namespace, name: str) -> dict[str, dict[str, float]]:
    """Learn one concept at the defaults and with each option, in a process of its own: {option: {measure: mean}}."""
    suite = Suite(Namespace(**vars(opt) | {"concepts": [name]}), opt.variant)
    (folder,) = held_out_folders(suite.opt)
    training = open_images(folder)
    found = {}
    for option, overrides in {"default": (), **{o: OPTIONS[o] for o in opt.options}}.items():
        suite.model.embedding_manager.load(
            suite.learn_by_itself(folder, option) if option in BY_ITSELF else
            suite.learn(folder, overrides, "runs" if option == "default" else option))
        measured = suite.measure("*", suite.by_slug[name], training, PLAIN)
        found[option] = {measure: float(np.mean(measured[measure])) for measure in MEASURES}
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print what each option adds to the defaults."""
    parser = CommandParser(
        description="Compare words learned with options of training to words learned without.",
        example="python -m evaluation.options_suite --every 5 --json report.json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write {metric: {value, low, high, n}}, "
                        "again after each concept")
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS), help="what to compare")
    parser.add_argument("--every", type=number(float, 1, 1000), default=1, metavar="N",
                        help="take every Nth concept, such as 5.5")
    parser.add_argument("--jobs", type=count, default=1, metavar="N", help="concepts at once, each in a process "
                        "of its own; with OMP_NUM_THREADS=1, as many as there are cores")
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    check_files(opt.ckpt_path, opt.config)
    folders = held_out_folders(opt)
    chosen = [folders[int(i * opt.every)].name for i in range(max(1, round(len(folders) / opt.every)))]
    found: dict[str, list[float]] = {}
    report: dict[str, dict[str, Any]] = {}
    with ProcessPoolExecutor(opt.jobs, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(measure_concept, opt, name) for name in chosen]
        for job in bar(as_completed(jobs), desc="held-out concepts", total=len(jobs)):
            measured = job.result()
            for option, means in measured.items():
                for measure, value in means.items():
                    key = f"default/{measure}" if option == "default" else f"{option}_minus_default/{measure}"
                    found.setdefault(key, []).append(
                        value - (0 if option == "default" else measured["default"][measure]))
            report = {name: interval(values) for name, values in found.items()}
            if opt.json:
                write_report(report, opt.json)  # the long way to the last may be cut short
    print_report(report, opt.json)


if __name__ == "__main__":
    run_command(main)
