"""Is a learned style seen in what is drawn with it? python -m evaluation.style_suite --json report.json

A word is learned from five pictures in a style that the embedded model has not seen. With it and without it thirty
things are drawn that the model knows in other styles, each from the same noise, and compared with real drawings of the
thing in that style and in Noto's (references/styles/*.png, which pretrain/kinds.py drew).
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from evaluation.kinds import KINDS, read_kind
from evaluation.measures import interval, print_report
from evaluation.suite import Suite, suite_flags
from ldm.cli import CommandParser, run_command
from ldm.data.emoji import with_article
from ldm.data.pictures import contact_sheet, open_images, save_image
from ldm.errors import UserError
from ldm.util import ROOT

if TYPE_CHECKING:
    from ldm.judge import CLIPEvaluator

BASE = ROOT / "configs/emoji/finetune-style.yaml"
INIT_WORD = "drawing"
SHOWN = 10  # things in the sheet


def style_folders(opt: Namespace) -> list[Path]:
    """The folders of pictures in styles whose drawings are known, or those of them that --concepts asks for. Raises
    UserError for others."""
    known = [opt.data_root / f"{path.stem}_style" for path in sorted((KINDS / "styles").glob("*.png"))]
    folders = {folder.name: folder for folder in known if folder.is_dir()}
    if unknown := set(opt.concepts or folders or ["*_style"]) - set(folders):
        raise UserError(f"{', '.join(sorted(unknown))}: no folder of {opt.data_root} that {KINDS / 'styles'} has a "
                        "style for")
    return list(folders.values())


def measure(judge: CLIPEvaluator, pictures: list[Image.Image], own: list[Image.Image], noto: list[Image.Image]
            ) -> dict[str, list[Any]]:
    """Of pictures of things, one each, against drawings of the same things in the style and in Noto's: which are nearer
    to the first, and by how much."""
    drawn, one, other = (judge.encode_images(part) for part in (pictures, own, noto))
    lead = (drawn * one).sum(dim=1) - (drawn * other).sum(dim=1)
    return {"nearer": (lead > 0).tolist(), "lead": lead.tolist()}


def main(arguments: list[str] | None = None) -> None:
    """Print the report, and write a sheet of each style."""
    parser = CommandParser(
        description="Measure whether a style that was learned from five pictures is seen in things drawn with it.",
        example="python -m evaluation.style_suite --json report.json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write {metric: {value, low, high, n}}")
    opt = suite_flags(parser, "outputs/style_suite").parse_args(arguments)
    folders = style_folders(opt)
    suite = Suite(Namespace(**vars(opt) | {"concepts": None}), opt.variant)
    report: dict[str, Any] = {}
    for folder in folders:
        training = open_images(folder)
        known = read_kind(f"styles/{folder.name.removesuffix('_style')}")
        drawings = dict(list(known.items())[: 4 if opt.quick else None])
        word = suite.learn(folder, init_word=opt.init_word or INIT_WORD, base=BASE)
        suite.model.embedding_manager.load(word)
        plain = [f"{with_article(name)} on a white background" for name in drawings]
        drawn = {"without": suite.draw(plain),
                 "with": suite.draw([prompt.replace(" on ", " in the style of * on ") for prompt in plain])}
        own, noto = (list(column) for column in zip(*drawings.values(), strict=True))
        values = {name: measure(suite.judge, pictures, own, noto) for name, pictures in drawn.items()}
        for name, pictures in drawn.items():
            rank = suite.ranks(pictures, [suite.index[thing] for thing in drawings])
            report |= {f"{folder.name}/{name}/nearer": interval(values[name]["nearer"]),
                       f"{folder.name}/{name}/top5": interval(rank < 5)}
        report[f"{folder.name}/lead_gained"] = interval(
            a - b for a, b in zip(values["with"]["lead"], values["without"]["lead"], strict=True))
        rows = [(f"{folder.name}: learned from", training), *[
            (text, pictures[:SHOWN]) for text, pictures in (
                ("without the word", drawn["without"]), ("in the style of *", drawn["with"]),
                ("as the style itself has it", own))]]
        save_image(contact_sheet(rows), opt.out / f"{folder.name}.png")
    print_report(report, opt.json)


if __name__ == "__main__":
    run_command(main)
