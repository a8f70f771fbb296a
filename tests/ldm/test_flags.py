"""Numbers of flags, GPUs, letters no terminal has, streams nobody reads, and what --debug shows."""

import argparse
import ast
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import train_new
import txt2img
from check import check_learned
from improvement.v2 import train_aligner
from ldm import cli
from ldm.errors import UserError
from tests.conftest import ROOT, assert_one_line_error, run_main, run_script

KINDS = {name: getattr(cli, name) for name in ("count", "natural", "pixels", "training_seed", "picture_seed", "share",
                                               "weight", "positive", "rate", "guidance")}
WHOLE = ("count", "natural", "pixels", "training_seed", "picture_seed")


def read(kind, text):
    try:
        return KINDS[kind](text)
    except argparse.ArgumentTypeError as error:
        assert repr(text) in str(error) and "number" in str(error)
        return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [
    "nan", "inf", "-inf", "1e30", "1e400", "１２", "٣", "1_000", "", " ", " 1", "1 ", "abc", "0x10", "0b1", "True",
    "None", "1:40", "1,5", "--", "+-1", "1.5.5", "½", "²", "9" * 100, "9" * 5000, "-" + "9" * 100, "1\n", "1e", "e1",
    "."])
def test_odd_numbers_are_refused_by_every_kind(kind, text):
    assert read(kind, text) is None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(KINDS)), st.one_of(st.text(max_size=8), st.integers().map(str), st.floats().map(repr),
                                                 st.text("0123456789.eE+-_ ", max_size=8)))
def test_a_number_is_what_it_says_and_in_range(kind, text):
    value = read(kind, text)
    if value is not None:
        assert type(value) is (int if kind in WHOLE else float) and value == float(text) and text.isascii()
        assert -1000 <= value < 2**63 and value == value


@pytest.mark.parametrize("kind, good, bad", [
    ("count", ["1", "7", "+5"], ["0", "-1", "1.0", "2.5"]), ("natural", ["0", "3"], ["-1"]),
    ("training_seed", ["0", "4294967295"], ["-1", "4294967296"]), ("picture_seed", ["0", "99999999999"], ["-1"]),
    ("share", ["0", "1", ".5", "1e-3", "0.0"], ["-0.1", "1.01", "2"]), ("positive", ["1e-5", "3"], ["0", "-1"]),
    ("rate", ["4e-3", "0.1"], ["0", "1001"]), ("guidance", ["-1", "7.5", "1"], ["1001"]), ("weight", ["0"], ["-1"])])
def test_ranges(kind, good, bad):
    assert None not in [read(kind, text) for text in good]
    assert [read(kind, text) for text in bad] == [None] * len(bad)


@pytest.mark.parametrize("arguments, words", [
    (("--ddim_steps", "0"), ["--ddim_steps", "'0'", "from 1"]), (("--n_samples", "2.5"), ["--n_samples", "2.5"]),
    (("--scale", "nan"), ["--scale", "nan"]), (("--scale", "1e30"), ["--scale", "from -1000 to 1000"]),
    (("--ddim_eta", "1.5"), ["--ddim_eta", "from 0 to 1"]), (("--seed", "-1"), ["--seed", "'-1'"]),
    (("--H", "0"), ["--H"]), (("--W", "１"), ["--W"]),
    (("--gpus", "0,1"), ["--gpus", "'0,1'", "one GPU", "--gpus 0 and --gpus 1"]), (("--gpus", "first"), ["--gpus"])])
def test_numbers_of_a_command(tmp_path, arguments, words):
    result = run_main(txt2img.main, *arguments, "--outdir", tmp_path / "out")
    assert_one_line_error(result, *words)
    assert not (tmp_path / "out").exists()


def test_no_command_has_a_number_of_its_own_kind():
    """Flags that take numbers take them as ldm.cli reads them."""
    files = [p for folder in (".", "check", "evaluation", "pretrain", "benchmarks", "improvement/v2")
             for p in (ROOT / folder).glob("*.py")]
    for path in files:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.keyword) and call.arg == "type" and isinstance(call.value, ast.Name):
                assert call.value.id not in ("int", "float"), path


@pytest.mark.parametrize("text, numbers", [("0", "0"), ("0,", "0"), ("0,1", "0,1"), (" 1, 0 ", "1,0"), ("", "")])
def test_gpu_numbers(text, numbers):
    assert cli.gpu_numbers(text) == numbers


@pytest.mark.parametrize("main, flag", [(txt2img.main, "--seed"), (txt2img.main, "--W"), (train_new.main, "--gpus"),
                                        (check_learned.main, "--gpus")])
@pytest.mark.parametrize("value", ["--", " "])
def test_two_dashes_and_a_space_are_no_value(main, flag, value):
    assert_one_line_error(run_main(main, f"{flag}={value}"), flag, repr(value))


def test_one_gpu_for_what_works_on_one(tmp_path):
    for main, first in ((txt2img.main, ()), (check_learned.main, ("x.pt", "--data_root", "x"))):
        assert_one_line_error(run_main(main, *first, "--gpus", "0,1"), "--gpus", "run it once for each")
    result = run_main(train_aligner.main, "--run", tmp_path, "--out", tmp_path, "--gpus", "0,1", "--pairs", "none")
    assert_one_line_error(result, "none")


# Letters -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("argument", ["\udcff", "a\udced\udca0\udc80b", "--prompt=\udcfe", "x\0y", "\ud800"])
def test_an_argument_that_is_no_text_is_named(argument):
    assert_one_line_error(run_main(txt2img.main, "--prompt", argument), "argument 2", "code 0" if "\0" in argument else
                          "UTF-8")
    with pytest.raises(UserError, match="argument 1"):
        cli.check_overrides([f"a.b={argument}"])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=12))
def test_any_bytes_are_an_argument_or_named(content):
    argument = os.fsdecode(content)
    try:
        assert cli.readable([argument]) == [content.decode()] and "\0" not in argument
    except UserError as error:
        str(error).encode()
        assert len(str(error).splitlines()) == 1


SURROUNDINGS = [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
                {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
                                                "PYTHONIOENCODING": "ascii"}]


@pytest.mark.slow
@pytest.mark.parametrize("surroundings", SURROUNDINGS, ids=str)
def test_korean_in_any_locale(tmp_path, surroundings):
    def run(*arguments):
        return subprocess.run([sys.executable, "txt2img.py", *map(str, arguments)], cwd=ROOT, capture_output=True,
                              env=os.environ | surroundings, timeout=120)

    drawn = run("--prompt", "빨간 사과", "--n_samples", 1, "--ddim_steps", 1, "--outdir", tmp_path / "사진")
    assert drawn.returncode == 0 and b"Traceback" not in drawn.stderr, drawn.stderr
    assert [p.name for p in (tmp_path / "사진").glob("*.png")] == ["0000_빨간-사과.png"]
    missing = run("--embedding_path", "없는.pt")
    assert missing.returncode == 2 and missing.stderr.startswith(b"error: ") and missing.stderr.count(b"\n") == 1
    broken = subprocess.run([os.fsencode(sys.executable), b"txt2img.py", b"--prompt", b"\xff\xfe"], cwd=ROOT,
                            capture_output=True, env=os.environ | surroundings, timeout=120)
    assert broken.returncode == 2 and b"Traceback" not in broken.stderr and b"argument 2" in broken.stderr


# Streams -------------------------------------------------------------------------------------------------------------

def shell(command):
    return subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True,
                          timeout=120, env=os.environ | {"PYTHON": sys.executable})


@pytest.mark.parametrize("command, statuses", [
    ("$PYTHON txt2img.py --help | head -c 1", (0, 1)), ("$PYTHON txt2img.py --help >&-", (0,)),
    ("$PYTHON txt2img.py --help | true", (0, 1)), ("$PYTHON txt2img.py --ckpt_path none 2>&-", (2,)),
    ("$PYTHON txt2img.py --ckpt_path none 2>&1 | true", (2,)), ("$PYTHON txt2img.py --help > /dev/full", (0, 1, 2)),
    ("$PYTHON txt2img.py --help 2>&- >&- <&-", (0,))])
@pytest.mark.slow
def test_streams_that_nobody_reads_end_a_command_quietly(command, statuses):
    result = shell(command)
    assert result.returncode in statuses and "Traceback" not in result.stderr, result.stderr
    assert "Exception ignored" not in result.stderr and "BrokenPipe" not in result.stderr


@pytest.mark.slow
def test_a_long_table_into_head():
    result = shell("$PYTHON -m check.check_initword " + "apple " * 5000 + "| head -n 2")
    assert len(result.stdout.splitlines()) == 2 and "Traceback" not in result.stderr, result.stderr


# Errors --------------------------------------------------------------------------------------------------------------

def test_no_cause_is_hidden():
    """`from None` would keep from --debug what it is for; one place decides what is printed."""
    for path in ROOT.glob("**/*.py"):
        if ".venv" in path.parts or ".floors" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise):
                assert not (isinstance(node.cause, ast.Constant) and node.cause.value is None), f"{path}:{node.lineno}"


@pytest.mark.slow
def test_debug_shows_the_cause(tmp_path):
    (tmp_path / "config.yaml").write_text("a: [")
    plain = run_script("txt2img.py", "--config", tmp_path / "config.yaml")
    assert_one_line_error(plain, "config.yaml")
    debug = run_script("txt2img.py", "--config", tmp_path / "config.yaml", "--debug")
    for words in ("ParserError", "direct cause", "UserError", "config.yaml"):
        assert words in debug.stderr
    assert debug.stderr.count("Traceback") >= 2


@pytest.mark.parametrize("error, words", [
    (MemoryError(), "not enough memory"), (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: x"),
                                           "not enough memory"), (UserError("two\nlines"), "two lines")])
def test_more_that_is_one_line(error, words):
    assert words in cli.one_line(error)


def test_what_lightning_refuses_later_is_one_line():
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    assert cli.one_line(MisconfigurationException("not so\nmore")) == "lightning.trainer: not so"
    assert cli.one_line(ValueError("a fault of ours")) is None
