"""Train the emoji model's UNet and text transformer: python -m pretrain.ldm --run pretrain/runs/ldm \
--autoencoder pretrain/runs/autoencoder/autoencoder.ckpt --scale_factor S"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import OmegaConf

from ldm.cli import positive, run_command, share
from ldm.data.pictures import save_grid
from ldm.files import write_bytes
from ldm.progress import bar
from load import check_files, instantiate_from_config, load_config, load_weights, read_state_dict
from pretrain.autoencoder import CONFIG, to_pixels
from pretrain.bank import captions, render_bank
from pretrain.checkpoint import Run, parser
from pretrain.world import GROUPS, check_packages

if TYPE_CHECKING:
    import torch

    from ldm.models.diffusion.ddpm import LatentDiffusion
    from ldm.modules.ema import LitEma

CAPTIONS_PER_PICTURE = 4
WATCHED = ("a red apple on a blue background", "two lemons on a black background", "a tiger on a green background",
           "a hamburger on a yellow background", "a fish and a carrot on a white background",
           "a photo of an octopus on a pink background", "a sunflower on a purple background", "a penguin")


def latent_bank(model: LatentDiffusion, folder: Path, count: int, seed: int, groups: tuple[str, ...],
                often: frozenset[str], device: torch.device) -> tuple[np.ndarray, list[list[str]]]:
    """(moments float16 [count, 2*C, h, w], captions [count][CAPTIONS_PER_PICTURE]), made once and kept."""
    import torch

    from ldm.devices import mixed_precision

    moments_file, captions_file = folder / "moments.npy", folder / "captions.json"
    if not captions_file.exists():
        moments: list[np.ndarray] = []
        texts: list[tuple[str, ...]] = []
        for pictures, scenes in render_bank(count, seed, groups, often=often):
            with torch.no_grad(), mixed_precision(device):
                batches = [to_pixels(p, device) for p in np.array_split(pictures, 10)]
                parts = [model.first_stage_model.encode(x).parameters for x in batches]
            moments.append(torch.cat(parts).half().cpu().numpy())
            texts += zip(*(captions([(s, k + i) for s, k in scenes]) for i in range(CAPTIONS_PER_PICTURE)), strict=True)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(moments_file, np.concatenate(moments))
        write_bytes(captions_file, json.dumps(texts).encode())
    return np.load(moments_file), json.loads(captions_file.read_text())


def sample_watched(model: LatentDiffusion, path: Path) -> None:
    """A contact sheet of the WATCHED prompts, two pictures each."""
    from ldm.generate import sample_prompt

    prompts = [p for p in WATCHED for _ in range(2)]
    save_grid(sample_prompt(model, prompts, list(range(len(prompts))), steps=25, scale=4.0), path, columns=8)


def export(model: LatentDiffusion, ema: LitEma, trained: torch.nn.Module, path: Path) -> None:
    """Write the model with its averaged weights, packed; neither the learned words nor the schedule's buffers.
    The autoencoder's weights get 8 bits, the others 6, with which pictures are as good."""
    from ldm.serialization import pack_weights, write_tensors

    ema.swap(trained)
    weights = {n: p.detach() for n, p in model.named_parameters() if not n.startswith("embedding_manager.")}
    coarse = {n: w for n, w in weights.items() if not n.startswith("first_stage_model.")}
    write_tensors(path, {"state_dict": pack_weights(weights) | pack_weights(coarse, bits=6)})
    ema.swap(trained)


def main(arguments: list[str] | None = None) -> None:
    """Train UNet and text transformer, or go on with them, and write model.ckpt and config.yaml into the run folder."""
    flags = parser("Train the emoji model's UNet and text transformer.",
                   "python -m pretrain.ldm --run pretrain/runs/ldm --scale_factor 1 "
                   "--autoencoder pretrain/runs/autoencoder/autoencoder.ckpt",
                   minutes=120, batch_size=64, learning_rate=2e-3)
    flags.add_argument("--autoencoder", type=Path, required=True, help="checkpoint that pretrain.autoencoder wrote")
    flags.add_argument("--scale_factor", type=positive, required=True, help="as pretrain.autoencoder printed it")
    flags.add_argument("--groups", nargs="+", default=GROUPS, choices=GROUPS, metavar="GROUP",
                       help=f"emoji groups to train on, more often if named more often; of: {', '.join(GROUPS)}")
    flags.add_argument("--often", type=Path, help="file of concept names, a line each, to show three times as often as "
                       "others")
    flags.add_argument("--start", type=Path, metavar="FILE",
                       help="checkpoint whose UNet and text transformer to start from; what it "
                       "lacks starts new")
    flags.add_argument("--drop", type=share, default=0.1, help="share of captions left out, for guidance")
    flags.add_argument("--ema", type=share, default=0.999, help="decay of the averaged weights")
    opt = flags.parse_args(arguments)
    check_files(opt.autoencoder, opt.often, opt.start)
    check_packages()
    import torch

    from ldm.devices import first_device, mixed_precision
    from ldm.modules.ema import LitEma
    from ldm.optim import muon_and_adam

    torch.manual_seed(opt.seed)
    device = first_device()

    config = load_config(CONFIG)
    config.model.params.scale_factor = opt.scale_factor
    model = instantiate_from_config(config.model)
    if opt.start:
        model.load_state_dict({n: w.float() for n, w in read_state_dict(opt.start).items()}, strict=False)
    load_weights(model.first_stage_model, opt.autoencoder)
    model = model.to(device).eval()
    trained = torch.nn.ModuleDict({"unet": model.model, "text": model.cond_stage_model}).requires_grad_(True)
    ema = LitEma(trained, opt.ema)
    often = frozenset(opt.often.read_text(encoding="utf-8").splitlines() if opt.often else ())
    moments, texts = latent_bank(model, opt.run / "bank", opt.pictures, opt.seed, tuple(opt.groups), often, device)
    tknz_fn = model.cond_stage_model.tknz_fn
    tokens = tknz_fn([t for ts in bar(texts, desc="captions") for t in ts]).reshape(len(texts), -1, tknz_fn.max_length)
    nothing = tknz_fn("")[0]
    run = Run(opt.run, opt.minutes, {"trained": trained, "ema": ema}, muon_and_adam(trained, opt.learning_rate))

    def diffusion_loss(z: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return model.p_losses(z, model.cond_stage_model.transformer(ids), t, noise)[0]

    p_losses: Callable[..., torch.Tensor] = torch.compile(diffusion_loss) if opt.compile else diffusion_loss
    rng = np.random.default_rng(opt.seed + run.step)
    steps, mean_loss = bar(desc="ldm", initial=run.step), None
    while run.tick():
        rows = torch.from_numpy(rng.integers(len(moments), size=opt.batch_size))
        ids = tokens[rows, torch.from_numpy(rng.integers(CAPTIONS_PER_PICTURE, size=opt.batch_size))]
        ids[torch.rand(opt.batch_size) < opt.drop] = nothing
        mean, logvar = torch.from_numpy(moments[rows]).to(device).float().chunk(2, dim=1)
        z = opt.scale_factor * (mean + (0.5 * logvar).exp() * torch.randn_like(mean))
        t = (torch.arange(opt.batch_size) + torch.rand(opt.batch_size)) / opt.batch_size  # one from each equal part
        t = (t * model.num_timesteps).long().clamp(max=model.num_timesteps - 1).to(device)
        with mixed_precision(device):
            loss = p_losses(z, t, torch.randn_like(z), ids.to(device))
        run.update(loss)
        ema(trained)
        value = float(loss.detach())
        mean_loss = value if mean_loss is None else 0.998 * mean_loss + 0.002 * value
        steps.update()
        if run.step % 500 == 0:
            steps.write(f"step {run.step}  minute {run.elapsed / 60:.1f}  loss {mean_loss:.4f}")
            run.save()
            ema.swap(trained)
            sample_watched(model, opt.run / f"samples-{run.step:06d}.png")
            ema.swap(trained)
    run.save()
    export(model, ema, trained, opt.run / "model.ckpt")
    OmegaConf.save(config, opt.run / "config.yaml")


if __name__ == "__main__":
    run_command(main)
