"""The embedded model's report card: python -m evaluation.emoji_suite --json report.json

Does it draw what its words say (seen/), does a word learned from five pictures draw what they show (heldout/), do two
of these in one prompt (two_words/), how far does the init word get without training (initword/), and how well would
real pictures do (ceiling/)? Where asked for: do two words do better that were learned together, in one run (together/)?
All measured with models/clip/emoji, a CLIP that knows every concept.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.measures import JUDGE, background, both_right, interval, print_report
from evaluation.pairs import two_words
from evaluation.suite import BY_ITSELF, Suite, held_out_folders, suite_flags
from ldm.cli import CommandParser, run_command
from ldm.data.emoji import COLOURS, with_article
from ldm.data.pictures import contact_sheet, open_images, save_image
from ldm.errors import UserError
from ldm.progress import bar

PARTS = ("seen", "heldout", "initword", "two_words", "ceiling")
MORE = ("together", *BY_ITSELF)  # each takes as long as heldout
PAIRS = {"two_words", "together"}
FOLDERS = {"heldout", "initword", *PAIRS, *BY_ITSELF}  # what needs folders of pictures


def seen(suite: Suite) -> dict[str, Any]:
    """Prompts with words the model was trained on."""
    rng, colours = random.Random(0), list(COLOURS)
    concepts = [c["name"] for c in suite.concepts if not c["held_out"]]
    singles = rng.sample(concepts, 16) if suite.opt.quick else concepts
    named = [rng.choice(colours) for _ in singles]
    pictures = suite.draw([f"{with_article(n)} on {with_article(c)} background"
                          for n, c in zip(singles, named, strict=True)])
    rank = suite.ranks(pictures, [suite.index[n] for n in singles])
    pairs = [rng.sample(concepts, 2) for _ in range(8 if suite.opt.quick else 200)]
    double = suite.draw([f"{with_article(a)} and {with_article(b)} on {with_article(rng.choice(colours))} background"
                        for a, b in pairs], seed=5000)
    both = both_right(suite.judge, double, suite.references, [[suite.index[n] for n in pair] for pair in pairs])
    return {"seen/top1": interval(rank < 1), "seen/top5": interval(rank < 5),
            "seen/background": interval(background(p) == c for p, c in zip(pictures, named, strict=True)),
            "seen/both": interval(both)}


def words(suite: Suite, folders: list[Path], parts: tuple[str, ...] = ("heldout", "initword")) -> dict[str, Any]:
    """Words learned from folders of pictures, and their init words. Each concept counts once in an interval."""
    report: dict[str, list[float]] = {}
    for folder in bar(folders, desc="held-out concepts"):
        concept = suite.by_slug[folder.name]
        training = open_images(folder)
        rows = [(folder.name, training)]
        for title in parts:
            word = concept["kind"] if title == "initword" else "*"
            if title != "initword":
                suite.model.embedding_manager.load(
                    suite.learn_by_itself(folder, title) if title in BY_ITSELF else suite.learn(folder))
            found = suite.measure(word, concept, training)
            rows.append((f"{title}: {word}", found.pop("pictures")))
            for name, values in found.items():
                report.setdefault(f"{title}/{name}", []).append(float(np.mean(values)))
        save_image(contact_sheet(rows, 96), suite.opt.out / f"{folder.name}.png")
    return {name: interval(values) for name, values in report.items()}


def ceiling() -> dict[str, Any]:
    """What real renders get from the judge, measured when it was made."""
    return {f"ceiling/{name}": value for name, value in json.loads((JUDGE / "quality.json").read_text()).items()}


def main(arguments: list[str] | None = None) -> None:
    """Print the report card."""
    parser = CommandParser(
        description="Measure the embedded model: words it knows, and words it learns.",
        example="python -m evaluation.emoji_suite --json report.json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write {metric: {value, low, high, n}}")
    parser.add_argument("--parts", nargs="+", choices=PARTS + MORE,
                        help=f"what to measure; default: all but {', '.join(MORE)}")
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    asked = set(opt.parts or PARTS)
    if opt.variant == "v1" or len(opt.concepts or PARTS) < 2:
        if opt.parts and asked & PAIRS:
            raise UserError(f"--parts {' '.join(sorted(asked & PAIRS))}: two words in a prompt need two concepts, and "
                            "no --variant v1, where each word has an adapter of its own")
        asked -= PAIRS
    folders = held_out_folders(opt) if asked & FOLDERS else []  # first: a wrong name must not cost minutes
    suite = Suite(opt, opt.variant)
    report = seen(suite) if "seen" in asked else {}
    if parts := tuple(part for part in ("heldout", "initword", *BY_ITSELF) if part in asked):
        report |= words(suite, folders, parts)
    if asked & PAIRS:
        report |= two_words(suite, folders, "together" in asked)
    if "ceiling" in asked:
        report |= ceiling()
    print_report(report, opt.json)


if __name__ == "__main__":
    run_command(main)
