"""Whether fewer steps of another sampler draw as well: python -m evaluation.sampler_suite --json report.json

Seen words, and words learned from the folders of held-out concepts, are drawn from the same noise by each sampler; what
the judge says of the pictures is compared concept by concept with what it says of the first sampler's.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import random
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.measures import background, both_right, interval, print_report, write_report
from evaluation.suite import COMPANIONS, Suite, held_out_folders, suite_flags
from ldm.cli import CommandParser, count, run_command
from ldm.data.emoji import COLOURS, with_article
from ldm.data.pictures import open_images
from ldm.progress import bar

SAMPLERS = {"ddim_200": ("ddim", 200), "ddim_50": ("ddim", 50), "ddim_20": ("ddim", 20),
            "dpm_solver_20": ("dpm_solver", 20)}
MEASURES = ("top1", "top5", "clip_i", "clip_t", "background", "both")
PLAIN = 8  # pictures of a learned word alone


def measure_seen(suite: Suite, concepts: list[dict[str, Any]]) -> list[dict[str, float]]:
    """For each concept that the model was trained on: a picture of it, one on a colour, one beside another thing. The
    pictures that these should be like are clean renders."""
    rng, prompts = random.Random(0), []
    asked: list[tuple[int, str, int]] = []
    for name in (concept["name"] for concept in concepts):
        colour, thing = rng.choice(list(COLOURS)), rng.choice([c for c in COMPANIONS if c != name])
        prompts += [f"a photo of {with_article(name)}", f"{with_article(name)} on {with_article(colour)} background",
                    f"{with_article(name)} and {with_article(thing)}"]
        asked.append((suite.index[name], colour, suite.index[thing]))
    pictures = suite.draw(prompts)
    fits = suite.judge.txt_to_img_similarity(prompts, pictures)
    rows = []
    for i, (target, colour, companion) in enumerate(asked):
        alone, on_colour, beside = pictures[3 * i : 3 * i + 3]
        rank = suite.ranks([alone, on_colour], [target] * 2)
        near = suite.judge.encode_images([alone]) @ suite.references[target]
        rows.append({
            "top1": float((rank < 1).mean()), "top5": float((rank < 5).mean()), "clip_i": float(near),
            "clip_t": float(fits[3 * i : 3 * i + 3].mean()), "background": float(background(on_colour) == colour),
            "both": float(both_right(suite.judge, [beside], suite.references, [[target, companion]])[0])})
    return rows


def measure_learned(suite: Suite, concept: dict[str, Any], training: list[Any]) -> dict[str, float]:
    """What the learned word draws, as the report card has it, and how well pictures of it alone fit the concept's own
    name, which the judge knows."""
    found = suite.measure("*", concept, training, PLAIN)
    alone = found.pop("pictures")[: len(found["clip_i"])]
    found["clip_t"] = suite.judge.txt_to_img_similarity(f"a photo of {with_article(concept['name'])}", alone).tolist()
    return {measure: float(np.mean(found[measure])) for measure in MEASURES}


def main(arguments: list[str] | None = None) -> None:
    """Print what each sampler draws, and what it adds to the first."""
    parser = CommandParser(
        description="Compare samplers by the pictures of seen and of learned words.",
        example="python -m evaluation.sampler_suite --seen 20 --json report.json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write {metric: {value, low, high, n}}")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=["ddim_200", "ddim_50", "dpm_solver_20"],
                        help="what to compare with the first of them")
    parser.add_argument("--seen", type=count, default=100, metavar="N", help="how many seen words")
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    folders, suite = held_out_folders(opt), Suite(opt)

    from ldm.generate import draw_only

    draw_only(suite.model)
    seen = random.Random(1).sample([c for c in suite.concepts if not c["held_out"]], 2 if opt.quick else opt.seen)
    found: dict[str, list[float]] = {}

    def note(part: str, name: str, values: dict[str, float], first: dict[str, float]) -> None:
        for measure, value in values.items():
            found.setdefault(f"{part}/{name}/{measure}", []).append(value)
            if name != opt.samplers[0]:
                found.setdefault(f"{part}/{name}_minus_{opt.samplers[0]}/{measure}", []).append(value - first[measure])

    def keep() -> dict[str, dict[str, Any]]:
        """What is found so far, in --json too: the long way there may be cut short."""
        report = {name: interval(values) for name, values in sorted(found.items())}
        if opt.json:
            write_report(report, opt.json)
        return report

    first: list[dict[str, float]] = []
    for name in opt.samplers:
        suite.sampler = SAMPLERS[name]
        rows = measure_seen(suite, seen)
        first = first or rows
        for values, before in zip(rows, first, strict=True):
            note("seen", name, values, before)
    keep()
    for folder in bar(folders, desc="held-out concepts"):
        training, before = open_images(folder), {}
        suite.model.embedding_manager.load(suite.learn(folder))
        for name in opt.samplers:
            suite.sampler = SAMPLERS[name]
            values = measure_learned(suite, suite.by_slug[folder.name], training)
            before = before or values
            note("learned", name, values, before)
        keep()
    print_report(keep(), None)


if __name__ == "__main__":
    run_command(main)
