"""A dotted name to a class: which classes a config may name, since to name one runs its module and its constructor.

A config comes from whoever made the checkpoint beside it. So a `target:` is a class of this project or of torch.nn, or
one that is registered here. Anything else is not even imported, unless somebody says that the config is to be trusted.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ldm.errors import UserError

ROOT = Path(__file__).resolve().parent.parent  # the project's folder

# Targets by other names that configs in the world have for them; load.py adds those of the published code.
ALIASES: dict[str, str] = {}

# Packages whose classes every config may name; load.py adds the project's others. Not all of the project is among them:
# folders such as logs/ and models/ hold other people's files.
PACKAGES: set[str] = {"ldm", "torch.nn"}

# Full names of further classes that every config may name: REGISTERED.add("my_package.my_module.MyDataset").
REGISTERED: set[str] = set()

# What a target must be a subclass of. Compared by name, so that nothing is imported to find out.
BASES = {("torch.nn.modules.module", "Module"), ("torch.utils.data.dataset", "Dataset"),
         ("pytorch_lightning.core.datamodule", "LightningDataModule"),
         ("pytorch_lightning.callbacks.callback", "Callback")}

TRUST = "may run any code; if you trust the config as you would a program, give --trust_targets"

_trusted = [False]


def trust_targets(trust: bool = True) -> None:
    """From here on configs may name any class, as with --trust_targets: only for configs of people you trust as much as
    their programs, which is what they then are."""
    _trusted[0] = trust


def targets_are_trusted() -> bool:
    """Whether configs may name any class."""
    return _trusted[0]


def is_subclass_by_name(cls: type, names: Iterable[tuple[str, str]]) -> bool:
    """Whether a class or one of its bases has one of the names (module, name)."""
    return bool({(base.__module__, base.__qualname__) for base in inspect.getmro(cls)} & set(names))


def is_own(module_name: str) -> bool:
    """Whether a module belongs to PACKAGES, by its name."""
    return any(module_name == package or module_name.startswith(f"{package}.") for package in PACKAGES)


def _lies_here(module_name: str) -> bool:
    """Whether the package of a module is the one in this project's folder, and not another of its name; torch's is
    where torch is."""
    top = module_name.partition(".")[0]
    if top == "torch":
        return True
    module = sys.modules.get(top) or importlib.util.find_spec(top)
    if module is None:
        return False
    places = getattr(module, "__path__", None) or getattr(module, "submodule_search_locations", None)
    places = list(places or [getattr(module, "__file__", None) or getattr(module, "origin", None) or "/"])
    return all(Path(place).resolve().is_relative_to(ROOT) for place in places)


def _check_name(string: Any) -> str:
    """The module that a target's name says it is in. Raises UserError for one that may not be imported."""
    if not isinstance(string, str) or not all(part.isidentifier() for part in string.split(".")) or "." not in string:
        raise UserError(f"target {string!r} cannot be loaded: it is not the full name of a class, such as "
                        "torch.nn.Identity")
    module_name = string.rpartition(".")[0]
    if targets_are_trusted() or string in REGISTERED:
        return module_name
    if not is_own(module_name):
        raise UserError(f"target {string!r} cannot be loaded: it is not a class of this project or of torch.nn, and "
                        f"{TRUST}")
    if not _lies_here(module_name):
        raise UserError(f"target {string!r} cannot be loaded: another {module_name.partition('.')[0]!r} than this "
                        f"project's ({ROOT}) would be imported; run the command in another folder")
    return module_name


def get_obj_from_str(string: str, reload: bool = False) -> Any:
    """The class a dotted name stands for: "torch.nn.Identity" -> that class.

    It must be a subclass of one of BASES and defined in one of PACKAGES or REGISTERED, where it is not enough that a
    module there has imported it; with `trust_targets`, any class. Raises UserError for anything else.
    """
    string = ALIASES.get(string, string) if isinstance(string, str) else string
    module_name = _check_name(string)
    try:
        module = importlib.import_module(module_name)
        found = getattr(importlib.reload(module) if reload else module, string.rpartition(".")[2])
    except Exception as error:  # a module may fail in any way while it is imported
        raise UserError(f"target {string!r} cannot be loaded: {error}") from error
    if not inspect.isclass(found):
        raise UserError(f"target {string!r} cannot be loaded: it is a {type(found).__name__}, and a target must be a "
                        "class")
    if targets_are_trusted():
        return found
    own = string in REGISTERED or (is_own(found.__module__) and _lies_here(found.__module__))
    if not own or not is_subclass_by_name(found, BASES):
        what = "is defined elsewhere" if not own else f"is no {', '.join(sorted(name for _, name in BASES))}"
        raise UserError(f"target {string!r} cannot be loaded: it {what}, and {TRUST}")
    return found
