"""What the command lines share: one-line errors, on/off flags, config overrides, printed tables."""

from __future__ import annotations

import argparse
import difflib
import errno
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldm import interrupt
from ldm.errors import UserError
from ldm.util import accepted_parameters, get_obj_from_str, merge_configs

ON, OFF = ("yes", "true", "t", "y", "1", "on"), ("no", "false", "f", "n", "0", "off")


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser that shows defaults, has -d for all commands, and reports what is wrong as a UserError."""

    debug = False  # whether the command under way was called with -d

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"formatter_class": Formatter} | kwargs)
        self.add_argument("-d", "--debug", action="store_true", help="show tracebacks")

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{message}; see --help")

    def parse_known_args(  # type: ignore[override]  # without typeshed's overloads for a namespace and for none
            self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse has it; -d may be followed by true or false."""
        rest: list[str] = []
        for argument in map(str, sys.argv[1:] if args is None else args):
            if rest and rest[-1] in ("-d", "--debug") and argument.lower() in ON + OFF:
                if argument.lower() in OFF:
                    rest.pop()
                continue
            rest.append(argument)
        CommandParser.debug = bool({"-d", "--debug"} & set(rest))
        return super().parse_known_args(rest, namespace)


class Formatter(argparse.HelpFormatter):
    """Says the default of every flag that has one, unless its help says it in other words."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        silent = action.default in (None, False, argparse.SUPPRESS) or not action.option_strings or "default" in text
        return text if silent else f"{text} (default: %(default)s)"


def first_line(error: Exception) -> str:
    """The first line of an exception's message, or its name if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def run_command(main: Callable[[], None]) -> None:
    """Call main; a UserError becomes one line on stderr and exit status 2. With --debug the traceback is shown."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.showwarning = lambda message, *args, **kwargs: print(f"warning: {message}", file=sys.stderr)
    interrupt.running = True
    try:
        main()
    except UserError as error:
        if CommandParser.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR):
            raise
        print(f"error: {error.filename or 'writing'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    finally:
        interrupt.running = False


def on_off(text: str) -> bool:
    """An argparse type: yes/no, true/false, 1/0."""
    if text.lower() in ON:
        return True
    if text.lower() in OFF:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def add_switch(parser: argparse.ArgumentParser, *names: str, default: bool | None, help: str) -> None:
    """Add a flag that stands alone or takes true or false. A default of None tells that nobody gave the flag."""
    parser.add_argument(*names, type=on_off, const=True, nargs="?", default=default, metavar="true|false", help=help)


def check_overrides(overrides: Sequence[str]) -> None:
    """Raises UserError for an argument that is not key.path=value."""
    for override in overrides:
        if override.startswith("-") or "=" not in override:
            raise UserError(f"argument {override!r} is neither a flag nor key.path=value; see --help")


def valid_keys(config: Mapping[Any, Any], prefix: str = "") -> tuple[set[str], set[str]]:
    """(keys a config has or its targets take, prefixes below which any key goes)."""
    keys: set[str] = set()
    open_prefixes: set[str] = set()
    for name, value in config.items():
        key = f"{prefix}{name}"
        keys.add(key)
        if isinstance(value, dict):
            below, open_below = valid_keys(value, f"{key}.")
            keys, open_prefixes = keys | below, open_prefixes | open_below
    if "target" in config:
        accepted = accepted_parameters(get_obj_from_str(config["target"]))
        if accepted is None:
            open_prefixes.add(f"{prefix}params.")
        else:
            keys |= {f"{prefix}params.{name}" for name in accepted}
            open_prefixes |= {f"{prefix}params.{name}." for name in accepted - set(config.get("params") or {})}
    return keys, open_prefixes


def apply_overrides(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config with `key.path=value` overrides merged in. Raises UserError for a key that nothing reads."""
    from pytorch_lightning import Trainer

    check_overrides(overrides)
    content = OmegaConf.to_container(config)
    assert isinstance(content, dict)
    keys, open_prefixes = valid_keys(content)
    keys.add("lightning.modelcheckpoint.params.every_n_train_steps")
    keys |= {f"lightning.trainer.{p}" for p in inspect.signature(Trainer.__init__).parameters if p != "self"}
    for override in overrides:
        key = override.partition("=")[0]
        if key not in keys and not any(key.startswith(p) for p in open_prefixes):
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)[0]
            raise UserError(f"{key!r} is no key of the config; the nearest is {near!r}")
    try:
        return merge_configs(config, OmegaConf.from_dotlist(list(overrides)))
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError(f"an override does not fit the config: {first_line(error)}") from error


def quiet_lightning() -> None:
    """Keep what the user can act on: no banners, and no warnings about what is so by design."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in (".*module.* in eval mode.*", ".*does not have many workers.*", ".*LeafSpec.*",
                    ".*smaller than the logging interval.*", ".*was not set, defaulting.*",
                    ".*dataloader is not resumable.*", ".*have no logger configured.*"):
        warnings.filterwarnings("ignore", message)


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under a header, columns aligned; numbers to the right."""
    cells = [[f"{c:,}" if isinstance(c, int) else f"{c:.3f}" if isinstance(c, float) else str(c) for c in row]
             for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for n, row in enumerate(cells):
        values = rows[n - 1] if n else header
        print("  ".join(cell.rjust(w) if isinstance(value, int | float) else cell.ljust(w)
                        for cell, w, value in zip(row, widths, values, strict=True)).rstrip())
        if n == 0:
            print("  ".join("-" * w for w in widths))
