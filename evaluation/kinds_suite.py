"""Is a learned thing told from others of its kind? python -m evaluation.kinds_suite --json report.json

Robots and mugs, drawn by code, and things as a set of icons draws them, Twemoji: of all three the embedded model has
seen none. Pictures of the word alone are compared with twenty things of the kind (references/*.png, which
pretrain/kinds.py drew), and with the pictures that the word was learned from, as alike as these are to each other.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from evaluation.kinds import KINDS, kind_of, read_kind
from evaluation.measures import interval, print_report, ranks, ratio
from evaluation.suite import Suite, suite_flags
from ldm.cli import CommandParser, run_command
from ldm.data.pictures import contact_sheet, open_images, save_image
from ldm.errors import UserError
from ldm.progress import bar

if TYPE_CHECKING:
    import torch

    from ldm.judge import CLIPEvaluator

ALONE = 8  # pictures of a word
INIT_WORD = "thing"


def kind_folders(opt: Namespace) -> list[Path]:
    """The folders of pictures of things whose kind is known, or those of them that --concepts asks for. Raises
    UserError for others."""
    known = {name for path in KINDS.glob("*.png") for name in read_kind(path.stem)}
    folders = {f.name: f for f in sorted(opt.data_root.glob("*")) if f.name in known}
    if unknown := set(opt.concepts or ()) - set(folders):
        raise UserError(f"{', '.join(sorted(unknown))}: no folder of {opt.data_root} that {KINDS} has a kind for")
    if not folders:
        raise UserError(f"{opt.data_root}: no folder here is named like a thing of {KINDS}")
    return [folders[name] for name in opt.concepts or folders][: 2 if opt.quick else None]


def among_themselves(features: torch.Tensor) -> float:
    """The mean cosine of any two of the unit vectors [N, D]."""
    n = len(features)
    return float((features @ features.T).sum() - n) / (n * (n - 1))


def measure(judge: CLIPEvaluator, training: list[Image.Image], pictures: list[Image.Image],
            others: dict[str, list[Image.Image]], name: str) -> dict[str, float]:
    """What pictures of a word are, against its training pictures and the things of its kind."""
    import torch
    from torch.nn.functional import normalize

    drawn, shown = judge.encode_images(pictures), judge.encode_images(training)
    references = normalize(torch.stack([judge.encode_images(p).mean(dim=0) for p in others.values()]), dim=1)
    own = list(others).index(name)
    nearest, ceiling = (float((ranks(f, references, [own] * len(f)) < 1).mean()) for f in (drawn, shown))
    return {"nearest": nearest, "ceiling": ceiling,  # what the training pictures themselves get
            "clip_i": float((drawn @ shown.T).mean()), "clip_among": among_themselves(shown)}


def main(arguments: list[str] | None = None) -> None:
    """Print the report, and write a sheet of all words."""
    parser = CommandParser(
        description="Measure whether learned things of kinds that the embedded model has not seen are told from others "
        "of their kind.", example="python -m evaluation.kinds_suite --json report.json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write {metric: {value, low, high, n}}")
    opt = suite_flags(parser, "outputs/kinds_suite").parse_args(arguments)
    folders = kind_folders(opt)
    suite = Suite(Namespace(**vars(opt) | {"concepts": None}), opt.variant)
    found: dict[str, list[dict[str, Any]]] = {}
    sheet = []
    for folder in bar(folders, desc="things"):
        training, kind = open_images(folder), kind_of(folder.name)
        suite.model.embedding_manager.load(suite.learn(folder, init_word=opt.init_word or INIT_WORD))
        pictures = suite.draw(["a photo of a *"] * (2 if opt.quick else ALONE))
        values = measure(suite.judge, training, pictures, read_kind(kind), folder.name)
        for part in (kind, "all"):
            found.setdefault(part, []).append(values)
        sheet += [(f"{folder.name}: learned from", training), (f"{folder.name}: a photo of a *", pictures)]
    save_image(contact_sheet(sheet, 96), opt.out / "kinds.png")
    report: dict[str, Any] = {}
    for part, rows in found.items():
        column = {name: [row[name] for row in rows] for name in rows[0]}
        report |= {f"{part}/nearest": interval(column["nearest"]), f"{part}/ceiling": interval(column["ceiling"]),
                   f"{part}/clip_i": interval(column["clip_i"]),
                   f"{part}/clip_i_share": ratio(column["clip_i"], column["clip_among"])}
    print_report(report, opt.json)


if __name__ == "__main__":
    run_command(main)
