# PYTHON_ARGCOMPLETE_OK
"""Make of a finished run the folder that commands read: python -m pretrain.publish --run RUN --out models/ldm/emoji"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import json
from pathlib import Path

from ldm.cli import CommandParser, run_command
from ldm.errors import UserError
from ldm.files import write_bytes
from load import check_files, load_config, read_state_dict


def publish_model(run: Path, out: Path) -> None:
    """Copy what pretrain.ldm wrote, and the tokenizer, whose new place the config gets."""
    from omegaconf import OmegaConf

    from ldm.util import resolve_folder

    config = load_config(run / "config.yaml")
    text = config.model.params.cond_stage_config.params
    tokenizer = Path(resolve_folder(text.tokenizer))
    for file in sorted(tokenizer.iterdir()):
        write_bytes(out / "tokenizer" / file.name, file.read_bytes())
    text.tokenizer = str(out / "tokenizer")
    write_bytes(out / "model.ckpt", (run / "model.ckpt").read_bytes())
    size = config.model.params.first_stage_config.params.ddconfig.resolution
    head = f"# Trained by pretrain/ for {size} px pictures; made.json says how.\n"
    write_bytes(out / "config.yaml", (head + OmegaConf.to_yaml(config)).encode())


def publish_autoencoder(run: Path, out: Path) -> None:
    """Put the autoencoder of a run of pretrain.autoencoder in the place of the model's own, whose latents it has."""
    from omegaconf import OmegaConf

    from ldm.serialization import pack_weights, read_tensors, write_tensors

    config, first_stage = load_config(out / "config.yaml"), load_config(run / "config.yaml")
    if first_stage.params.embed_dim != config.model.params.channels:
        raise UserError(f"{run}: its latents have {first_stage.params.embed_dim} channels, those of {out} "
                        f"{config.model.params.channels}; train it with --start {out / 'model.ckpt'}")
    config.model.params.first_stage_config = first_stage
    weights = read_tensors(out / "model.ckpt")["state_dict"]
    rest = {name: tensor for name, tensor in weights.items() if not name.startswith("first_stage_model.")}
    own = {f"first_stage_model.{n}": w for n, w in read_state_dict(run / "autoencoder.ckpt").items()}
    write_tensors(out / "model.ckpt", {"state_dict": rest | pack_weights(own)})
    write_bytes(out / "config.yaml", OmegaConf.to_yaml(config).encode())


def main(arguments: list[str] | None = None) -> None:
    """Write model.ckpt, config.yaml, made.json and the tokenizer; of an autoencoder's run, what differs with it."""
    flags = CommandParser(
        description="Copy a finished run of pretrain.ldm to where commands read models, or put the autoencoder of a "
        "run of pretrain.autoencoder into the model that is there.",
        example="python -m pretrain.publish --run pretrain/runs/wide/ldm --out models/ldm/emoji")
    flags.add_argument("--run", type=Path, required=True, metavar="FOLDER",
                       help="folder of a run of pretrain.ldm or pretrain.autoencoder")
    flags.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the model")
    opt = flags.parse_args(arguments)
    alone = (opt.run / "autoencoder.ckpt").is_file()
    check_files(*(opt.run / name for name in ("config.yaml", "made.json", *([] if alone else ["model.ckpt"]))))
    if alone:
        check_files(opt.out / "model.ckpt", opt.out / "config.yaml")
    (publish_autoencoder if alone else publish_model)(opt.run, opt.out)
    from pretrain.stage import read_made

    made = read_made(opt.out) | read_made(opt.run)
    write_bytes(opt.out / "made.json", (json.dumps(made, indent=1) + "\n").encode())
    print(f"{opt.out}: {(opt.out / 'model.ckpt').stat().st_size / 1e6:.1f} MB; " + ", ".join(
        f"{stage} trained on {of['pictures']:,} pictures" for stage, of in made.items()))


if __name__ == "__main__":
    run_command(main)
