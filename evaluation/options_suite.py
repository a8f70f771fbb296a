"""What options of training change: python -m evaluation.options_suite --json report.json

Every held-out concept is learned at the defaults and with each option, with the same pictures and steps; what the words
draw from the same noise is compared concept by concept. --values keeps what was measured: the next call goes on there,
with other concepts and options, on another machine too.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import json
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
from ldm.errors import UserError
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
DEFAULT = "default"
MEASURES = ("top1", "top5", "clip_i", "background", "both")
Means = dict[str, float]  # measure -> mean over the pictures of a concept


def measure_concept(opt: Namespace, name: str, wanted: list[str]) -> dict[str, Means]:
    """Learn one concept in each of the ways that are wanted, in a process of its own, and measure what it draws."""
    suite = Suite(Namespace(**vars(opt) | {"concepts": [name]}), opt.variant)
    (folder,) = held_out_folders(suite.opt)
    training = open_images(folder)
    found = {}
    for option in wanted:
        suite.model.embedding_manager.load(
            suite.learn_by_itself(folder, option) if option in BY_ITSELF else
            suite.learn(folder, OPTIONS.get(option, ()), "runs" if option == DEFAULT else option))
        measured = suite.measure("*", suite.by_slug[name], training, PLAIN)
        found[option] = {measure: float(np.mean(measured[measure])) for measure in MEASURES}
    return found


def compare(values: dict[str, dict[str, Means]], options: list[str]) -> dict[str, dict[str, Any]]:
    """The defaults, and the difference of each option to them over the concepts that have both: {metric: interval}."""
    report = {}
    for option in (DEFAULT, *options):
        for measure in MEASURES:
            metric = f"{option}/{measure}" if option == DEFAULT else f"{option}_minus_{DEFAULT}/{measure}"
            differences = [of[option][measure] - (0 if option == DEFAULT else of[DEFAULT][measure])
                           for of in values.values() if {option, DEFAULT} <= set(of)]
            if differences:
                report[metric] = interval(differences)
    return report


def read_values(path: Path | None) -> dict[str, dict[str, Means]]:
    """What an earlier call measured, {concept: {option: {measure: mean}}}; nothing where there is no file. Raises
    UserError for another file."""
    if path is None or not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {concept: {option: {measure: float(means[measure]) for measure in MEASURES}
                          for option, means in of.items()} for concept, of in values.items()}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise UserError(f"--values {path}: not what this command writes there ({error!r})") from error


def main(arguments: list[str] | None = None) -> None:
    """Print what each option adds to the defaults."""
    parser = CommandParser(
        description="Compare words learned with options of training to words learned without.",
        example="python -m evaluation.options_suite --every 5 --json report.json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write {metric: {value, low, high, n}}, "
                        "again after each concept")
    parser.add_argument("--values", type=Path, metavar="FILE", help="where to keep what each concept gave; what is "
                        "there is not measured again, and counts")
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS), help="what to compare")
    parser.add_argument("--every", type=number(float, 1, 1000), default=1, metavar="N",
                        help="take every Nth concept, such as 5.5")
    parser.add_argument("--jobs", type=count, default=1, metavar="N", help="concepts at once, each in a process "
                        "of its own; with OMP_NUM_THREADS=1, as many as there are cores")
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    check_files(opt.ckpt_path, opt.config)
    folders, values = held_out_folders(opt), read_values(opt.values)
    chosen = [folders[int(i * opt.every)].name for i in range(max(1, round(len(folders) / opt.every)))]
    wanted = {name: [o for o in (DEFAULT, *opt.options) if o not in values.get(name, {})] for name in chosen}
    with ProcessPoolExecutor(opt.jobs, multiprocessing.get_context("spawn")) as pool:
        jobs = {pool.submit(measure_concept, opt, name, missing): name for name, missing in wanted.items() if missing}
        for job in bar(as_completed(jobs), desc="held-out concepts", total=len(jobs)):
            values.setdefault(jobs[job], {}).update(job.result())
            for path, content in ((opt.values, values), (opt.json, compare(values, opt.options))):
                if path:  # after each: the long way to the last may be cut short
                    write_report(content, path)
    print_report(compare(values, opt.options), opt.json)


if __name__ == "__main__":
    run_command(main)
