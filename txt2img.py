"""Make pictures from prompts with learned words: python txt2img.py --embedding_path FILE --prompt TEXT"""

import argparse
import hashlib
import os
import re
import sys
import unicodedata
from contextlib import nullcontext
from pathlib import Path

import torch
from omegaconf import OmegaConf
from PIL.PngImagePlugin import PngInfo

from ldm.cli import CommandParser, choose_devices, run_command
from ldm.errors import UserError
from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.dpm_solver import DPMSolverSampler
from ldm.models.diffusion.plms import PLMSSampler
from load import ROOT, load_config, load_model_from_config
from make_log_new import save_grid, save_image, to_image

PUBLISHED_CONFIG = ROOT / "configs/latent-diffusion/txt2img-1p4B-eval_with_tokens.yaml"
EMBEDDED_MODEL = ROOT / "models/ldm/emoji/model.ckpt"
PRECISIONS = {"full": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def get_parser() -> CommandParser:
    parser = CommandParser(description="Make pictures from prompts, with learned words in them.",
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--prompt", nargs="+", default=["a photo of a *"], help="one prompt or several")
    add("--embedding_path", metavar="FILE", help="learned words: an embeddings.pt, .bin or .safetensors")
    add("--ckpt_path", metavar="CKPT", default=os.path.relpath(EMBEDDED_MODEL), help="the model's checkpoint")
    add("--config", metavar="YAML", help="the model's config; default: config.yaml beside the checkpoint, else "
        "the published 1.45 B model's")
    add("--outdir", metavar="FOLDER", default="outputs/txt2img-samples", help="where pictures go")
    add("--ddim_steps", type=int, default=50, help="sampling steps, from 1 to the model's number of timesteps")
    sampler = parser.add_mutually_exclusive_group()
    sampler.add_argument("--plms", action="store_true", help="sample with PLMS instead of DDIM")
    sampler.add_argument("--dpm_solver", action="store_true", help="sample with DPM-Solver++ (2M) instead of DDIM")
    add("--ddim_eta", type=float, default=0.0, help="0 is deterministic DDIM, 1 as noisy as DDPM")
    add("--n_iter", type=int, default=1, help="batches for each prompt")
    add("--n_samples", type=int, default=4, help="pictures in a batch")
    add("--H", type=int, help="height in pixels; default: the model's own")
    add("--W", type=int, help="width in pixels; default: the model's own")
    add("--scale", type=float, help="guidance scale: 1 is none, more follows the prompt more closely; default: the "
        "model's own, 5 unless its config says otherwise")
    add("--seed", type=int, default=42, help="picture i of a prompt has seed + i")
    add("--precision", choices=PRECISIONS, default="full", help="number format of the network")
    add("--gpus", metavar="N", help="GPU to use; default: the first if there is one, else the CPU")
    add("-d", "--debug", action="store_true", help="show tracebacks")
    return parser


def check_options(opt) -> None:
    """Raises UserError for numbers that make no sense."""
    for name in ("n_iter", "n_samples", "ddim_steps"):
        if getattr(opt, name) < 1:
            raise UserError(f"--{name} {getattr(opt, name)}: must be at least 1")
    if not 0 <= opt.ddim_eta <= 1:
        raise UserError(f"--ddim_eta {opt.ddim_eta}: must be between 0 and 1")
    if opt.ddim_eta and (opt.plms or opt.dpm_solver):
        raise UserError("--ddim_eta goes with DDIM only; leave it out or leave --plms and --dpm_solver out")
    if not 0 <= opt.seed < 2**63:
        raise UserError(f"--seed {opt.seed}: must be 0 or more")


def find_config(opt) -> Path:
    """The config given, or the one beside the checkpoint, or the published model's."""
    beside = Path(opt.ckpt_path).parent / "config.yaml"
    return Path(opt.config) if opt.config else beside if beside.is_file() else PUBLISHED_CONFIG


def load_model(opt, variant: dict):
    """The model with its learned words, in eval mode, on the device asked for."""
    model = load_model_from_config(OmegaConf.merge(load_config(find_config(opt)), variant), opt.ckpt_path)
    if opt.embedding_path:
        model.embedding_manager.load(opt.embedding_path)
        model.embedding_manager.warn_if_absent(opt.prompt)
    accelerator, devices = choose_devices(opt.gpus)
    return model.to("cpu" if accelerator == "cpu" else f"cuda:{devices[0]}")


def latent_shape(opt, model) -> tuple[int, int, int]:
    """(C, h, w) of the latents for --H and --W. Raises UserError for a size the networks cannot take."""
    f = model.first_stage_model.downsampling
    strides = model.model.diffusion_model.downsampling
    sizes = [n if n is not None else model.image_size * f for n in (opt.H, opt.W)]
    for flag, size in zip(("--H", "--W"), sizes, strict=True):
        if size < 1 or size % (f * strides):
            raise UserError(f"{flag} {size}: must be a multiple of {f * strides}")
    return model.channels, sizes[0] // f, sizes[1] // f


@torch.no_grad()
def sample_prompt(model, prompt: str | list[str], seeds: list[int], shape, sampler, steps: int,
                  scale: float | None = None, eta: float = 0.0, precision: torch.dtype = torch.float32,
                  verbose: bool = True) -> torch.Tensor:
    """Pictures [len(seeds), 3, H, W] in about [-1, 1] of a prompt, or of one prompt per seed; each depends on its seed,
    not on the others.

    sampler is a Sampler class, shape (C, h, w), scale the guidance scale, by default the model's own.
    """
    n = len(seeds)
    prompts = [prompt] if isinstance(prompt, str) else prompt
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    autocast = nullcontext() if precision == torch.float32 else torch.autocast(model.device.type, precision)
    with autocast, model.ema_scope():
        cond, uncond = model.get_learned_conditioning([*prompts, ""]).split([len(prompts), 1])
        z, _ = sampler(model).sample(
            steps, n, shape, cond.expand(n, -1, -1), eta=eta, generators=generators, verbose=verbose,
            unconditional_guidance_scale=model.guidance_scale if scale is None else scale,
            unconditional_conditioning=uncond.expand(n, -1, -1))
        images = model.decode_first_stage(z)
    if not torch.isfinite(images).all():
        raise UserError("the pictures hold numbers that are not finite; take --precision full, or another checkpoint")
    return images


def slug(text: str, length: int = 60) -> str:
    """A prompt as a file name: letters, digits and dashes."""
    words = re.sub(r"[^\w]+", "-", unicodedata.normalize("NFKC", text.replace("*", "word"))).strip("-_").lower()
    return words[:length].rstrip("-") or "empty"


def picture_parameters(opt, prompt: str, seed: int, shape, model) -> PngInfo:
    """The text chunk `parameters`: the prompt, then what the picture was made with."""
    f = model.first_stage_model.downsampling
    settings = {
        "Steps": opt.ddim_steps, "Sampler": "plms" if opt.plms else "dpm_solver++ 2M" if opt.dpm_solver else "ddim",
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


def main(arguments: list[str] | None = None, variant: dict | None = None) -> None:
    """Make pictures; variant is a config that goes on top of the model's, such as v1's."""
    opt = get_parser().parse_args(arguments)
    check_options(opt)
    model = load_model(opt, variant or {})
    opt.scale = model.guidance_scale if opt.scale is None else opt.scale
    shape = latent_shape(opt, model)
    sampler = PLMSSampler if opt.plms else DPMSolverSampler if opt.dpm_solver else DDIMSampler
    outdir = Path(opt.outdir)
    number, grid_number = next_number(outdir / "samples"), next_number(outdir)
    for p, prompt in enumerate(opt.prompt):
        pictures = []
        for i in range(opt.n_iter):
            seeds = [opt.seed + i * opt.n_samples + k for k in range(opt.n_samples)]
            images = sample_prompt(model, prompt, seeds, shape, sampler, opt.ddim_steps, opt.scale, opt.ddim_eta,
                                   PRECISIONS[opt.precision])
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
