"""How good is a learned word: python -m evaluation.evaluate --embedding_path FILE --data_root FOLDER

The measures of Gal et al., arXiv 2208.01618, section 5, both in CLIP space: fidelity is the similarity of pictures of
reconstruction prompts to the training pictures; editability is that of pictures of edit prompts to the prompt without
the word.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import json
from pathlib import Path

from evaluation.measures import JUDGE, PUBLISHED_JUDGE, interval
from ldm.cli import CommandParser, count, guidance, picture_seed, print_table, run_command
from ldm.data.pictures import contact_sheet, open_images, save_image, to_images
from ldm.errors import UserError
from ldm.files import write_bytes
from ldm.progress import say
from ldm.prompts import parse_prompt
from load import EMBEDDED_MODEL, ROOT, add_model_flags, check_files, load_config, load_model

PROMPTS = ROOT / "evaluation/prompts.yaml"


def without(word: str, prompt: str) -> str:
    """The text of a prompt with the learned word left out."""
    return " ".join(parse_prompt(prompt.replace(word, " ")).text.split())


def main(arguments: list[str] | None = None) -> None:
    """Print a learned word's fidelity and editability, and write a report and a contact sheet."""
    parser = CommandParser(
        description="Measure fidelity and editability of a learned word, in CLIP space.",
        example="python -m evaluation.evaluate --embedding_path logs/RUN/checkpoints/embeddings.pt --data_root "
                "dataset/green_apple")
    add = parser.add_argument
    add("--data_root", required=True, metavar="FOLDER", help="folder with the pictures it was learned from")
    add("--clip", metavar="NAME", help="hub name or folder of the CLIP to measure with; default: models/clip/emoji for "
        f"the embedded model, else {PUBLISHED_JUDGE}")
    add("--prompts", metavar="YAML", default=str(PROMPTS.relative_to(ROOT)), help="lists of prompts")
    add("--prompt_set", metavar="NAME", help="which lists in it; default: emoji for the embedded model, else published")
    add("--n_samples", type=count, default=4, help="pictures for each prompt")
    add("--ddim_steps", type=count, default=50, help="sampling steps")
    add("--scale", type=guidance, help="guidance scale: 1 is none; default: the model's own")
    add("--seed", type=picture_seed, default=42, help="seed of the first picture of each prompt")
    add("--out", type=Path, default=Path("outputs/evaluation"), metavar="FOLDER",
        help="folder for report.json and sheet.png")
    add_model_flags(parser)
    opt = parser.parse_args(arguments)
    if not opt.embedding_path:
        raise UserError("no learned word: give --embedding_path")
    check_files(opt.embedding_path, opt.config, opt.ckpt_path)
    embedded = Path(opt.ckpt_path).resolve() == EMBEDDED_MODEL.resolve()
    name, sets = opt.prompt_set or ("emoji" if embedded else "published"), load_config(opt.prompts)
    if name not in sets:
        raise UserError(f"--prompt_set {name}: {opt.prompts} has {', '.join(sets)}")

    training = open_images(opt.data_root)
    from ldm.generate import sample_prompt
    from ldm.judge import CLIPEvaluator

    model = load_model(opt)
    judge = CLIPEvaluator(opt.clip or (str(JUDGE) if embedded else PUBLISHED_JUDGE), model.device)
    word = next(iter(model.embedding_manager.string_to_param_dict))
    seeds = [opt.seed + i for i in range(opt.n_samples)]
    rows = [("learned from", training[:8])]
    fidelity: list[float] = []
    editability: list[float] = []
    per_prompt = {}
    for kind in ("reconstruction", "edit"):
        for prompt in (p.replace("*", word) for p in sets[name][kind]):
            pictures = to_images(sample_prompt(model, prompt, seeds, steps=opt.ddim_steps, scale=opt.scale))
            image_similarity = judge.img_to_img_similarity(training, pictures).tolist()
            text_similarity = judge.txt_to_img_similarity(without(word, prompt), pictures).tolist()
            if kind == "reconstruction":
                fidelity += image_similarity
            else:
                editability += text_similarity
            per_prompt[prompt] = {"image": interval(image_similarity), "text": interval(text_similarity)}
            rows.append((prompt, pictures))
    report = {"fidelity": interval(fidelity), "editability": interval(editability), "prompts": per_prompt}
    print_table(("measure", "value", "low", "high", "n"),
                [(m, *(report[m][k] for k in ("value", "low", "high", "n"))) for m in ("fidelity", "editability")])
    save_image(contact_sheet(rows), opt.out / "sheet.png")
    write_bytes(opt.out / "report.json", json.dumps(report, indent=1).encode())
    say(f"{opt.out / 'sheet.png'}  {opt.out / 'report.json'}")


if __name__ == "__main__":
    run_command(main)
