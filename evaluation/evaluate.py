"""How good is a learned word: python -m evaluation.evaluate --embedding_path FILE --data_root FOLDER

The measures of Gal et al., arXiv 2208.01618, section 5, both in CLIP space: fidelity is the similarity of pictures of
reconstruction prompts to the training pictures; editability is that of pictures of edit prompts to the prompt without
the word.
"""

import argparse
import json
import sys
from pathlib import Path

from check.check_learned import contact_sheet
from check.common import load_checked_model, model_flags, print_table
from evaluation.clip_eval import CLIPEvaluator
from evaluation.emoji_suite import RULER, interval
from ldm.cli import CommandParser, choose_devices, run_command
from ldm.data.personalized import find_images, open_image
from ldm.errors import UserError
from ldm.models.diffusion.ddim import DDIMSampler
from ldm.serialization import write_bytes
from load import ROOT, load_config
from make_log_new import save_image, to_image
from txt2img import EMBEDDED_MODEL, sample_prompt

PROMPTS = ROOT / "evaluation/prompts.yaml"
PUBLISHED_CLIP = "openai/clip-vit-base-patch32"


def without(word: str, prompt: str) -> str:
    """A prompt with the learned word left out."""
    return " ".join(prompt.replace(word, " ").split())


def main(arguments: list[str] | None = None) -> None:
    parser = CommandParser(description="Measure fidelity and editability of a learned word, in CLIP space.",
                           formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--embedding_path", required=True, metavar="FILE", help="the learned word")
    add("--data_root", required=True, metavar="FOLDER", help="the pictures it was learned from")
    add("--clip", metavar="NAME", help="hub name or folder of the CLIP to measure with; default: models/clip/emoji for "
        f"the embedded model, else {PUBLISHED_CLIP}")
    add("--prompts", metavar="YAML", default=str(PROMPTS.relative_to(ROOT)), help="lists of prompts")
    add("--prompt_set", metavar="NAME", help="which lists in it; default: emoji for the embedded model, else published")
    add("--n_samples", type=int, default=4, help="pictures for each prompt")
    add("--ddim_steps", type=int, default=50)
    add("--scale", type=float, help="guidance scale; default: the model's own")
    add("--seed", type=int, default=42)
    add("--out", type=Path, default=Path("outputs/evaluation"), metavar="FOLDER", help="for report.json and sheet.png")
    add("--gpus", metavar="N", help="GPU to use; default: the first if there is one, else the CPU")
    add("-d", "--debug", action="store_true", help="show tracebacks")
    opt = model_flags(parser).parse_args(arguments)
    embedded = Path(opt.ckpt_path).resolve() == EMBEDDED_MODEL.resolve()
    name, sets = opt.prompt_set or ("emoji" if embedded else "published"), load_config(opt.prompts)
    if name not in sets:
        raise UserError(f"--prompt_set {name}: {opt.prompts} has {', '.join(sets)}")

    training = [open_image(path) for path in find_images(opt.data_root)]
    accelerator, devices = choose_devices(opt.gpus)
    device = "cpu" if accelerator == "cpu" else f"cuda:{devices[0]}"
    ruler = CLIPEvaluator(opt.clip or (str(RULER) if embedded else PUBLISHED_CLIP), device)
    model = load_checked_model(opt).to(device)
    model.embedding_manager.load(opt.embedding_path)
    word = next(iter(model.embedding_manager.string_to_param_dict))
    shape = (model.channels, model.image_size, model.image_size)
    seeds = [opt.seed + i for i in range(opt.n_samples)]
    rows, fidelity, editability, per_prompt = [("learned from", training[:8])], [], [], {}
    for kind in ("reconstruction", "edit"):
        for prompt in (p.replace("*", word) for p in sets[name][kind]):
            x = sample_prompt(model, prompt, seeds, shape, DDIMSampler, opt.ddim_steps, opt.scale, verbose=False)
            pictures = [to_image(p) for p in x]
            image_similarity = ruler.img_to_img_similarity(training, pictures).tolist()
            text_similarity = ruler.txt_to_img_similarity(without(word, prompt), pictures).tolist()
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
    print(f"{opt.out / 'sheet.png'}  {opt.out / 'report.json'}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
