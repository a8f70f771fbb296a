"""A config to an instance, a name to a file: what every part of the project builds with."""

from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldm.configs import BASE, load_config, merge_configs, read_yaml
from ldm.errors import UserError
from ldm.schema import accepted_parameters, check_arguments
from ldm.targets import ALIASES, REGISTERED, ROOT, get_obj_from_str, trust_targets

__all__ = ["ALIASES", "BASE", "REGISTERED", "ROOT", "accepted_parameters", "get_obj_from_str",
           "instantiate_from_config", "load_config", "merge_configs", "read_yaml", "resolve_file", "resolve_folder",
           "trust_targets", "version"]

# What a constructor says with these is about what the config gave it; the cause stays in the chain.
REFUSALS = (ValueError, TypeError, RuntimeError, AssertionError, ArithmeticError, LookupError, AttributeError,
            MemoryError)


def instantiate_from_config(config: Any, **kwargs: Any) -> Any:
    """Build `config.target` with `config.params` and kwargs.

    A parameter that the target does not take is left out and named in one warning: published configs carry
    parameters that have lost their meaning. Raises UserError if there is no target, if it may not be named
    (`get_obj_from_str`), and if it refuses its arguments.
    """
    if not hasattr(config, "get") or "target" not in config:
        keys = ", ".join(map(str, config)) if hasattr(config, "get") else repr(config)
        raise UserError(f"the config has no `target:` to instantiate (keys: {keys or 'none'})")
    target = get_obj_from_str(config["target"])
    try:
        params = config.get("params") or {}
        plain: Any = OmegaConf.to_container(params, resolve=True) if isinstance(params, DictConfig) else params
    except OmegaConfBaseException as error:
        raise UserError(f"{config['target']}: {' '.join(str(error).split())}") from error
    if not hasattr(plain, "items"):
        raise UserError(f"{config['target']}: its params are {plain!r}, and must be a mapping")
    params = dict(plain)
    accepted = None if config["target"] == "torch.nn.Identity" else accepted_parameters(target)
    unused = [] if accepted is None else sorted(set(params) - accepted)
    if unused:
        warnings.warn(f"{config['target']}: parameters without a meaning here are left out: {', '.join(unused)}",
                      stacklevel=2)
    params = check_arguments("", target, {k: v for k, v in params.items() if k not in unused}) | kwargs
    try:
        inspect.signature(target).bind(**params)
    except TypeError as error:
        raise UserError(f"{config['target']}: {error}") from error
    try:
        return target(**params)
    except REFUSALS as error:
        message = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{config['target']}: {message}") from error


def resolve_folder(name: str) -> str:
    """A folder named in a config: as it is, inside this project, or in its models/ under the name it has on the model
    hub; any other name is left for the hub."""
    for folder in (Path(name), ROOT / name, ROOT / "models" / name):
        if folder.is_dir():
            return str(folder)
    return name


def resolve_file(name: str) -> str:
    """A file named in a config: as it is, or where `resolve_folder` finds its folder."""
    return name if Path(name).is_file() else str(Path(resolve_folder(str(Path(name).parent)), Path(name).name))


def quoted(text: str, most: int = 200) -> str:
    """A text in quotes for a message, in one line, cut after so many letters."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}... ({len(text):,} letters)"


def version() -> str:
    """The project's version."""
    return re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[0]
