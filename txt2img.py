"""Make pictures from prompts with learned words: python txt2img.py --embedding_path FILE --prompt TEXT"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.PngImagePlugin import PngInfo

from ldm.cli import CommandParser, count, guidance, picture_seed, pixels, run_command, share
from ldm.errors import UserError
from load import add_model_flags, check_files, load_model

if TYPE_CHECKING:
    from ldm.models.diffusion.ddpm import LatentDiffusion


def get_parser() -> CommandParser:
    """The flags of txt2img.py, which are those of its variants too."""
    parser = CommandParser(description="Make pictures from prompts, with learned words in them.")
    add = parser.add_argument
    add("--prompt", nargs="+", default=["a photo of a *"], help="one prompt or several")
    add_model_flags(parser)
    add("--outdir", metavar="FOLDER", default="outputs/txt2img-samples", help="where pictures go")
    add("--ddim_steps", type=count, default=50, help="sampling steps, from 1 to the model's number of timesteps")
    sampler = parser.add_mutually_exclusive_group()
    sampler.add_argument("--plms", action="store_true", help="sample with PLMS instead of DDIM")
    sampler.add_argument("--dpm_solver", action="store_true", help="sample with DPM-Solver++ (2M) instead of DDIM")
    add("--ddim_eta", type=share, default=0.0, help="0 is deterministic DDIM, 1 as noisy as DDPM")
    add("--n_iter", type=count, default=1, help="batches for each prompt")
    add("--n_samples", type=count, default=4, help="pictures in a batch")
    add("--H", type=pixels, help="height in pixels; default: the model's own")
    add("--W", type=pixels, help="width in pixels; default: the model's own")
    add("--scale", type=guidance, help="guidance scale: 1 is none, more follows the prompt more closely; default: the "
        "model's own, 5 unless its config says otherwise")
    add("--seed", type=picture_seed, default=42, help="picture i of a prompt has seed + i")
    add("--precision", choices=("full", "bf16", "fp16"), default="full", help="number format of the network")
    return parser


def check_options(opt: argparse.Namespace) -> None:
    """Raises UserError for flags that do not go together and for files that are not there."""
    if opt.ddim_eta and (opt.plms or opt.dpm_solver):
        raise UserError("--ddim_eta goes with DDIM only; leave it out or leave --plms and --dpm_solver out")
    check_files(opt.config, opt.ckpt_path, opt.embedding_path)


def sampler_name(opt: argparse.Namespace) -> str:
    """The sampler that the flags ask for, as ldm.generate has it."""
    return "plms" if opt.plms else "dpm_solver" if opt.dpm_solver else "ddim"


def slug(text: str, length: int = 60) -> str:
    """A prompt as a file name: letters, digits and dashes."""
    words = re.sub(r"[^\w]+", "-", unicodedata.normalize("NFKC", text.replace("*", "word"))).strip("-_").lower()
    return words[:length].rstrip("-") or "empty"


def picture_parameters(opt: argparse.Namespace, prompt: str, seed: int, shape: tuple[int, int, int],
                       model: LatentDiffusion) -> PngInfo:
    """The text chunk `parameters`: the prompt, then what the picture was made with."""
    f = model.first_stage_model.downsampling
    settings = {
        "Steps": opt.ddim_steps, "Sampler": sampler_name(opt),
        "Eta": opt.ddim_eta, "CFG scale": opt.scale, "Seed": seed, "Size": f"{shape[2] * f}x{shape[1] * f}",
        "Precision": opt.precision, "Model": opt.ckpt_path,
    }
    if opt.embedding_path:
        settings["Embedding"] = opt.embedding_path
        settings["Embedding hash"] = hashlib.sha256(Path(opt.embedding_path).read_bytes()).hexdigest()[:16]
    info = PngInfo()
    info.add_itxt("parameters", f"{prompt}\n{', '.join(f'{k}: {v}' for k, v in settings.items())}")
    return info


def next_number(folder: Path) -> int:
    """One more than the highest number that begins a file name in the folder."""
    numbers = [int(m[0]) for p in folder.glob("*.png") if (m := re.match(r"\d+", p.name))]
    return max(numbers, default=-1) + 1


def main(arguments: list[str] | None = None, variant: str | None = None) -> None:
    """Make pictures; variant is the one to make of the model, such as "v1", unless the flags name another."""
    parser = get_parser()
    parser.set_defaults(variant=variant)
    opt = parser.parse_args(arguments)
    check_options(opt)
    draw(opt)


def draw(opt: argparse.Namespace) -> None:
    """Write the pictures that the flags ask for, and a grid of each prompt's."""
    import torch

    from ldm.data.pictures import save_grid, save_image, to_image
    from ldm.generate import latent_shape, sample_prompt

    model = load_model(opt)
    if opt.embedding_path:
        model.embedding_manager.warn_if_absent(opt.prompt)
    opt.scale = model.guidance_scale if opt.scale is None else opt.scale
    shape = latent_shape(model, opt.H, opt.W)
    outdir = Path(opt.outdir)
    number, grid_number = next_number(outdir / "samples"), next_number(outdir)
    for p, prompt in enumerate(opt.prompt):
        pictures = []
        for i in range(opt.n_iter):
            seeds = [opt.seed + i * opt.n_samples + k for k in range(opt.n_samples)]
            images = sample_prompt(model, prompt, seeds, sampler_name(opt), opt.ddim_steps, opt.scale, opt.ddim_eta,
                                   shape, opt.precision, verbose=True)
            for seed, image in zip(seeds, images, strict=True):
                save_image(to_image(image), outdir / "samples" / f"{number:05}_{slug(prompt)}_seed{seed}.png",
                           pnginfo=picture_parameters(opt, prompt, seed, shape, model))
                number += 1
            pictures.append(images.cpu())
        grid_file = outdir / f"{grid_number + p:04}_{slug(prompt)}.png"
        save_grid(torch.cat(pictures), grid_file, columns=opt.n_samples)
        print(f"{grid_file}: {opt.n_iter * opt.n_samples} pictures of {prompt!r}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
