"""Learned words at a glance: python -m evaluation.gallery --concepts bagel flamingo --picture outputs/gallery.png"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from evaluation.emoji_suite import Suite, suite_flags
from ldm.cli import CommandParser, run_command
from ldm.data.personalized import find_images, open_image
from make_log_new import save_image

PROMPTS = ("a photo of a *", "a * on a blue background", "two * on a white background",
           "a small * on a green background", "a * and a red apple")
TRAINING = 3  # pictures shown of those that a word was learned from


def main(arguments: list[str] | None = None) -> None:
    parser = CommandParser(description="Learn words; draw each in a row: what it was learned from, then prompts.",
                           formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--picture", type=Path, default=Path("outputs/gallery.png"), metavar="PNG")
    parser.add_argument("--seed", type=int, default=0)
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    suite = Suite(opt)
    folders, side, head = suite.held_out_folders(), 96, 40
    sheet = Image.new("RGB", ((TRAINING + len(PROMPTS)) * (side + 4), head + len(folders) * (side + 4)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, title in enumerate(("learned from", "", "", *PROMPTS)):
        words, lines = title.split(), [""]
        for word in words:
            lines[-1:] = [f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < 14 else [lines[-1], word]
        draw.text((column * (side + 4), 2), "\n".join(lines), fill="black", font=font, spacing=1)
    for row, folder in enumerate(folders):
        suite.model.embedding_manager.load(suite.learn(folder, suite.by_slug[folder.name]["kind"]))
        training = [open_image(path) for path in find_images(folder)][:TRAINING]
        for column, picture in enumerate([*training, *suite.draw(list(PROMPTS), opt.seed)]):
            sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS),
                        (column * (side + 4), head + row * (side + 4)))
    save_image(sheet, opt.picture)
    print(opt.picture)


if __name__ == "__main__":
    run_command(main)
