# PYTHON_ARGCOMPLETE_OK
"""Make of a finished run the folder that commands read: python -m pretrain.publish --run RUN --out models/ldm/emoji"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import json
from pathlib import Path

from ldm.cli import CommandParser, run_command
from ldm.files import write_bytes
from load import check_files, load_config


def main(arguments: list[str] | None = None) -> None:
    """Copy model.ckpt, made.json and the tokenizer, and write the config with the tokenizer's new place."""
    flags = CommandParser(
        description="Copy a finished run of pretrain.ldm to where commands read models.",
        example="python -m pretrain.publish --run pretrain/runs/wide/ldm --out models/ldm/emoji")
    flags.add_argument("--run", type=Path, required=True, metavar="FOLDER", help="folder of pretrain.ldm's run")
    flags.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the model")
    opt = flags.parse_args(arguments)
    check_files(*(opt.run / name for name in ("model.ckpt", "config.yaml", "made.json")))
    from omegaconf import OmegaConf

    from ldm.util import resolve_folder

    config = load_config(opt.run / "config.yaml")
    text = config.model.params.cond_stage_config.params
    tokenizer = Path(resolve_folder(text.tokenizer))
    for file in sorted(tokenizer.iterdir()):
        write_bytes(opt.out / "tokenizer" / file.name, file.read_bytes())
    text.tokenizer = str(opt.out / "tokenizer")
    write_bytes(opt.out / "model.ckpt", (opt.run / "model.ckpt").read_bytes())
    size = config.model.params.first_stage_config.params.ddconfig.resolution
    head = f"# Trained by pretrain/ for {size} px pictures; made.json says how.\n"
    write_bytes(opt.out / "config.yaml", (head + OmegaConf.to_yaml(config)).encode())
    made = json.loads((opt.run / "made.json").read_text(encoding="utf-8"))
    write_bytes(opt.out / "made.json", (json.dumps(made, indent=1) + "\n").encode())
    print(f"{opt.out}: {(opt.out / 'model.ckpt').stat().st_size / 1e6:.1f} MB, trained on "
          f"{made['ldm']['pictures']:,} pictures")


if __name__ == "__main__":
    run_command(main)
