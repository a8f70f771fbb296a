"""Words learned in several ways, compared concept by concept: what the suites that do so share.

Each concept is learned and measured in a process of its own. What it gave can be kept, so that a comparison is made in
several sittings, on other machines too: two words that two kinds of processor learned gave the same figures to three
decimals.
"""

from __future__ import annotations

import json
import multiprocessing
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.measures import interval, print_report, write_report
from evaluation.suite import Suite, held_out_folders
from ldm.cli import count, number
from ldm.data.pictures import open_images
from ldm.errors import UserError
from ldm.progress import bar
from load import check_files

MEASURES = ("top1", "top5", "clip_i", "background", "both")
PLAIN = 16  # pictures of a word alone: more than in the report card, since differences are small
Means = dict[str, float]  # measure -> mean over the pictures of a concept
Measure = Callable[[Namespace, str, list[str]], dict[str, Means]]  # flags, concept, ways -> {way: means}


def pair_flags(parser: ArgumentParser) -> None:
    """Add how the concepts are gone through, and where what they gave is written."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write {metric: {value, low, high, n}}, "
                        "again after each concept")
    parser.add_argument("--values", type=Path, metavar="FILE", help="where to keep what each concept gave; what is "
                        "there is not measured again, and counts")
    parser.add_argument("--every", type=number(float, 1, 1000), default=1, metavar="N",
                        help="take every Nth concept, such as 5.5")
    parser.add_argument("--jobs", type=count, default=1, metavar="N", help="concepts at once, each in a process "
                        "of its own; with OMP_NUM_THREADS=1, as many as there are cores")


def measure_word(suite: Suite, folder: Path) -> Means:
    """What the word that a suite has loaded draws, against the concept and the pictures of its folder."""
    measured = suite.measure("*", suite.by_slug[folder.name], open_images(folder), PLAIN)
    return {measure: float(np.mean(measured[measure])) for measure in MEASURES}


def compare(values: dict[str, dict[str, Means]], reference: str, ways: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{metric: interval} of the reference, and of the difference of each way to it over the concepts that have both;
    what the reference has no measure of, as it is."""
    found: dict[str, list[float]] = {}
    for of in values.values():
        for way in (reference, *ways) if reference in of else ():
            for measure, value in of.get(way, {}).items():
                if way == reference or measure not in of[reference]:
                    found.setdefault(f"{way}/{measure}", []).append(value)
                else:
                    found.setdefault(f"{way}_minus_{reference}/{measure}", []).append(value - of[reference][measure])
    return {metric: interval(each) for metric, each in found.items()}


def read_values(path: Path | None) -> dict[str, dict[str, Means]]:
    """What an earlier call kept, {concept: {way: {measure: mean}}}; nothing where there is no file.

    Raises UserError for another file."""
    if path is None or not path.exists():
        return {}
    try:
        values = {concept: {way: {measure: float(mean) for measure, mean in means.items()}
                            for way, means in of.items()}
                  for concept, of in json.loads(path.read_text(encoding="utf-8")).items()}
        if not all(set(MEASURES) <= set(means) for of in values.values() for means in of.values()):
            raise ValueError("a measure is missing")
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"--values {path}: not what this command writes there ({error})") from error
    return values


def run_pairs(opt: Namespace, measure: Measure, reference: str, ways: Sequence[str]) -> None:
    """Measure the concepts that the flags name in each of the ways, and print what these add to the reference."""
    check_files(opt.ckpt_path, opt.config)
    folders, values = held_out_folders(opt), read_values(opt.values)
    chosen = [folders[int(i * opt.every)].name for i in range(max(1, round(len(folders) / opt.every)))]
    wanted = {name: [way for way in (reference, *ways) if way not in values.get(name, {})] for name in chosen}
    with ProcessPoolExecutor(opt.jobs, multiprocessing.get_context("spawn")) as pool:
        jobs = {pool.submit(measure, opt, name, missing): name for name, missing in wanted.items() if missing}
        for job in bar(as_completed(jobs), desc="held-out concepts", total=len(jobs)):
            values.setdefault(jobs[job], {}).update(job.result())
            for path, content in ((opt.values, values), (opt.json, compare(values, reference, ways))):
                if path:  # after each: the long way to the last may be cut short
                    write_report(content, path)
    print_report(compare(values, reference, ways), opt.json)
