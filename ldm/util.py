"""A string to an object, a config to an instance, a name to a file: what every part of the project builds with."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldm.errors import UserError

ROOT = Path(__file__).resolve().parent.parent  # the project's folder

# Targets by other names that configs in the world have for them; load.py adds those of the published code.
ALIASES: dict[str, str] = {}

BASE = "base"  # key of a config that names the config it goes on top of


def get_obj_from_str(string: str, reload: bool = False) -> Any:
    """The object a dotted name stands for: "torch.nn.Identity" -> that class. Raises UserError where there is none."""
    string = ALIASES.get(string, string)
    module_name, _, name = string.rpartition(".")
    try:
        module = importlib.import_module(module_name)
        return getattr(importlib.reload(module) if reload else module, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"target {string!r} cannot be loaded: {error}") from error


def accepted_parameters(target: Callable[..., Any]) -> set[str] | None:
    """Names of the arguments a class takes, through its base classes' `**kwargs`; None if it takes any name."""
    names: set[str] = set()
    for cls in inspect.getmro(target) if inspect.isclass(target) else (target,):
        if inspect.isclass(cls) and "__init__" not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__ if inspect.isclass(cls) else cls).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names - {"self"}
    return None


def instantiate_from_config(config: Any, **kwargs: Any) -> Any:
    """Build `config.target` with `config.params` and kwargs.

    A parameter that the target does not take is left out and named in one warning: published configs carry
    parameters that have lost their meaning. Raises UserError if there is no target or it refuses its arguments.
    """
    if "target" not in config:
        raise UserError(f"the config has no `target:` to instantiate (keys: {', '.join(config) or 'none'})")
    target = get_obj_from_str(config["target"])
    params = config.get("params") or {}
    plain: Any = OmegaConf.to_container(params, resolve=True) if isinstance(params, DictConfig) else params
    params = dict(plain)
    accepted = None if config["target"] == "torch.nn.Identity" else accepted_parameters(target)
    unused = [] if accepted is None else sorted(set(params) - accepted)
    if unused:
        warnings.warn(f"{config['target']}: parameters without a meaning here are left out: {', '.join(unused)}",
                      stacklevel=2)
    params = {k: v for k, v in params.items() if k not in unused} | kwargs
    try:
        inspect.signature(target).bind(**params)
    except TypeError as error:
        raise UserError(f"{config['target']}: {error}") from error
    try:
        return target(**params)
    except ValueError as error:
        raise UserError(f"{config['target']}: {error}") from error


def read_yaml(path: str | Path) -> DictConfig:
    """One YAML file as it stands. Raises UserError for one that cannot be read or is no mapping."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such config file")
    try:
        config = OmegaConf.load(path)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a YAML config ({' '.join(str(error).split())})") from error
    if not isinstance(config, DictConfig):
        raise UserError(f"{path}: a config must be a mapping")
    return config


def merge_configs(*configs: Mapping[Any, Any]) -> DictConfig:
    """One config of several mappings, later ones over earlier ones. Raises OmegaConfBaseException where they do not fit
    together."""
    merged = OmegaConf.merge(*configs)
    assert isinstance(merged, DictConfig)  # as it is of mappings
    return merged


def load_config(*paths: str | Path) -> DictConfig:
    """Read YAML files and merge them, later ones over earlier ones.

    A file that names another under `base:` (beside itself, or by a longer path) goes on top of that one. Raises
    UserError for a file that cannot be read, and for files that are each other's base.
    """
    configs = []
    for path in map(Path, paths):
        layers: list[DictConfig] = []
        seen: list[Path] = []
        following: Path | None = path
        while following is not None:
            if following.resolve() in seen:
                raise UserError(f"{path}: its `{BASE}:` leads back to {following}")
            seen.append(following.resolve())
            layers.insert(0, config := read_yaml(following))
            name = config.pop(BASE, None)
            following = following.parent / str(name) if name is not None else None
        configs += layers
    return merge_configs(*configs)


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
