"""A learned word beside the pictures it was learned from: python -m check.check_learned EMBEDDING --data_root FOLDER"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from pathlib import Path

from ldm.cli import CommandParser, count, guidance, picture_seed, print_json, run_command
from ldm.data.pictures import contact_sheet, open_images, save_image, to_images
from ldm.progress import say
from load import add_model_flags, check_files, load_model, load_words

PROMPTS = ("a photo of a *", "a * on a blue background", "a * on a yellow background", "two * on a white background",
           "a * and a red apple")


def main(arguments: list[str] | None = None) -> None:
    """Write the contact sheet of a learned word."""
    parser = CommandParser(
        description="Draw a contact sheet: the training pictures, then samples of "
        "prompts with the learned word.",
        example="python -m check.check_learned logs/RUN/checkpoints/embeddings.pt --data_root dataset/green_apple")
    parser.add_argument("embedding", metavar="FILE", help="learned words")
    parser.add_argument("--data_root", required=True, metavar="FOLDER",
                        help="folder with the pictures it was learned from")
    parser.add_argument("--prompt", nargs="+", metavar="TEXT",
                        help="prompts to draw; default: five with the learned word")
    parser.add_argument("--out", default="outputs/learned.png", metavar="PNG", help="where the sheet goes")
    parser.add_argument("--ddim_steps", type=count, default=50, help="sampling steps")
    parser.add_argument("--scale", type=guidance, help="guidance scale: 1 is none; default: the model's own")
    parser.add_argument("--seed", type=picture_seed, default=42, help="seed of the first picture of each prompt")
    add_model_flags(parser, without=["--embedding_path"])
    parser.add_json()
    opt = parser.parse_args(arguments)
    check_files(opt.embedding, opt.config, opt.ckpt_path)
    training = open_images(opt.data_root)
    from ldm.generate import sample_prompt

    model = load_model(opt)
    load_words(model, opt.embedding)
    word = next(iter(model.embedding_manager.string_to_param_dict))
    prompts = opt.prompt or [prompt.replace("*", word) for prompt in PROMPTS]
    model.embedding_manager.warn_if_absent(prompts)
    seeds = [opt.seed + i for i in range(5)]
    rows = [(f"{Path(opt.data_root).name}: the pictures it was learned from", training[:5])]
    for prompt in prompts:
        pictures = sample_prompt(model, prompt, seeds, steps=opt.ddim_steps, scale=opt.scale, verbose=True)
        rows.append((prompt, to_images(pictures)))
    save_image(contact_sheet(rows), opt.out)
    say(opt.out)
    if opt.json:
        print_json({"sheet": opt.out})


if __name__ == "__main__":
    run_command(main)
