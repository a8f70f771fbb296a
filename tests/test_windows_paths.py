"""Names of files as Windows has them: drives, backslashes, spaces, at every place where a name is part of something."""

import os
import re
from pathlib import PureWindowsPath
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ldm import cli
from ldm.runs import run_name
from load import load_config
from merge_embeddings import new_names
from tests.conftest import ROOT
from training.flags import get_parser, split_overrides

FOLDERS = ("Users", "내 그림", "my words", "a.b", "x=y", "(1)", "50%")
PATHS = st.builds(lambda drive, parts, name: str(PureWindowsPath(drive, *parts, name)), st.sampled_from(
    ["C:\\", "D:\\", "\\\\server\\share\\", ""]), st.lists(st.sampled_from(FOLDERS), max_size=3),
    st.sampled_from(["word.pt", "my word.pt", "a b.safetensors", "x"]))


def words_of_windows(line: str) -> list[str]:
    """A command line as programs on Windows take it apart: the rules of Microsoft's C run-time."""
    words: list[str] = []
    word, quoted, begun, i = "", False, False, 0
    while i < len(line):
        slashes = len(line[i:]) - len(line[i:].lstrip("\\"))
        if slashes and line[i + slashes : i + slashes + 1] == '"':
            word, begun, i = word + "\\" * (slashes // 2), True, i + slashes
            if slashes % 2:
                word, i = word + '"', i + 1
        elif slashes:
            word, begun, i = word + "\\" * slashes, True, i + slashes
        elif line[i] == '"':
            quoted, begun, i = not quoted, True, i + 1
        elif line[i] in " \t" and not quoted:
            words, word, begun, i = words + [word] * begun, "", False, i + 1
        else:
            word, begun, i = word + line[i], True, i + 1
    return words + [word] * begun


@settings(max_examples=100, deadline=None)
@given(PATHS, st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=20))
def test_commands_to_copy_are_what_windows_reads(path, prompt):
    arguments = ["python", "txt2img.py", "--embedding_path", path, "--prompt", prompt]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "os", SimpleNamespace(name="nt"))
        assert words_of_windows(cli.command_line(*arguments)) == arguments
    if os.name != "nt":
        import shlex
        assert shlex.split(cli.command_line(*arguments)) == arguments


@given(PATHS)
def test_a_file_before_a_new_name_may_have_a_drive(path):
    words = SimpleNamespace(vectors={"*": None})
    assert new_names([path], [words], [f"{path}:*=<dog>"]) == {(0, "*"): "<dog>"}


@settings(max_examples=20, deadline=None)
@given(PATHS)
def test_a_path_is_a_flags_value_and_no_override(path):
    rest, overrides = split_overrides(get_parser(), ["--data_root", path, "--logdir", path, "data.params.batch_size=2"])
    assert rest == ["--data_root", path, "--logdir", path] and overrides == ["data.params.batch_size=2"]
    opt, unknown = get_parser().parse_known_args(rest)
    assert opt.data_root == path and not unknown


@pytest.mark.parametrize("path", ["C:\\Users\\me\\my pictures", "D:\\x", "\\\\server\\share\\a b"])
def test_a_path_is_an_overrides_value(path):
    config = load_config(ROOT / "configs/emoji/finetune.yaml")
    changed = cli.apply_overrides(config, [f"data.params.train.params.data_root={path}"])
    assert OmegaConf.select(changed, "data.params.train.params.data_root") == path


def test_run_folders_have_names_that_windows_takes():
    name = run_name("2026-11-25T10-00-00", "green_apple", "my run", "_x", "")
    assert not re.search(r'[<>:"/\\|?*]', name) and not name.endswith((".", " "))
