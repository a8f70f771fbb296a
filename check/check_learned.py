"""A learned word beside the pictures it was learned from: python -m check.check_learned EMBEDDING --data_root FOLDER"""

import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from check.common import load_checked_model, model_flags
from ldm.cli import CommandParser, run_command
from ldm.data.personalized import find_images, open_image
from ldm.models.diffusion.ddim import DDIMSampler
from make_log_new import save_image, to_image
from txt2img import sample_prompt

PROMPTS = ("a photo of a *", "a * on a blue background", "a * on a yellow background", "two * on a white background",
           "a * and a red apple")


def contact_sheet(rows: list[tuple[str, list[Image.Image]]], side: int = 128) -> Image.Image:
    """Rows of pictures under their titles, as one picture."""
    font, title = ImageFont.load_default(14), 22
    columns = max(len(pictures) for _, pictures in rows)
    sheet = Image.new("RGB", (columns * (side + 4) + 4, len(rows) * (side + title + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    for r, (text, pictures) in enumerate(rows):
        top = r * (side + title + 4)
        draw.text((4, top + 3), text, fill="black", font=font)
        for c, picture in enumerate(pictures):
            picture = ImageOps.fit(picture, (side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture, (4 + c * (side + 4), top + title))
    return sheet


def main(arguments: list[str] | None = None) -> None:
    parser = CommandParser(description="Draw a contact sheet: the training pictures, then samples of "
                                     "prompts with the learned word.")
    parser.add_argument("embedding", metavar="EMBEDDING")
    parser.add_argument("--data_root", required=True, metavar="FOLDER", help="the pictures it was learned from")
    parser.add_argument("--prompt", nargs="+", help="prompts to draw; default: five with the learned word")
    parser.add_argument("--out", default="outputs/learned.png", metavar="PNG", help="(default: %(default)s)")
    parser.add_argument("--ddim_steps", type=int, default=50)
    parser.add_argument("--scale", type=float, help="guidance scale (default: the model's own)")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("-d", "--debug", action="store_true", help="show tracebacks")
    opt = model_flags(parser).parse_args(arguments)
    training = [open_image(path) for path in find_images(opt.data_root)]
    model = load_checked_model(opt)
    model.embedding_manager.load(opt.embedding)
    word = next(iter(model.embedding_manager.string_to_param_dict))
    prompts = opt.prompt or [prompt.replace("*", word) for prompt in PROMPTS]
    model.embedding_manager.warn_if_absent(prompts)
    shape = (model.channels, model.image_size, model.image_size)
    seeds = [opt.seed + i for i in range(5)]
    rows = [(f"{Path(opt.data_root).name}: the pictures it was learned from", training[:5])]
    for prompt in prompts:
        pictures = sample_prompt(model, prompt, seeds, shape, DDIMSampler, opt.ddim_steps, opt.scale)
        rows.append((prompt, [to_image(p) for p in torch.unbind(pictures)]))
    save_image(contact_sheet(rows), opt.out)
    print(opt.out, file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
