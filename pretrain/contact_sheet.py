"""What the embedded model makes of captions: python -m pretrain.contact_sheet --out models/ldm/emoji/samples.png"""

from pathlib import Path

from PIL import Image

from check.check_learned import contact_sheet
from check.common import load_checked_model, model_flags
from ldm.cli import CommandParser, run_command
from ldm.models.diffusion.ddim import DDIMSampler
from make_log_new import save_image, to_image
from txt2img import sample_prompt

CAPTIONS = (
    "a red apple on a blue background", "a pineapple on a white background", "a pear on a purple background",
    "a strawberry on a turquoise background", "a carrot on a black background", "an avocado on a pink background",
    "a kiwi fruit on a gray background", "a cookie on a yellow background", "a peach on a brown background",
    "a french fries on a green background", "a penguin on an orange background", "a pig face on a green background",
    "a bear on a white background", "a rose on a blue background", "an eggplant on a yellow background",
    "a mango on a purple background", "two lemons on a black background", "three peaches on a white background",
    "a fish and a carrot on a yellow background", "a big watermelon on a turquoise background",
)


def main() -> None:
    parser = CommandParser(description="Draw a contact sheet of 20 captions of concepts the model was "
                                     "trained on.")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    parser.add_argument("--scale", type=float, default=5.0, help="guidance scale")
    opt = model_flags(parser).parse_args()
    model = load_checked_model(opt)
    shape = (model.channels, model.image_size, model.image_size)
    rows = []
    for prompt in CAPTIONS:
        pictures = sample_prompt(model, prompt, [0, 1, 2, 3], shape, DDIMSampler, 50, opt.scale, verbose=False)
        rows.append((prompt, [to_image(p) for p in pictures]))
    half = len(rows) // 2
    left, right = contact_sheet(rows[:half], 96), contact_sheet(rows[half:], 96)
    both = Image.new("RGB", (left.width + right.width, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    save_image(both, opt.out)


if __name__ == "__main__":
    run_command(main)
