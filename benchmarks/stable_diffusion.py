"""Stable Diffusion 1.x at full size with random weights: python -m benchmarks.stable_diffusion

Time and memory do not depend on what the weights are. It makes a diffusers folder of 4.3 GB, learns a word in it for
one step and draws a picture in two, each in a process of its own.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.random_checkpoint import random_weights
from ldm.cli import CommandParser, count, print_table, run_command
from ldm.errors import UserError
from ldm.progress import say
from load import ROOT, load_config, merge_configs, meta_model

CONFIG = ROOT / "configs/stable-diffusion/v1-finetune.yaml"


class Measured(NamedTuple):
    """What a command took: seconds, those of them that a core worked, the most memory in GB, and its output."""

    seconds: float
    busy: float
    memory: float
    output: str


def write_letters(folder: Path) -> None:
    """Write a tokenizer of CLIP's class that reads every text by its letters."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[], model_max_length=77
                  ).save_pretrained(folder)


def write_random_folder(folder: Path) -> None:
    """Write the model with random weights of float32 as a folder of diffusers."""
    from ldm.diffusers_folder import write_folder

    with tempfile.TemporaryDirectory() as letters:
        write_letters(Path(letters))
        config = merge_configs(load_config(CONFIG), {"model": {"params": {"cond_stage_config": {"params": {
            "version": letters}}}}})
        model = meta_model(config, None)
        encoder = model.cond_stage_model
        write_folder(folder, config.model, random_weights(model), encoder.tknz_fn.tokenizer, encoder.max_seq_len)


def measured(*arguments: object) -> Measured:
    """Run a command of this project. Raises UserError, with its last line, where it fails."""
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *map(str, arguments)], cwd=ROOT, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for
        output.seek(0)
        text = output.read()
    if status:
        raise UserError(f"{arguments[0]}: {(text.strip().splitlines() or ['no output'])[-1]}")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20, text)


def learn(folder: Path, logs: Path, steps: int = 1, batch: int = 1) -> Measured:
    """Learn a word for some steps; `steps=0` is all that goes before, and the pictures are not read."""
    train = ["-t", f"lightning.trainer.max_steps={steps}"] if steps else []
    return measured("train_new.py", "--base", CONFIG, "--actual_resume", folder, "--logdir", logs, "--name", "random",
                    "--data_root", "dataset/green_apple", "--init_word", "a", f"data.params.batch_size={batch}",
                    "data.params.train.params.repeats=1", "data.params.validation=null",
                    "lightning.callbacks.image_logger.params.disabled=true", *train)


def draw(folder: Path, out: Path, steps: int = 2) -> Measured:
    """Draw one picture of 512 x 512 with guidance."""
    return measured("txt2img.py", "--ckpt_path", folder, "--prompt", "a photo of a cat", "--ddim_steps", steps,
                    "--n_samples", 1, "--outdir", out)


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = CommandParser(
        description="Time and memory of Stable Diffusion 1.x with random weights.",
        example="python -m benchmarks.stable_diffusion --batch 2")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where the model is, or is made and kept; "
                        "default: a temporary folder")
    parser.add_argument("--batch", type=count, default=1, help="pictures in a training step")
    opt = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        folder = opt.folder or Path(place, "model")
        if not folder.exists():
            start = time.perf_counter()
            write_random_folder(folder)
            say(f"{folder}: written in {time.perf_counter() - start:.0f} s")
        rows = [(name, run.seconds, run.busy, run.memory) for name, run in (
            ("load", learn(folder, Path(place, "logs"), 0)),
            (f"load, learn one step of {opt.batch} pictures of 512 px",
             learn(folder, Path(place, "logs"), 1, opt.batch)),
            ("load, draw one picture of 512 px in 2 steps with guidance", draw(folder, Path(place, "out"))))]
    print_table(("the whole command", "seconds", "of a core", "GB"), rows)


if __name__ == "__main__":
    run_command(main)
