# PYTHON_ARGCOMPLETE_OK
"""Train the emoji model's UNet and text transformer: python -m pretrain.ldm --run pretrain/runs/ldm \
--autoencoder pretrain/runs/autoencoder"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from ldm.cli import apply_overrides, check_overrides, count, positive, run_command, share
from ldm.errors import UserError
from load import check_files, instantiate_from_config, load_config, load_weights, model_config, read_state_dict
from pretrain.autoencoder import CONFIG
from pretrain.flags import check_world, parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    import torch

    from ldm.models.diffusion.ddpm import LatentDiffusion
    from ldm.modules.encoders.text_encoder import PromptTokenizer
    from pretrain.stream import Batch

TOKENS = "cond_stage_model.transformer.token_emb.weight"
WATCHED = ("a red apple on a blue background", "two lemons on a black background", "a tiger on a green background",
           "a hamburger on a yellow background", "a fish and a carrot on a white background",
           "a photo of an octopus on a pink background", "a sunflower on a purple background", "a penguin")


def sample_watched(model: LatentDiffusion, path: Path) -> None:
    """A contact sheet of the WATCHED prompts, two pictures each."""
    from ldm.data.pictures import save_grid
    from ldm.generate import sample_prompt

    prompts = [p for p in WATCHED for _ in range(2)]
    save_grid(sample_prompt(model, prompts, list(range(len(prompts))), steps=25, scale=4.0), path, columns=8)


def export(model: LatentDiffusion, path: Path) -> None:
    """Write the model, packed; neither the learned words nor the schedule's buffers. The autoencoder's weights get 8
    bits, the others 6, with which pictures are as good."""
    from ldm.serialization import pack_weights, write_tensors

    weights = {n: p.detach().float() for n, p in model.named_parameters() if not n.startswith("embedding_manager.")}
    coarse = {n: w for n, w in weights.items() if not n.startswith("first_stage_model.")}
    write_tensors(path, {"state_dict": pack_weights(weights) | pack_weights(coarse, bits=6)})


class CaptionIds:
    """Makes of a batch its pictures and the token ids int64 [B, draws, L] of their captions."""

    def __init__(self, tokenize: PromptTokenizer) -> None:
        self.tokenize = tokenize

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What the forward pass takes."""
        ids = self.tokenize([text for texts in batch.captions for text in texts])
        return batch.pixels, ids.unflatten(0, (len(batch.captions), -1))


def take_what_fits(model: LatentDiffusion, weights: Mapping[str, torch.Tensor]) -> set[str]:
    """Give the model those weights that have its names and shapes, and of a token embedding the rows there are: the
    names of what was given."""
    own, taken = model.state_dict(), set()
    for name, weight in weights.items():
        if name == TOKENS and own[name].shape[1:] == weight.shape[1:]:
            own[name][: len(weight)] = weight[: len(own[name])]
        elif name in own and own[name].shape == weight.shape:
            own[name] = weight.float()
        else:
            continue
        taken.add(name)
    model.load_state_dict(own)
    return taken


def model_of(opt: argparse.Namespace) -> tuple[DictConfig, LatentDiffusion]:
    """Config and model as the flags have them: with their tokenizer, the autoencoder's weights and scale, and the
    weights to start from."""
    import torch

    from pretrain.stage import read_made

    check_overrides(opt.override)
    config = apply_overrides(load_config(opt.config), opt.override)
    if opt.autoencoder:
        made = read_made(opt.autoencoder).get("autoencoder", {})
        scale = opt.scale_factor or made.get("result", {}).get("scale_factor")
        if not scale:
            raise UserError(f"--scale_factor: {opt.autoencoder / 'made.json'} does not say it; is that autoencoder's "
                            "training at its end?")
    else:
        scale = opt.scale_factor or model_config(opt.start).model.params.scale_factor
    config.model.params.scale_factor = float(scale)
    if opt.tokenizer:
        lines = (opt.tokenizer / "vocab.txt").read_text(encoding="utf-8").splitlines()
        config.model.params.cond_stage_config.params |= {"tokenizer": str(opt.tokenizer), "vocab_size": len(lines)}
    torch.manual_seed(opt.seed)
    model = instantiate_from_config(config.model)
    if opt.start:
        taken = take_what_fits(model, read_state_dict(opt.start))
        first_stage = {name for name in model.state_dict() if name.startswith("first_stage_model.")}
        if not opt.autoencoder and first_stage - taken:
            raise UserError(f"--start {opt.start}: its autoencoder is not the config's; give a run with --autoencoder")
    if opt.autoencoder:
        load_weights(model.first_stage_model, opt.autoencoder / "autoencoder.ckpt")
    return config, model.eval().requires_grad_(False)


def main(arguments: list[str] | None = None) -> None:
    """Train UNet and text transformer, or go on with them; once all pictures are seen, write model.ckpt, config.yaml
    and made.json."""
    flags = parser("Train the emoji model's UNet and text transformer.",
                   "python -m pretrain.ldm --run pretrain/runs/ldm --autoencoder pretrain/runs/autoencoder",
                   pictures=5_000_000, batch_size=64, learning_rate=2e-3)
    group = flags.add_argument_group("the model")
    group.add_argument("--autoencoder", type=Path, metavar="FOLDER",
                       help="run of pretrain.autoencoder; default: that of --start")
    group.add_argument("--scale_factor", type=positive,
                       help="scale of latents; default: as that run's made.json has it")
    group.add_argument("--config", type=Path, default=CONFIG, metavar="YAML", help="the model's config")
    group.add_argument("--tokenizer", type=Path, metavar="FOLDER",
                       help="folder of pretrain.tokenizer; default: the config's")
    group.add_argument("--override", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the config")
    group.add_argument("--start", type=Path, metavar="FILE",
                       help="checkpoint whose UNet and text transformer to start from; what it lacks, or has in "
                       "another shape, starts new")
    group.add_argument("--keep_text", action="store_true",
                       help="keep --start's text transformer and the vectors of its tokens, so that learned words, v1 "
                       "and v2 hold; trained are the UNet and the vectors of the tokens that --tokenizer adds")
    flags.add_argument("--drop", type=share, default=0.1, help="share of captions left out, for guidance")
    flags.add_argument("--draws", type=count, default=1, help="draws of noise for each picture, each with a caption of "
                       "its own; more spare rendering and encoding")
    opt = flags.parse_args(arguments)
    check_files(opt.autoencoder and opt.autoencoder / "autoencoder.ckpt", opt.config, opt.start,
                opt.tokenizer and opt.tokenizer / "vocab.txt")
    if not (opt.autoencoder or opt.start):
        flags.error("--autoencoder: the run of pretrain.autoencoder that makes the latents, or --start with a model")
    if opt.keep_text and not opt.start:
        flags.error("--keep_text: of which model? Give it with --start")
    check_world(opt)
    from pretrain.losses import DiffusionLoss
    from pretrain.stage import Stage, new_fabric
    from pretrain.stream import open_world

    world = open_world(opt)
    fabric = new_fabric(opt)
    config, model = model_of(opt)
    kept = len(read_state_dict(opt.start)[TOKENS]) if opt.keep_text else None
    module = DiffusionLoss(model, opt.draws, kept)
    size = opt.size or model.image_size * model.first_stage_model.downsampling
    stage = Stage("ldm", opt, fabric, module, module.trained, world, size, captions=opt.draws, drop=opt.drop,
                  prepare=CaptionIds(model.cond_stage_model.tknz_fn))

    def look() -> str:
        path = opt.run / f"samples-{stage.step:06d}.png"
        sample_watched(model, path)
        return str(path)

    stage.run(look)
    export(model, opt.run / "model.ckpt")
    OmegaConf.save(config, opt.run / "config.yaml")
    stage.write_made({"checkpoint_bytes": (opt.run / "model.ckpt").stat().st_size}, opt.autoencoder)


if __name__ == "__main__":
    run_command(main)
