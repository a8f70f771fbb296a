"""Train the emoji model's autoencoder: python -m pretrain.autoencoder --run pretrain/runs/autoencoder"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ldm.cli import run_command, share, weight
from ldm.progress import bar
from load import instantiate_from_config, load_config
from pretrain.bank import render_bank
from pretrain.checkpoint import Run, parser
from pretrain.world import check_packages, held_out, random_scene, render

if TYPE_CHECKING:
    import torch

    from ldm.models.autoencoder import AutoencoderKL

CONFIG = Path(__file__).parent.parent / "models/ldm/emoji/config.yaml"


def to_pixels(pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    import torch

    return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """L1 on pixels and half as much on their horizontal and vertical differences, which keeps edges sharp."""
    down, across = ((x.diff(dim=d) - y.diff(dim=d)).abs().mean() for d in (2, 3))
    return (x - y).abs().mean() + 0.5 * (down + across)


def initialise(model: AutoencoderKL) -> None:
    """Convolutions that keep the scale of what passes, and a posterior narrow from the start: with PyTorch's own
    start, noise drowns the latents for the first thousand steps."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    assert model.quant_conv.bias is not None
    torch.nn.init.constant_(model.quant_conv.bias.data[model.quant_conv.out_channels // 2 :], -6.0)


def psnr(x: torch.Tensor, y: torch.Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB of pictures in [-1, 1]."""
    mse = (x - y.clamp(-1, 1)).square().mean(dim=(1, 2, 3))
    return float((10 * (4 / mse).log10()).mean())


def held_out_pictures(count: int, device: torch.device) -> torch.Tensor:
    """Pictures of concepts no training has seen."""
    rng = random.Random("held out")
    scenes = [random_scene(rng, held_out()) for _ in range(count)]
    return to_pixels(np.stack([np.asarray(render(scene, rng)) for scene in scenes]), device)


def main(arguments: list[str] | None = None) -> None:
    """Train the autoencoder, or go on with it, and write autoencoder.ckpt into the run folder."""
    flags = parser("Train the emoji model's autoencoder.",
                   "python -m pretrain.autoencoder --run pretrain/runs/autoencoder",
                   minutes=45, batch_size=8, learning_rate=2e-3)
    flags.add_argument("--kl_weight", type=weight, default=2e-6, help="weight of the KL term, summed over latents")
    flags.add_argument("--recolour", type=share, default=0.25, help="share of batches with colour channels swapped")
    opt = flags.parse_args(arguments)
    check_packages()
    import torch

    from ldm.devices import first_device, mixed_precision
    from ldm.optim import muon_and_adam
    from ldm.serialization import write_tensors

    torch.manual_seed(opt.seed)
    device = first_device()
    model = instantiate_from_config(load_config(CONFIG).model.params.first_stage_config).to(device)
    initialise(model)
    forward = torch.compile(model) if opt.compile else model

    bank = np.concatenate([pictures for pictures, _ in render_bank(opt.pictures, opt.seed)])
    test = held_out_pictures(128, device)
    run = Run(opt.run, opt.minutes, {"autoencoder": model}, muon_and_adam(model, opt.learning_rate))
    rng = np.random.default_rng(opt.seed + run.step)
    steps, mean_loss = bar(desc="autoencoder", initial=run.step), None
    while run.tick():
        x = to_pixels(bank[rng.integers(len(bank), size=opt.batch_size)], device)
        if rng.random() < opt.recolour:
            x = x[:, rng.permutation(3)]
        with mixed_precision(device):
            y, posterior = forward(x)
        loss = reconstruction_loss(x, y.float()) + opt.kl_weight * posterior.kl().float().mean()
        run.update(loss)
        mean_loss = float(loss) if mean_loss is None else 0.99 * mean_loss + 0.01 * float(loss)
        steps.update()
        if run.step % 500 == 0:
            run.save()
            with torch.no_grad():
                steps.write(f"step {run.step}  minute {run.elapsed / 60:.1f}  loss {mean_loss:.4f}  "
                          f"held-out PSNR {psnr(test, model(test, sample_posterior=False)[0]):.2f} dB")
    run.save()
    write_tensors(opt.run / "autoencoder.ckpt", {"state_dict": model.state_dict()})
    with torch.no_grad():
        parts = (to_pixels(part, device) for part in np.array_split(bank[:2000], 20))
        latents = torch.cat([model.encode(part).sample() for part in parts])
        print(f"held-out PSNR {psnr(test, model(test, sample_posterior=False)[0]):.2f} dB; "
              f"scale_factor: {1 / latents.std():.5f}")


if __name__ == "__main__":
    run_command(main)
