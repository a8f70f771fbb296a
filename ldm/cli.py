"""What the command lines share: one-line errors, kinds of flags, config overrides, printed tables."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import inspect
import io
import json
import logging
import os
import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ldm import interrupt, progress
from ldm.configs import merge_configs, parse_yaml
from ldm.errors import UserError
from ldm.parser import OFF, ON, readable
from ldm.parser import CommandParser as CommandParser
from ldm.placeholders import check_placeholder
from ldm.schema import Range, accepted_parameters, show, strip
from ldm.targets import get_obj_from_str, trust_targets


def command_line(*arguments: object) -> str:
    """Arguments as a shell reads them: to be copied into one, on Windows into its own."""
    words = [str(a) for a in arguments]
    if os.name != "nt":
        return shlex.join(words)
    import subprocess

    return subprocess.list2cmdline(words)


def print_json(written: Any) -> None:
    """Print on stdout what was written; letters beyond ASCII are escaped, so that any terminal and program reads it."""
    print(json.dumps(written, indent=1, default=str))


def first_line(error: Exception) -> str:
    """The first line of an exception's message, or its name if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def prepare_streams() -> None:
    """Make sure that whatever is printed can be: text that a terminal's encoding lacks is escaped, and a stream that
    was closed is the null device. Python that has no UTF-8 for names of files is started again with it."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # open to the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_output() -> int:
    """Write out what was printed; 1 where nobody reads it any more, as behind `| head`."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "w") as null:  # so that Python does not try again when it ends
            os.dup2(null.fileno(), sys.stdout.fileno())
        return 1
    return 0


def run_command(main: Callable[[], None]) -> None:
    """Call main; a UserError becomes one line on stderr and exit status 2. With --debug the traceback is shown, with
    what caused the error."""
    prepare_streams()
    trust_targets(False)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.showwarning = lambda message, *args, **kwargs: progress.say(f"warning: {message}")
    status: Any = 0
    interrupt.running = True
    try:
        main()
    except SystemExit as stop:
        status = stop.code
    except KeyboardInterrupt:
        status = report("stopped", 130)
    except BrokenPipeError:
        status = 1
    except Exception as error:
        line = one_line(error)
        if line is None or CommandParser.debug:
            raise
        status = report(f"error: {line}", 2)
    finally:
        interrupt.running = False
    unread = flush_output()
    if status or unread:
        sys.exit(status or unread)


def report(line: str, status: int) -> int:
    """Print a line on stderr, if anybody reads it, and return the status."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)
    return status


def one_line(error: Exception) -> str | None:
    """What to tell somebody who can mend the cause of an error; None for a fault of this program."""
    if isinstance(error, UserError):
        return " ".join(str(error).splitlines())
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS,
                                                      errno.ENOTDIR):
        return f"{error.filename or 'writing'}: {error.strerror}"
    if type(error).__name__ == "MisconfigurationException":  # Lightning's
        return f"lightning.trainer: {first_line(error)}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or isinstance(
            error, RuntimeError) and ("not enough memory" in str(error) or "can't allocate memory" in str(error)):
        return "not enough memory; take fewer pictures at a time, smaller ones, or a smaller model"
    return None


def number(kind: type[int] | type[float], low: float, high: float, above: bool = False) -> Callable[[str], Any]:
    """An argparse type: whole numbers, or any, from low to high, without low itself if `above`."""
    allowed = Range(low, high, above)
    pattern = r"[-+]?\d{1,30}" if kind is int else r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?"

    def read(text: str) -> Any:
        if re.fullmatch(pattern, text, re.ASCII) and allowed.allows(kind(text)):
            return kind(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole ' * (kind is int)}number {allowed}")

    return read


# Kinds of numbers that flags take.
count = number(int, 1, 10**9)
natural = number(int, 0, 10**9)
pixels = number(int, 1, 2**15)
training_seed = number(int, 0, 2**32 - 1)
picture_seed = number(int, 0, 2**63 - 10**6)
share = number(float, 0, 1)
weight = number(float, 0, 1e6)
positive = number(float, 0, 1e6, above=True)
rate = number(float, 0, 1000, above=True)
guidance = number(float, -1000, 1000)
strength = number(float, 0, 2)


def word(text: str) -> str:
    """An argparse type: text that is not empty, without spaces and quotes around it."""
    if not strip(text):
        raise argparse.ArgumentTypeError(f"{text!r} is empty")
    return strip(text)


def one_of(*names: str) -> Callable[[str], str]:
    """An argparse type: one of some names."""
    def read(text: str) -> str:
        if text in names:
            return text
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(names)}")

    return read


def renaming(text: str) -> tuple[str, str]:
    """(old, new) of OLD=NEW. Raises UserError for anything else, and for what cannot name a word."""
    old, _, new = (part.strip() for part in text.partition("="))
    if not old or not new:
        raise UserError(f"--rename {text}: give OLD=NEW, such as \"*=<cat-toy>\"")
    try:
        check_placeholder(new)
    except UserError as error:
        raise UserError(f"--rename: {error}") from error
    return old, new


def gpu_numbers(text: str) -> str:
    """An argparse type: numbers of GPUs, such as 0 or 0,1."""
    numbers = [n for n in text.replace(" ", "").split(",") if n]
    wrong = [n for n in numbers if not re.fullmatch(r"\d{1,4}", n, re.ASCII)]
    if wrong or text and not numbers or len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(f"{text!r}: give GPU numbers such as 0 or 0,1, each once")
    return ",".join(numbers)


def gpu_number(text: str) -> str:
    """An argparse type: the number of one GPU."""
    if "," in (numbers := gpu_numbers(text)):
        each = " and ".join(f"--gpus {n}" for n in numbers.split(","))
        raise argparse.ArgumentTypeError(f"{text!r}: this command works on one GPU and does not share its work; run it "
                                         f"once for each, with {each}")
    return numbers


def on_off(text: str) -> bool:
    """An argparse type: yes/no, true/false, 1/0."""
    if text.lower() in ON:
        return True
    if text.lower() in OFF:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def add_switch(parser: argparse._ActionsContainer, *names: str, default: bool | None, help: str) -> None:
    """Add a flag that stands alone or takes true or false. A default of None tells that nobody gave the flag."""
    parser.add_argument(*names, type=on_off, const=True, nargs="?", default=default, metavar="true|false", help=help)


def check_overrides(overrides: Sequence[str]) -> None:
    """Raises UserError for an argument that is not key.path=value."""
    for override in readable(overrides):
        if override.startswith("-") or "=" not in override:
            raise UserError(f"argument {override!r} is neither a flag nor key.path=value; see --help")


def valid_keys(config: Mapping[Any, Any], prefix: str = "") -> tuple[set[str], set[str]]:
    """(keys a config has or its targets take, prefixes below which any key goes)."""
    keys: set[str] = set()
    open_prefixes: set[str] = set()
    accepted = None
    params = config.get("params") or {}
    if "target" in config and isinstance(params, dict):
        accepted = accepted_parameters(get_obj_from_str(config["target"]))
        if accepted is None:
            open_prefixes.add(f"{prefix}params.")
        else:
            keys |= {f"{prefix}params.{name}" for name in accepted}
            open_prefixes |= {f"{prefix}params.{name}." for name in accepted - set(params)}
    for name, value in config.items():
        keys.add(f"{prefix}{name}")
        if not isinstance(value, dict):
            continue
        if name == "params" and accepted is not None:  # a target under a parameter that is left out means nothing
            keys |= {f"{prefix}params.{parameter}" for parameter in params}
            value = {parameter: v for parameter, v in params.items() if parameter in accepted}
        below, open_below = valid_keys(value, f"{prefix}{name}.")
        keys, open_prefixes = keys | below, open_prefixes | open_below
    return keys, open_prefixes


def apply_overrides(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config with `key.path=value` overrides merged in. Raises UserError for a key that nothing reads, and for a
    value that is no YAML; `ldm.checks.check_config` says what else may be wrong with it."""
    from pytorch_lightning import Trainer

    check_overrides(overrides)
    content = OmegaConf.to_container(config)
    assert isinstance(content, dict)
    keys, open_prefixes = valid_keys(content)
    keys |= {"lightning.modelcheckpoint.params.every_n_train_steps", "model.lr_schedule"}
    keys |= {f"lightning.trainer.{p}" for p in inspect.signature(Trainer.__init__).parameters if p != "self"}
    for override in readable(overrides):
        key, _, text = override.partition("=")
        if key not in keys and not any(key.startswith(p) for p in open_prefixes):
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)[0]
            raise UserError(f"{key!r} is no key of the config; the nearest is {near!r}")
        if text.strip() == "???":  # which OmegaConf takes for a value to be given later
            raise UserError(f"{show(override)}: give a value")
        try:
            value = parse_yaml(text)
            for name in reversed(key.split(".")):
                value = {name: value}
            config = merge_configs(config, value)
        except UserError as error:
            raise UserError(f"{show(override)}: the value does not fit ({error})") from error
    return config


def quiet_lightning() -> None:
    """Keep what the user can act on: no banners, and no warnings about what is so by design."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for message in (".*module.* in eval mode.*", ".*does not have many workers.*", ".*LeafSpec.*",
                    ".*smaller than the logging interval.*", ".*was not set, defaulting.*",
                    ".*dataloader is not resumable.*", ".*have no logger configured.*"):
        warnings.filterwarnings("ignore", message)


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under a header, columns aligned; numbers to the right. On a terminal long text is broken into lines,
    so that rows are as wide as it at most."""
    cells = [[f"{c:,}" if isinstance(c, int) else f"{c:.3f}" if isinstance(c, float) else str(c) for c in row]
             for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    if progress.is_terminal(sys.stdout):
        widths = narrowed(widths, shutil.get_terminal_size().columns)
    for n, row in enumerate(cells):
        values = rows[n - 1] if n else header
        columns = [wrap(cell, width) if len(cell) > width else [cell] for cell, width in zip(row, widths, strict=True)]
        for line in zip_longest(*columns, fillvalue=""):
            print("  ".join(cell.rjust(w) if isinstance(value, int | float) else cell.ljust(w)
                            for cell, w, value in zip(line, widths, values, strict=True)).rstrip())
        if n == 0:
            print("  ".join("-" * w for w in widths))


def narrowed(widths: Sequence[int], room: int, least: int = 8) -> list[int]:
    """Widths of columns, two apart, of which the widest are made narrower until all fit, none below `least`."""
    widths = list(widths)
    while sum(widths) + 2 * (len(widths) - 1) > room and max(widths) > least:
        widths[widths.index(max(widths))] -= 1
    return widths
