"""Learned words at a glance: python -m evaluation.gallery --concepts bagel flamingo --picture outputs/gallery.png"""

import argparse
from argparse import Namespace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from check.common import VARIANTS
from evaluation.emoji_suite import Suite, suite_flags
from ldm.cli import CommandParser, run_command
from ldm.data.personalized import find_images, open_image
from make_log_new import save_image

PROMPTS = ("a photo of a *", "a * on a blue background", "two * on a white background",
           "a small * on a green background", "a * and a red apple")
KOREAN = ("* 사진", "파란 배경 위의 *", "하얀 배경 위의 * 두 개", "초록색 배경 위의 작은 *", "*와 빨간 사과")
TRAINING = 3  # pictures shown of those that a word was learned from
SIDE, HEAD = 96, 46


def titled_sheet(titles: list[str], rows: list[list[Image.Image | str]]) -> Image.Image:
    """Rows of pictures, or of words in their place, under the titles of the columns."""
    sheet = Image.new("RGB", (len(titles) * (SIDE + 4), HEAD + len(rows) * (SIDE + 4)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)

    def write(text: str, x: int, y: int) -> None:
        lines = [""]
        for word in text.split():
            lines[-1:] = [f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < 14 else [lines[-1], word]
        draw.text((x, y), "\n".join(lines), fill="black", font=font, spacing=1)

    for column, title in enumerate(titles):
        write(title, column * (SIDE + 4), 2)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            x, y = column * (SIDE + 4), HEAD + row * (SIDE + 4)
            if isinstance(cell, str):
                write(cell, x + 2, y + 2)
            else:
                sheet.paste(cell.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, y))
    return sheet


def main(arguments: list[str] | None = None) -> None:
    parser = CommandParser(description="Learn words; draw each in a row: what it was learned from, then prompts.",
                           formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--picture", type=Path, default=Path("outputs/gallery.png"), metavar="PNG")
    parser.add_argument("--beside", choices=VARIANTS, help="draw a second row from the same noise: with the word and "
                        "adapter that v1 learns, or with the same word in Korean prompts through v2")
    parser.add_argument("--seed", type=int, default=0)
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    suite = Suite(opt)
    other = Suite(Namespace(**vars(opt) | {"variant": opt.beside})) if opt.beside else None
    rows = []
    for folder in suite.held_out_folders():
        word = suite.learn(folder)
        suite.model.embedding_manager.load(word)
        training = [open_image(path) for path in find_images(folder)][:TRAINING]
        rows.append([*training, *suite.draw(list(PROMPTS), opt.seed)])
        if other:
            other.model.embedding_manager.load(other.learn(folder, name="v1") if opt.beside == "v1" else word)
            name = "with v1" if opt.beside == "v1" else "the same word in Korean"
            prompts = list(KOREAN if opt.beside == "v2" else PROMPTS)
            rows.append([name, *[""] * (TRAINING - 1), *other.draw(prompts, opt.seed)])
    sheet = titled_sheet(["learned from", *[""] * (TRAINING - 1), *PROMPTS], rows)
    save_image(sheet.quantize(96), opt.picture, optimize=True)
    print(opt.picture)


if __name__ == "__main__":
    run_command(main)
