"""What the command lines share: one-line errors, on/off flags, config overrides, the choice of device."""

import argparse
import difflib
import errno
import inspect
import os
import sys
import warnings

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldm.errors import UserError
from load import accepted_parameters, get_obj_from_str


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser that reports what is wrong as a UserError: one line."""

    def error(self, message: str):
        raise UserError(f"{message}; see --help")


def first_line(error: Exception) -> str:
    """The first line of an exception's message, or its name if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def run_command(main) -> None:
    """Call main; a UserError becomes one line on stderr and exit status 2. With --debug the traceback is shown."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.showwarning = lambda message, *args, **kwargs: print(f"warning: {message}", file=sys.stderr)
    try:
        main()
    except UserError as error:
        if {"-d", "--debug"} & set(sys.argv):
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


def on_off(text: str) -> bool:
    """An argparse type: yes/no, true/false, 1/0."""
    if text.lower() in ("yes", "true", "t", "y", "1", "on"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0", "off"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def add_switch(parser: argparse.ArgumentParser, *names: str, default: bool, help: str) -> None:
    """A flag that stands alone or takes true or false."""
    parser.add_argument(*names, type=on_off, const=True, nargs="?", default=default, metavar="true|false", help=help)


def valid_keys(config, prefix: str = "") -> tuple[set[str], set[str]]:
    """(keys a config has or its targets take, prefixes below which any key goes)."""
    keys, open_prefixes = set(), set()
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


def apply_overrides(config: DictConfig, overrides: list[str]) -> DictConfig:
    """The config with `key.path=value` overrides merged in. Raises UserError for a key that nothing reads."""
    keys, open_prefixes = valid_keys(OmegaConf.to_container(config))
    keys.add("lightning.modelcheckpoint.params.every_n_train_steps")
    keys |= {f"lightning.trainer.{p}" for p in inspect.signature(pl.Trainer.__init__).parameters if p != "self"}
    for override in overrides:
        key, equals, _ = override.partition("=")
        if override.startswith("-") or not equals:
            raise UserError(f"argument {override!r} is neither a flag nor key.path=value; see --help")
        if key not in keys and not any(key.startswith(p) for p in open_prefixes):
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)[0]
            raise UserError(f"{key!r} is no key of the config; the nearest is {near!r}")
    try:
        return OmegaConf.merge(config, OmegaConf.from_dotlist(overrides))
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError(f"an override does not fit the config: {first_line(error)}") from None


def choose_devices(gpus: str | None) -> tuple[str, list[int] | int]:
    """(accelerator, devices) for Lightning from a list of GPU numbers such as "0", "0," or "0,1"; None is the first
    GPU if there is one. Without a GPU: the CPU, with one line that says so."""
    try:
        wanted = [int(n) for n in (gpus or "0").split(",") if n.strip()] or [0]
    except ValueError:
        raise UserError(f"--gpus {gpus!r}: give GPU numbers such as 0 or 0,1") from None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        if gpus is not None:
            print(f"--gpus {gpus}: this machine has no GPU that PyTorch can use; running on the CPU", file=sys.stderr)
        return "cpu", 1
    missing = [n for n in wanted if not 0 <= n < count]
    if missing:
        raise UserError(f"--gpus {gpus}: there is no GPU {missing[0]}; this machine has 0 to {count - 1}")
    return "gpu", wanted
