"""Every command in a fresh interpreter: help, a wrong flag, a file that is not there - at once, and in one line."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# What takes seconds to import, and is not needed to say what a command does or what is wrong with its arguments.
HEAVY = ("torch", "pytorch_lightning", "transformers", "torchvision")

# Each command, and arguments that name something which is not there; None: it reads no files.
COMMANDS = {
    "train_new": "--base none.yaml",
    "train_new_v1": "--actual_resume none.ckpt --base configs/emoji/finetune-v1.yaml",
    "train_new_v2": "--data_root none --base configs/emoji/finetune-v2.yaml",
    "txt2img": "--ckpt_path none.ckpt",
    "txt2img_v1": "--embedding_path none.pt",
    "txt2img_v2": "--config none.yaml",
    "merge_embeddings": "--manager_ckpts none.pt --output_path OUT",
    "check.check_embedding": "none.pt",
    "check.check_initword": "word --config none.yaml",
    "check.check_learned": "none.pt --data_root dataset/flamingo",
    "check.check_model": "none.ckpt",
    "check.check_placeholder": "none.pt",
    "check.report": "none",
    "evaluation.emoji_suite": "--ckpt_path none.ckpt",
    "evaluation.options_suite": "--ckpt_path none.ckpt",
    "evaluation.evaluate": "--embedding_path none.pt --data_root dataset/flamingo",
    "evaluation.gallery": "--ckpt_path none.ckpt",
    "evaluation.kinds_suite": "--ckpt_path none.ckpt",
    "evaluation.style_suite": "--ckpt_path none.ckpt",
    "evaluation.sampler_suite": "--ckpt_path none.ckpt",
    "evaluation.v1_suite": "--ckpt_path none.ckpt",
    "evaluation.v2_suite": "--ckpt_path none.ckpt",
    "pretrain.autoencoder": "--run OUT --world wide --archive none.zip",
    "pretrain.clip": "--run OUT --world wide --archive none.zip",
    "pretrain.contact_sheet": "--out OUT --ckpt_path none.ckpt",
    "pretrain.dataset": "none --out OUT",
    "pretrain.icons": None,
    "pretrain.kinds": "--out OUT --archive none.zip",
    "pretrain.ldm": "--run OUT --scale_factor 1 --autoencoder none",
    "pretrain.look": "--out OUT --archive none.zip",
    "pretrain.multilingual": "--run OUT --out OUT --pairs none.csv",
    "pretrain.pairs": None,
    "pretrain.publish": "--run none --out OUT",
    "pretrain.things": None,
    "pretrain.tokenizer": None,
    "benchmarks.aligner": None,
    "benchmarks.faults.__main__": None,
    "benchmarks.profile": "draw --model none.ckpt",
    "benchmarks.random_checkpoint": "--out OUT --config none.yaml",
    "benchmarks.speed": "--model none.ckpt",
    "benchmarks.stable_diffusion": None,
    "webui.__main__": "--ckpt_path none.ckpt --logdir OUT",
    "improvement.v2.train_aligner": "--run OUT --out OUT --pairs none.csv",
}

# Runs a module as a command with each of several lists of arguments, and says how that ended and what it imported.
PROBE = f"""
import contextlib, io, json, runpy, sys
module, runs, results = sys.argv[1], json.loads(sys.argv[2]), []
for arguments in runs:
    before, out, err, status = set(sys.modules), io.StringIO(), io.StringIO(), 0
    sys.argv = [module, *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as stop:
            status = stop.code or 0
    results.append({{"status": status, "out": out.getvalue(), "err": err.getvalue(),
                    "heavy": [name for name in {HEAVY!r} if name in set(sys.modules) - before]}})
print(json.dumps(results))
"""


def results(module: str, out) -> list[dict]:
    """What help, a wrong flag and a missing file made of a command, in an interpreter that had imported nothing."""
    missing = [str(out) if a == "OUT" else a for a in (COMMANDS[module] or "").split()]
    runs = [["--help"], ["--no_such_flag"], *([missing] if missing else [])]
    done = subprocess.run([sys.executable, "-c", PROBE, module, json.dumps(runs)], cwd=ROOT, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_one_line(result: dict, *words: str) -> None:
    assert result["status"] == 2 and result["out"] == "", result
    (line,) = result["err"].splitlines()
    assert line.startswith("error: ") and any(word in line for word in words), line


@pytest.mark.parametrize("module", COMMANDS)
def test_a_command_answers_at_once(module, tmp_path):
    help, wrong_flag, *missing = results(module, tmp_path / "out")
    assert help["status"] == 0 and help["err"] == "", help
    assert help["out"].startswith("usage: ") and "--debug" in help["out"]
    assert_one_line(wrong_flag, "no_such_flag", "required")
    for result in missing:
        assert_one_line(result, "none")
    assert not (tmp_path / "out").exists(), "nothing half-written"
    heavy = {name: r["heavy"] for name, r in zip(("help", "a wrong flag", "a missing file"),
                                                 (help, wrong_flag, *missing), strict=False)}
    assert not any(heavy.values()), heavy


def test_no_command_is_left_out():
    """Every file that runs as a program is in the list above."""
    programs = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in ROOT.glob("*.py")}
    programs |= {".".join(p.relative_to(ROOT).with_suffix("").parts) for folder in (
        "ldm", "improvement", "check", "evaluation", "pretrain", "benchmarks") for p in ROOT.glob(f"{folder}/**/*.py")}
    programs |= {"webui.__main__"}
    programs = {m for m in programs if '__name__ == "__main__"' in (ROOT / f"{m.replace('.', '/')}.py").read_text()}
    assert programs == set(COMMANDS)
