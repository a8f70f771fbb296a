"""YAML to configs, as data and nothing else: bounded in size, without tags, without functions in `${...}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldm.errors import UserError

BASE = "base"  # key of a config that names the config it goes on top of

MOST_BYTES = 256 * 1024  # of a file; the largest config here has 4 kB
MOST_NODES = 20_000      # of what a file stands for, its references expanded; 64 letters count as one more

# The one kind of `${...}` there is: another key of the config. OmegaConf's others read the environment and call
# functions.
REFERENCE = re.compile(r"\$\{(\w[\w-]*(?:\.\w[\w-]*)*)\}")


class _Loader(yaml.SafeLoader):
    """YAML with the numbers people mean: 1:40 is no 100 and 010 no 8, they are text; 1e-4 is a number."""


_TAG = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers
             if tag.removeprefix(_TAG) not in ("timestamp", "int", "float", "value")]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(
    r"(?:[-+]?(?:0|[1-9][0-9_]*)|[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F_]+)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", re.compile(
    r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"), list("-+0123456789."))


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """How many nodes a node stands for with its references expanded. Raises yaml.YAMLError for one that holds itself,
    and for keys and texts that no config has."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise yaml.YAMLError("a value that holds itself")
        return sizes[id(node)]
    sizes[id(node)] = 0  # under way
    size = 1
    if isinstance(node, yaml.ScalarNode):
        size += len(node.value) // 64
        if "${" in node.value and not REFERENCE.fullmatch(node.value):
            raise yaml.YAMLError(f"{node.value[:60]!r}: ${{...}} may only be the path of another key, ${{a.b}}")
        if not node.value.isascii():
            try:
                node.value.encode()
            except UnicodeEncodeError as error:
                raise yaml.YAMLError("a text that is not valid Unicode") from error
    elif isinstance(node, yaml.MappingNode):
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(keys) < len(node.value) or not {tag.removeprefix(_TAG) for tag, _ in keys} <= {"str", "merge"}:
            raise yaml.YAMLError(f"a key that is not text, in line {node.start_mark.line + 1}; put it in quotes")
        if len(set(keys)) < len(keys):
            twice = next(value for n, (_, value) in enumerate(keys) if value in [v for _, v in keys[:n]])
            raise yaml.YAMLError(f"the key {twice[:60]!r} twice, in line {node.start_mark.line + 1} and after")
        size += sum(_size(child, sizes) for pair in node.value for child in pair)
    else:
        size += sum(_size(child, sizes) for child in node.value)
    sizes[id(node)] = size
    return size


def parse_yaml(text: str) -> Any:
    """What a YAML text stands for: None, text, numbers, lists and dicts with text for keys.

    Raises UserError, with one line that says why, for any other text, and for one that stands for too much.
    """
    try:
        if len(text) > MOST_BYTES:
            raise yaml.YAMLError(f"more than {MOST_BYTES // 1024} kB")
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST_NODES:
            raise yaml.YAMLError(f"more than {MOST_NODES} values, its references expanded")
        return loader.construct_document(node)
    except RecursionError as error:
        raise UserError("nested too deeply") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, LookupError) as error:
        raise UserError(" ".join(str(error).split())) from error


def read_yaml(path: str | Path) -> DictConfig:
    """One YAML file as it stands. Raises UserError for one that cannot be read or is no mapping."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such config file")
    try:
        with open(path, "rb") as file:
            content = parse_yaml(file.read(MOST_BYTES + 1).decode("utf-8-sig"))
        config = OmegaConf.create({} if content is None else content) if isinstance(content, dict | None) else None
    except (UserError, OmegaConfBaseException, ValueError, OSError) as error:
        raise UserError(f"{path}: not a YAML config ({' '.join(str(error).split())})") from error
    if not isinstance(config, DictConfig):
        raise UserError(f"{path}: a config must be a mapping")
    return config


def merge_configs(*configs: Mapping[Any, Any]) -> DictConfig:
    """One config of several mappings, later ones over earlier ones. Raises UserError where they do not fit together."""
    try:
        merged = OmegaConf.merge(*configs)
    except (OmegaConfBaseException, ValueError, TypeError, AssertionError) as error:
        raise UserError(f"the configs do not fit together: {' '.join(str(error).split())}") from error
    if not isinstance(merged, DictConfig):
        raise UserError("the configs do not fit together: a config must be a mapping")
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
            if not isinstance(name, str | None) or "\0" in (name or ""):
                raise UserError(f"{following}: its `{BASE}:` must be the name of a config file")
            following = following.parent / name if name is not None else None
        configs += layers
    merged = merge_configs(*configs)
    resolved(merged, missing_ok=True)  # bounded, whatever is done with it
    return merged


def resolved(config: Mapping[Any, Any], missing_ok: bool = False) -> dict[str, Any]:
    """A config as plain dicts and lists, `${key.path}` replaced by what stands there.

    Raises UserError for a reference that leads nowhere, unless missing_ok, or back to itself, for a value that is still
    to be given (???), and for references that make more than MOST_NODES values.
    """
    root: Any = OmegaConf.to_container(config) if isinstance(config, DictConfig) else config
    count = 0

    def expand(value: Any, key: str, seen: tuple[str, ...]) -> Any:
        nonlocal count
        count += 1
        if count > MOST_NODES:
            raise UserError(f"the config stands for more than {MOST_NODES} values, its references expanded")
        if isinstance(value, Mapping):
            return {k: expand(v, f"{key}.{k}" if key else str(k), seen) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [expand(v, f"{key}[{n}]", seen) for n, v in enumerate(value)]
        if value == "???" and isinstance(value, str) and not missing_ok:
            raise UserError(f"{key}=???: a value is still to be given")
        if not isinstance(value, str) or "${" not in value:
            return value
        match = REFERENCE.fullmatch(value)
        if match is None:
            raise UserError(f"{key}={value[:60]}: ${{...}} may only be the path of another key, ${{a.b}}")
        if match[1] in seen:
            raise UserError(f"{key}={value}: leads back to itself")
        target: Any = root
        for name in match[1].split("."):
            if not isinstance(target, Mapping) or name not in target:
                if missing_ok:
                    return value
                raise UserError(f"{key}={value}: the config has no key {match[1]!r}")
            target = target[name]
        return expand(target, key, (*seen, match[1]))

    return {k: expand(v, str(k), ()) for k, v in root.items()}
