"""Make pictures from prompts with learned words: python txt2img.py --embedding_path FILE --prompt TEXT"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import argparse
import hashlib
import re
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from PIL.PngImagePlugin import PngInfo

from ldm.cli import CommandParser, count, guidance, picture_seed, pixels, run_command, share
from ldm.errors import UserError
from ldm.files import file_identity, output_folder
from ldm.parameters import CHUNK, write_parameters
from ldm.util import ROOT, quoted, resolve_file
from load import add_model_flags, check_files, find_config, load_model, model_config

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
    if not opt.prompt:  # argparse takes -- away
        raise UserError("--prompt: no prompt in it; give some text, or '' for an empty one")
    if opt.ddim_eta and (opt.plms or opt.dpm_solver):
        raise UserError("--ddim_eta goes with DDIM only; leave it out or leave --plms and --dpm_solver out")
    check_files(opt.config, opt.ckpt_path, opt.embedding_path)


def sampler_name(opt: argparse.Namespace) -> str:
    """The sampler that the flags ask for, as ldm.generate has it."""
    return "plms" if opt.plms else "dpm_solver" if opt.dpm_solver else "ddim"


def slug(text: str, letters: int = 60, size: int = 96) -> str:
    """A prompt as a part of a file name: letters, digits and dashes, cut after so many letters and bytes of UTF-8."""
    words = re.sub(r"[^\w]+", "-", unicodedata.normalize("NFKC", text.replace("*", "word"))).strip("-_").lower()
    return words[:letters].encode()[:size].decode(errors="ignore").rstrip("-") or "empty"


def version() -> str:
    """The project's version."""
    return re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[0]


def picture_settings(opt: argparse.Namespace, shape: tuple[int, int, int], model: LatentDiffusion) -> dict[str, Any]:
    """All that a picture is made with, but for its prompt and its seed; files with a hash of their content."""
    f = model.first_stage_model.downsampling
    config = model_config(opt.ckpt_path, opt.config, opt.variant)
    settings = {
        "Steps": opt.ddim_steps, "Sampler": sampler_name(opt), "Eta": opt.ddim_eta, "CFG scale": opt.scale,
        "Seed": None, "Size": f"{shape[2] * f}x{shape[1] * f}", "Precision": opt.precision,
        "Batch size": opt.n_samples, "Variant": opt.variant or "base",
        "Config": find_config(opt.ckpt_path, opt.config), "Config hash": digest(OmegaConf.to_yaml(config).encode()),
        "Model": opt.ckpt_path, "Model hash": file_identity(opt.ckpt_path),
    }
    if opt.embedding_path:
        settings["Embedding"] = opt.embedding_path
        settings["Embedding hash"] = digest(Path(opt.embedding_path).read_bytes())
    if aligner := getattr(model.cond_stage_model, "aligner_file", None):
        settings["Aligner"], settings["Aligner hash"] = aligner, file_identity(resolve_file(aligner))
    return settings | {"Version": version()}


def digest(data: bytes) -> str:
    """16 hexadecimal digits that stand for some bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def png_info(prompt: str, settings: dict[str, Any]) -> PngInfo:
    """The text chunk that says what a picture was made with."""
    info = PngInfo()
    info.add_itxt(CHUNK, write_parameters(prompt, settings))
    return info


def main(arguments: list[str] | None = None, variant: str | None = None) -> None:
    """Make pictures; variant is the one to make of the model, such as "v1", unless the flags name another."""
    parser = get_parser()
    parser.set_defaults(variant=variant)
    opt = parser.parse_args(arguments)
    check_options(opt)
    with output_folder(opt.outdir) as outdir:
        draw(opt, outdir)


def draw(opt: argparse.Namespace, outdir: Path) -> None:
    """Write the pictures that the flags ask for, and a grid of each prompt's."""
    import torch

    from ldm.data.pictures import grid, save_numbered, to_image
    from ldm.generate import draw_only, latent_shape, sample_prompt

    model = load_model(opt)
    model.embedding_manager.warn_about(opt.prompt, learned=bool(opt.embedding_path))
    opt.scale = model.guidance_scale if opt.scale is None else opt.scale
    shape = latent_shape(model, opt.H, opt.W)
    settings = picture_settings(opt, shape, model)
    draw_only(model, opt.precision)
    for prompt in opt.prompt:
        pictures = []
        for i in range(opt.n_iter):
            seeds = [opt.seed + i * opt.n_samples + k for k in range(opt.n_samples)]
            images = sample_prompt(model, prompt, seeds, sampler_name(opt), opt.ddim_steps, opt.scale, opt.ddim_eta,
                                   shape, opt.precision, verbose=True)
            for seed, image in zip(seeds, images, strict=True):
                save_numbered(to_image(image), outdir / "samples", 5, f"{slug(prompt)}_seed{seed}",
                              pnginfo=png_info(prompt, settings | {"Seed": seed}))
            pictures.append(images.cpu())
        grid_file = save_numbered(to_image(grid(torch.cat(pictures), opt.n_samples)), outdir, 4, slug(prompt))
        print(f"{grid_file}: {opt.n_iter * opt.n_samples} pictures of {quoted(prompt)}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
