# PYTHON_ARGCOMPLETE_OK
"""Train the emoji model's autoencoder: python -m pretrain.autoencoder --run pretrain/runs/autoencoder"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from ldm.cli import run_command, share, weight
from ldm.errors import UserError
from ldm.util import ROOT
from load import check_files, instantiate_from_config, load_config, model_config, read_state_dict
from pretrain.flags import check_world, parser
from pretrain.world import held_out

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    import torch

    from ldm.models.autoencoder import AutoencoderKL

CONFIG = ROOT / "models/ldm/emoji/config.yaml"


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


def grow(model: AutoencoderKL, start: Mapping[str, torch.Tensor]) -> None:
    """Give the model the weights of an autoencoder of its own shape, or of one that differs in that it has no patches:
    then the model makes of a picture the latents of the picture shrunk, and of latents the picture with large pixels.
    Raises UserError for any other."""
    own, squared = model.state_dict(), model.encoder.patch**2
    for name, tensor in start.items():
        if name == "encoder.conv_in.weight" and tensor.shape[1] * squared == own[name].shape[1]:
            tensor = tensor.repeat_interleave(squared, dim=1) / squared
        elif name.startswith("decoder.conv_out.") and len(tensor) * squared == len(own[name]):
            tensor = tensor.repeat_interleave(squared, dim=0)
        if name not in own or own[name].shape != tensor.shape:
            raise UserError(f"--start: its first stage has a {name} that the config's has not, or in another shape")
        own[name] = tensor.float()
    model.load_state_dict(own)


def psnr(x: torch.Tensor, y: torch.Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB of pictures in [-1, 1]."""
    mse = (x - y.clamp(-1, 1)).square().mean(dim=(1, 2, 3))
    return float((10 * (4 / mse).log10()).mean())


def held_out_pictures(opt: argparse.Namespace, count: int, size: int, device: torch.device) -> torch.Tensor:
    """Pictures of concepts no training has seen, in all styles of the world."""
    from pretrain.losses import to_pixels
    from pretrain.stream import EmojiWorld, Pictures, World

    if opt.world == "wide":
        from pretrain.things import read_list
        from pretrain.wide import WideWorld

        rows = [row for row in read_list() if row.held_out == "concept"]
        world: World = WideWorld(opt.archive, noto=0.3, families=0, sealed=False, rows=rows)
    else:
        world = EmojiWorld(concepts=held_out())
    return to_pixels(Pictures(world, size, "held out").batch(range(count)).pixels, device)


def main(arguments: list[str] | None = None) -> None:
    """Train the autoencoder, or go on with it; once all pictures are seen, write autoencoder.ckpt, config.yaml and
    made.json."""
    flags = parser("Train the emoji model's autoencoder.",
                   "python -m pretrain.autoencoder --run pretrain/runs/autoencoder",
                   pictures=600_000, batch_size=16, learning_rate=2e-3)
    flags.add_argument("--config", type=Path, default=CONFIG, metavar="YAML", help="the model's config")
    flags.add_argument("--kl_weight", type=weight, default=2e-6, help="weight of the KL term, summed over latents")
    flags.add_argument("--start", type=Path, metavar="FILE", help="checkpoint of a model whose latents are kept: "
                       "its decoder alone is trained on; where the config has patches and it has none, for pictures "
                       "so much larger")
    flags.add_argument("--recolour", type=share, default=0.25, help="share of pictures with colour channels swapped")
    opt = flags.parse_args(arguments)
    check_files(opt.config, opt.start)
    check_world(opt)
    import torch

    from ldm.serialization import write_tensors
    from pretrain.losses import AutoencoderLoss, to_pixels
    from pretrain.stage import Stage, new_fabric
    from pretrain.stream import open_world

    world = open_world(opt)
    fabric = new_fabric(opt)
    torch.manual_seed(opt.seed)
    first_stage = load_config(opt.config).model.params.first_stage_config
    scale = model_config(opt.start).model.params.scale_factor if opt.start else None
    model = instantiate_from_config(first_stage)
    if opt.start:
        prefix, weights = "first_stage_model.", read_state_dict(opt.start)
        grow(model, {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)})
    else:
        initialise(model)
    size = opt.size or first_stage.params.ddconfig.resolution
    loss = AutoencoderLoss(model, opt.kl_weight, opt.recolour, decoder_alone=opt.start is not None)
    stage = Stage("autoencoder", opt, fabric, loss, loss.trained, world, size)
    test = held_out_pictures(opt, 128, size, fabric.device)

    def quality() -> float:
        return psnr(test, torch.cat([model(part, sample_posterior=False)[0].float() for part in test.split(16)]))

    stage.run(lambda: f"held-out PSNR {quality():.2f} dB")
    with torch.no_grad():
        parts = [to_pixels(pictures, fabric.device) for (pictures,) in stage.validation]
        latents = torch.cat([model.encode(part).sample() for part in parts])
        result = {"held_out_psnr": round(quality(), 2), "scale_factor": scale or round(1 / float(latents.std()), 5)}
    write_tensors(opt.run / "autoencoder.ckpt", {"state_dict": model.state_dict()})
    OmegaConf.save(first_stage, opt.run / "config.yaml")
    stage.write_made(result)
    stage.say(f"held-out PSNR {result['held_out_psnr']} dB; scale_factor: {result['scale_factor']}")


if __name__ == "__main__":
    run_command(main)
