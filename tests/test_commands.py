"""Every command in a fresh interpreter: help, a wrong flag, a file that is not there - at once, and in one line."""

import functools
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
    "check.check_initword": "word --config none.yaml",
    "check.check_learned": "none.pt --data_root dataset/flamingo",
    "check.check_model": "none.ckpt",
    "check.check_placeholder": "none.pt",
    "evaluation.emoji_suite": "--ckpt_path none.ckpt",
    "evaluation.evaluate": "--embedding_path none.pt --data_root dataset/flamingo",
    "evaluation.gallery": "--ckpt_path none.ckpt",
    "evaluation.v1_suite": "--ckpt_path none.ckpt",
    "evaluation.v2_suite": "--ckpt_path none.ckpt",
    "pretrain.autoencoder": None,
    "pretrain.clip": None,
    "pretrain.contact_sheet": "--out OUT --ckpt_path none.ckpt",
    "pretrain.dataset": "none --out OUT",
    "pretrain.ldm": "--run OUT --scale_factor 1 --autoencoder none.ckpt",
    "pretrain.multilingual": "--run OUT --out OUT --pairs none.csv",
    "pretrain.pairs": None,
    "pretrain.tokenizer": None,
    "benchmarks.random_checkpoint": "--out OUT --config none.yaml",
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


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A place that nothing is to be written to."""
    return tmp_path_factory.mktemp("commands") / "out"


@pytest.fixture(scope="module")
def results(out):
    """A function from a command to what help, a wrong flag and a missing file made of it, in an interpreter of its own
    that has imported nothing yet."""
    @functools.cache
    def probe(module: str) -> list[dict]:
        missing = [str(out) if a == "OUT" else a for a in (COMMANDS[module] or "").split()]
        runs = [["--help"], ["--no_such_flag"], *([missing] if missing else [])]
        done = subprocess.run([sys.executable, "-c", PROBE, module, json.dumps(runs)], cwd=ROOT, capture_output=True,
                              text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    return probe


def assert_one_line_and_nothing_heavy(result: dict, *words: str) -> None:
    assert result["status"] == 2, result
    (line,) = result["err"].splitlines()
    assert line.startswith("error: ") and any(word in line for word in words) and result["out"] == ""
    assert not result["heavy"]


@pytest.mark.parametrize("module", COMMANDS)
def test_help_comes_at_once(results, module):
    result = results(module)[0]
    assert result["status"] == 0 and result["err"] == ""
    assert result["out"].startswith("usage: ") and "--debug" in result["out"]
    assert not result["heavy"]


@pytest.mark.parametrize("module", COMMANDS)
def test_a_wrong_flag_is_one_line(results, module):
    assert_one_line_and_nothing_heavy(results(module)[1], "no_such_flag", "required")


@pytest.mark.parametrize("module", [m for m, arguments in COMMANDS.items() if arguments])
def test_what_is_not_there_is_one_line(results, module, out):
    assert_one_line_and_nothing_heavy(results(module)[2], "none")
    assert not out.exists(), "nothing half-written"


def test_no_command_is_left_out():
    """Every file that runs as a program is in the list above."""
    programs = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in ROOT.glob("*.py")}
    programs |= {".".join(p.relative_to(ROOT).with_suffix("").parts) for folder in (
        "ldm", "improvement", "check", "evaluation", "pretrain", "benchmarks") for p in ROOT.glob(f"{folder}/**/*.py")}
    programs = {m for m in programs if '__name__ == "__main__"' in (ROOT / f"{m.replace('.', '/')}.py").read_text()}
    assert programs == set(COMMANDS)
