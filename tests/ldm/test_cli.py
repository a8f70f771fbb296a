"""Flags, overrides, switches, errors and tables of the command lines."""

import argparse
import errno

import pytest
from omegaconf import OmegaConf

from ldm import cli
from ldm.errors import UserError
from load import load_config
from tests.conftest import ROOT


@pytest.fixture
def config():
    return load_config(ROOT / "configs/latent-diffusion/txt2img-1p4B-finetune.yaml")


@pytest.mark.parametrize("key, value", [
    ("data.params.batch_size", 2), ("lightning.trainer.max_steps", 10), ("lightning.trainer.precision", "bf16-mixed"),
    ("lightning.trainer.accumulate_grad_batches", 2), ("data.params.train.params.center_crop", True),
    ("lightning.callbacks.image_logger.params.log_images_kwargs.ddim_steps", 5),
    ("model.params.personalization_config.params.num_vectors_per_token", 3),
    ("model.params.cond_stage_config.params.tokenizer", "models/ldm/emoji/tokenizer")])
def test_keys_that_something_reads(config, key, value):
    assert OmegaConf.select(cli.apply_overrides(config, [f"{key}={value}"]), key) == value


@pytest.mark.parametrize("key, nearest", [
    ("data.params.batchsize", "data.params.batch_size"), ("lightning.trainer.maxsteps", "lightning.trainer.max_steps"),
    ("model.params.timestep", "model.params.timesteps"),
    ("data.params.train.params.centre_crop", "data.params.train.params.center_crop")])
def test_other_keys_name_the_nearest(config, key, nearest):
    with pytest.raises(UserError, match=nearest):
        cli.apply_overrides(config, [f"{key}=1"])


def test_switches():
    parser = argparse.ArgumentParser()
    cli.add_switch(parser, "-t", "--train", default=False, help="")
    read = [parser.parse_args(arguments).train for arguments in ([], ["-t"], ["-t", "false"], ["--train", "True"])]
    assert read == [False, True, False, True]
    with pytest.raises(SystemExit):
        parser.parse_args(["-t", "perhaps"])


def test_tables(capsys):
    cli.print_table(("name", "count"), [("a", 1000), ("bcd", 2)])
    assert capsys.readouterr().out.splitlines() == ["name  count", "----  -----", "a     1,000", "bcd       2"]


@pytest.mark.parametrize("arguments, debug, left", [
    ([], False, []), (["-d"], True, []), (["--debug"], True, []), (["-d", "true"], True, []),
    (["-d", "false"], False, []), (["--debug", "False", "word"], False, ["word"]), (["-d", "1"], True, []),
    (["-d", "word"], True, ["word"]), (["word", "-d", "off"], False, ["word"]),
    (["true", "-d"], True, ["true"])])
def test_debug_stands_alone_or_takes_true_or_false(monkeypatch, arguments, debug, left):
    monkeypatch.setattr(cli.CommandParser, "debug", not debug)
    parser = cli.CommandParser()
    parser.add_argument("words", nargs="*")
    opt = parser.parse_args(arguments)
    assert opt.debug is debug and cli.CommandParser.debug is debug and opt.words == left


def test_arguments_come_from_the_command_line_unless_given(monkeypatch):
    monkeypatch.setattr("sys.argv", ["command", "--number", "3", "-d", "false"])
    parser = cli.CommandParser()
    parser.add_argument("--number", type=int)
    assert parser.parse_args().number == 3 and parser.parse_args([]).number is None
    assert parser.parse_args(["--number", 5]).number == 5, "numbers too"


def test_help_says_the_defaults():
    parser = cli.CommandParser(description="What it does.")
    parser.add_argument("word", help="a word")
    parser.add_argument("--count", default=3, help="how many")
    parser.add_argument("--side", default=4, help="in pixels; default: enough")
    parser.add_argument("--name", help="a name")
    parser.add_argument("--fast", action="store_true", help="no waiting")
    cli.add_switch(parser, "-t", "--train", default=True, help="learn")
    text = " ".join(parser.format_help().split())
    for words in ("What it does.", "how many (default: 3)", "in pixels; default: enough", "learn (default: True)",
                  "-t [true|false]", "-d, --debug show tracebacks"):
        assert words in text, text
    assert text.count("(default: ") == 2, text


def test_what_is_wrong_with_arguments_is_a_user_error():
    parser = cli.CommandParser()
    parser.add_argument("--count", type=int)
    with pytest.raises(UserError, match="--count.*three.*see --help"):
        parser.parse_args(["--count", "three"])
    with pytest.raises(UserError, match="--cuont"):
        parser.parse_args(["--cuont", "3"])


@pytest.mark.parametrize("override", ["--max_steps", "max_steps", "-x=3"])
def test_what_is_neither_a_flag_nor_an_override(override):
    with pytest.raises(UserError, match=f"{override}.*neither a flag nor key.path=value"):
        cli.check_overrides(["a.b=1", override])
    cli.check_overrides(["a.b=1", "c=--x"])


def fail(error):
    def main():
        raise error
    return main


@pytest.mark.parametrize("error, status, line", [
    (UserError("x.pt: no such file"), 2, "error: x.pt: no such file"),
    (OSError(errno.ENOSPC, "No space left on device", "big.ckpt"), 2, "error: big.ckpt: No space left on device"),
    (OSError(errno.EROFS, "Read-only file system"), 2, "error: writing: Read-only file system"),
    (KeyboardInterrupt(), 130, "stopped")])
def test_what_a_user_can_mend_is_one_line(monkeypatch, capsys, error, status, line):
    monkeypatch.setattr(cli.CommandParser, "debug", False)
    with pytest.raises(SystemExit) as stop:
        cli.run_command(fail(error))
    assert stop.value.code == status and capsys.readouterr().err == line + "\n"


def test_other_errors_and_debugging_show_where_it_happened(monkeypatch):
    monkeypatch.setattr(cli.CommandParser, "debug", False)
    for error in (KeyError("x"), OSError(errno.EIO, "Input/output error")):
        with pytest.raises(type(error)):
            cli.run_command(fail(error))
    monkeypatch.setattr(cli.CommandParser, "debug", True)
    with pytest.raises(UserError):
        cli.run_command(fail(UserError("x")))


def test_warnings_are_one_line_on_stderr(capsys):
    import warnings
    kept = warnings.showwarning
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            cli.run_command(lambda: warnings.warn("take care", stacklevel=2))
    finally:
        warnings.showwarning = kept
    assert capsys.readouterr().err == "warning: take care\n"
