"""The help of all commands: an example that they take, the same words for the same thing, on any terminal."""

import importlib
import io
import os
import shlex
import subprocess
import sys

import pytest

from ldm.cli import CommandParser, command_line
from ldm.errors import UserError
from ldm.parser import wrap_command
from tests.conftest import ROOT
from tests.test_commands import COMMANDS

# Flags that mean several things, on purpose: what stands for their value is another thing.
SEVERAL = {"--gpus", "--out", "--json", "--rename", "--multilingual", "--word"}


class _Caught(Exception):
    pass


@pytest.fixture(scope="module")
def parsers():
    """{command: its parser}, with what its main has set."""
    found = {}

    def catch(self, args=None, namespace=None):
        raise _Caught(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CommandParser, "parse_known_args", catch)
        for module in COMMANDS:
            try:
                importlib.import_module(module).main([])
            except _Caught as caught:
                found[module] = caught.args[0]
    return found


def test_all_commands_have_a_parser(parsers):
    assert set(parsers) == set(COMMANDS)


@pytest.mark.parametrize("module", COMMANDS)
def test_the_example_is_a_command_that_is_taken(parsers, module):
    parser = parsers[module]
    words = shlex.split(parser.example.replace("%(prog)s", f"{module}.py"))
    called = ["-m", module.removesuffix(".__main__")] if "." in module else [f"{module}.py"]
    assert words[: 1 + len(called)] == ["python", *called], parser.example
    _, unknown = parser.parse_known_args(words[1 + len(called) :])
    assert not unknown


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_keeps_to_the_width_in_ascii(parsers, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for module, parser in parsers.items():
        text = parser.format_help()
        assert text.isascii(), module
        wide = [line for line in text.splitlines() if len(line) > columns and len(line.split()) > 2
                and not line.strip().startswith("[--")]  # one flag of the usage, which is not broken
        assert not wide, (module, wide)
        assert text.index("-h, --help") > max(text.find(f"\n{g.title}:") for g in parser._action_groups if (
            g._group_actions and g is not parser.general)), "what all commands have comes last"


def test_a_flag_has_help_and_one_meaning(parsers):
    values: dict[str, set] = {}
    for module, parser in parsers.items():
        for action in parser._actions:
            assert action.help, (module, action.dest)
            for flag in action.option_strings:
                values.setdefault(flag, set()).add(action.metavar)
    assert not {flag: seen for flag, seen in values.items() if len(seen) > 1 and flag not in SEVERAL}


@pytest.mark.parametrize("flag, word", [("--seed", "seed"), ("--data_root", "folder"), ("--ddim_steps", "sampling"),
                                        ("--scale", "guidance"), ("--run", "folder"),
                                        ("--config", "the model's config")])
def test_the_same_words_for_the_same_thing(parsers, flag, word):
    for module, parser in parsers.items():
        for action in parser._actions:
            assert flag not in action.option_strings or action.help.startswith(word), (module, action.help)


def test_long_help_is_in_groups(parsers):
    for module, parser in parsers.items():
        loose = [a for a in parser._optionals._group_actions if a.option_strings]
        assert len(loose) <= 16, (module, "more flags than a screen has lines belong into groups")


def test_commands_are_broken_between_words():
    assert wrap_command('python x.py --prompt "a b  c" --n 1', 28) == (
        '  python x.py \\\n      --prompt "a b  c" \\\n      --n 1')


@pytest.mark.parametrize("environment", [
    {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"NO_COLOR": "1"}])
def test_a_terminal_without_utf8_and_colour(environment, tmp_path):
    """What is said of names that the terminal's encoding lacks is escaped; nothing is a traceback."""
    done = subprocess.run([sys.executable, "txt2img.py", "--ckpt_path", tmp_path / "사과.ckpt"], cwd=ROOT,
                          env=os.environ | environment, capture_output=True, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith(b"error: ") and b"\x1b[" not in done.stderr
    assert b"\\uc0ac" in done.stderr or "사과".encode() in done.stderr


def test_completion_in_the_shell(tmp_path):
    """What a shell asks by way of argcomplete, it gets, without torch being imported."""
    pytest.importorskip("argcomplete")

    def complete(line: str, script: list[str], words: int) -> list[str]:
        file = tmp_path / "out"
        subprocess.run([sys.executable, *script], cwd=ROOT, timeout=60, check=False, env=os.environ | {
            "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": str(words), "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(file), "_ARGCOMPLETE_SHELL": "bash"})
        return [part.strip() for part in file.read_text().splitlines()]

    assert complete("python txt2img.py --ddim_s", ["txt2img.py"], 2) == ["--ddim_steps"]
    assert complete("python train_new.py --fit ", ["train_new.py"], 2) == ["crop", "pad", "random", "squeeze"]
    assert "--export" in complete("python -m check.check_model --", ["-m", "check.check_model"], 3)


def test_every_command_can_be_completed():
    for module in COMMANDS:
        head = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")[:1024]
        assert "PYTHON_ARGCOMPLETE_OK" in head, module


def test_a_flag_that_nobody_knows_is_an_error_of_one_line():
    with pytest.raises(UserError, match="--no_such.*see --help"):
        CommandParser().parse_args(["--no_such"])


def test_json_is_read_by_anything():
    from ldm.cli import print_json
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        print_json({"file": ROOT / "사과.png"})
    assert out.getvalue().isascii() and "\\uc0ac" in out.getvalue()


def test_commands_to_copy_are_quoted_for_the_shell():
    assert command_line("python", "x.py", "--prompt", "a photo of a *", "it's") == (
        "python x.py --prompt 'a photo of a *' 'it'\"'\"'s'")
