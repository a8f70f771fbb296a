"""Learned words at a glance: python -m evaluation.gallery --concepts bagel flamingo --picture outputs/gallery.png"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from argparse import Namespace
from pathlib import Path
from typing import Any

from PIL import Image

from evaluation.suite import Suite, held_out_folders, suite_flags
from ldm.cli import CommandParser, picture_seed, run_command
from ldm.data.pictures import open_images, save_image, titled_columns
from load import VARIANTS, check_files

PROMPTS = ("a photo of a *", "a * on a blue background", "two * on a white background",
           "a small * on a green background", "a * and a red apple")
KOREAN = ("* 사진", "파란 배경 위의 *", "하얀 배경 위의 * 두 개", "초록색 배경 위의 작은 *", "*와 빨간 사과")
TRAINING = 3  # pictures shown of those that a word was learned from


def draw_typed(opt: Namespace) -> None:
    """Write a row of pictures of prompts through v2, and print the rows of a table of their readings."""
    check_files(opt.word)
    suite = Suite(opt, "v2")
    suite.model.embedding_manager.load(opt.word)
    pictures = suite.draw(opt.typed, opt.seed)
    sheet = Image.new("RGB", (132 * len(pictures) - 4, 128), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture.resize((128, 128), Image.Resampling.LANCZOS), (132 * i, 0))
    save_image(sheet.quantize(256, dither=Image.Dither.NONE), opt.picture, optimize=True)
    encoder: Any = suite.model.cond_stage_model
    readings = encoder.understood(opt.typed, {"*": encoder.tknz_fn.ids("*")[0]})
    for prompt, reading in zip(opt.typed, readings, strict=True):
        print(f"| {prompt} | {reading} |")


def main(arguments: list[str] | None = None) -> None:
    """Write a gallery."""
    parser = CommandParser(
        description="Learn words; draw each in a row: what it was learned from, then prompts.",
        example="python -m evaluation.gallery --concepts bagel flamingo --picture outputs/gallery.png")
    parser.add_argument("--picture", type=Path, default=Path("outputs/gallery.png"), metavar="PNG",
                        help="where it goes")
    parser.add_argument("--beside", choices=VARIANTS, help="draw a second row from the same noise: with the word and "
                        "adapter that v1 learns, or with the same word in Korean prompts through v2")
    parser.add_argument("--seed", type=picture_seed, default=0, help="seed of the first picture of each row")
    parser.add_argument("--typed", nargs="+", metavar="PROMPT", help="instead of all that, draw these through v2 with "
                        "the word of --word, and print what each is read as")
    parser.add_argument("--word", type=Path, metavar="FILE", default=Path(
        "logs/example_green_apple/checkpoints/embeddings.pt"), help="a learned word, for --typed")
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    if opt.typed:
        return draw_typed(opt)
    folders, suite = held_out_folders(opt), Suite(opt, opt.variant)
    other = Suite(opt, opt.beside) if opt.beside else None
    rows: list[list[Image.Image | str]] = []
    for folder in folders:
        word = suite.learn(folder)
        suite.model.embedding_manager.load(word)
        training = open_images(folder)[:TRAINING]
        rows.append([*training, *suite.draw(list(PROMPTS), opt.seed)])
        if other:
            other.model.embedding_manager.load(other.learn(folder, name="v1") if opt.beside == "v1" else word)
            name = "with v1" if opt.beside == "v1" else "the same word in Korean"
            prompts = list(KOREAN if opt.beside == "v2" else PROMPTS)
            rows.append([name, *[""] * (TRAINING - 1), *other.draw(prompts, opt.seed)])
    sheet = titled_columns(["learned from", *[""] * (TRAINING - 1), *PROMPTS], rows, side=128)
    save_image(sheet.quantize(256, dither=Image.Dither.NONE), opt.picture, optimize=True)
    print(opt.picture)


if __name__ == "__main__":
    run_command(main)
