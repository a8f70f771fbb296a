"""What the embedded model makes of captions: python -m pretrain.contact_sheet --out models/ldm/emoji/samples.png"""

from pathlib import Path

from PIL import Image

from check.check_learned import contact_sheet
from check.common import load_checked_model, model_flags
from ldm.cli import CommandParser, run_command
from ldm.models.diffusion.ddim import DDIMSampler
from make_log_new import save_image, to_image
from txt2img import sample_prompt

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


def main() -> None:
    parser = CommandParser(description="Draw a contact sheet of 20 captions of concepts the model was "
                                     "trained on.")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    parser.add_argument("--scale", type=float, help="guidance scale (default: the model's own)")
    opt = model_flags(parser).parse_args()
    model = load_checked_model(opt)
    shape = (model.channels, model.image_size, model.image_size)
    rows = []
    for prompt in CAPTIONS:
        pictures = sample_prompt(model, prompt, [0, 1, 2, 3], shape, DDIMSampler, 50, opt.scale, verbose=False)
        rows.append((prompt, [to_image(p) for p in pictures]))
    half = len(rows) // 2
    left, right = contact_sheet(rows[:half], 80), contact_sheet(rows[half:], 80)
    both = Image.new("RGB", (left.width + right.width, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    save_image(both, opt.out)


if __name__ == "__main__":
    run_command(main)
