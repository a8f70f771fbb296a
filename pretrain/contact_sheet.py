"""What the embedded model makes of captions: python -m pretrain.contact_sheet --out models/ldm/emoji/samples.png"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from pathlib import Path

from PIL import Image

from ldm.cli import CommandParser, guidance, run_command
from ldm.data.pictures import contact_sheet, save_image, to_images
from load import add_model_flags, check_files, load_model

CAPTIONS = (  # every 62nd concept, then counts, pairs, tints and sizes
    "a kissing face with smiling eyes on a red background",
    "a confounded face on a purple background",
    "a thought balloon on a gray background",
    "a baby chick on a green background",
    "a cactus on a black background",
    "a falafel on an orange background",
    "a mate on a pink background",
    "a sunset on a turquoise background",
    "a ship on a blue background",
    "a shooting star on a white background",
    "an ice hockey on a yellow background",
    "a purse on a brown background",
    "a computer disk on a red background",
    "a crayon on a purple background",
    "an adhesive bandage on a gray background",
    "two lemons on a black background",
    "three peaches on a white background",
    "a fish and a carrot on a yellow background",
    "a blue tiger on a pink background",
    "a small violin on a turquoise background",
)


def main(arguments: list[str] | None = None) -> None:
    """Write the contact sheet."""
    parser = CommandParser(
        description="Draw a contact sheet of 20 captions of concepts the model was "
        "trained on.",
        example="python -m pretrain.contact_sheet --out outputs/samples.png")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="where the sheet goes")
    parser.add_argument("--scale", type=guidance, help="guidance scale: 1 is none; default: the model's own")
    add_model_flags(parser)
    opt = parser.parse_args(arguments)
    check_files(opt.ckpt_path, opt.config, opt.embedding_path)
    from ldm.generate import sample_prompt

    model = load_model(opt)
    rows = []
    for prompt in CAPTIONS:
        rows.append((prompt, to_images(sample_prompt(model, prompt, [0, 1, 2, 3], scale=opt.scale))))
    half = len(rows) // 2
    left, right = contact_sheet(rows[:half], 80), contact_sheet(rows[half:], 80)
    both = Image.new("RGB", (left.width + right.width, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    save_image(both, opt.out)


if __name__ == "__main__":
    run_command(main)
