"""What values configs may have: types with ranges, and the check of a config against the constructors it names.

The schema is the constructors' own annotations. A parameter annotated `Count` takes whole numbers from 1 up, wherever a
config gives it; one annotated with a `Builds` takes a config of such an object. So every parameter is described once.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
import pkgutil
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ldm.errors import UserError
from ldm.targets import get_obj_from_str, is_own, is_subclass_by_name, targets_are_trusted


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; `above` leaves low itself out, `also` are allowed besides."""

    low: float
    high: float
    above: bool = False
    also: tuple[int, ...] = ()

    def allows(self, number: float) -> bool:
        """Whether a number is in the range; nan never is."""
        return number in self.also or (self.low < number if self.above else self.low <= number) and number <= self.high

    def __str__(self) -> str:
        low = f"above {self.low:g} and at most" if self.above else f"from {self.low:.16g} to"
        return f"{low} {self.high:.16g}" + "".join(f", or {n}" for n in self.also)


@dataclass(frozen=True)
class Stripped:
    """Text without the spaces and quotes around it, which a shell or a YAML file left there; not empty."""


@dataclass(frozen=True)
class Filled:
    """A list of at least one and at most 16 entries."""


@dataclass(frozen=True)
class Builds:
    """A config with target and params, of a subclass of `base`, a full name of a class."""

    base: str


@dataclass(frozen=True)
class Arguments:
    """A mapping of arguments for a function or class, "module:name"; `but` are given by the code."""

    function: str
    but: tuple[str, ...] = ()


MOST = 2**31 - 1

Count = Annotated[int, Range(1, MOST)]
Natural = Annotated[int, Range(0, MOST)]
Depth = Annotated[int, Range(1, 1000)]                # of networks: layers, blocks, heads
Width = Annotated[int, Range(1, 10**6)]               # of networks: channels, features, pixels
Share = Annotated[float, Range(0, 1)]
Weight = Annotated[float, Range(0, 1e6)]
Positive = Annotated[float, Range(0, 1e6, above=True)]
Guidance = Annotated[float, Range(-1000, 1000)]
Rate = Annotated[float, Range(0, 1000, above=True)]   # of learning
Seed = Annotated[int, Range(0, 2**32 - 1)]
Trimmed = Annotated[str, Stripped()]                  # a placeholder, a name
Levels = Annotated[Sequence[Depth], Filled()]         # of a network: something for each


class Misfit(Exception):
    """A value that is not of a kind; the caller knows what the kind is called."""


def describe(kind: Any) -> str:
    """What a kind allows, as the end of "must be ..."."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        mark = arguments[1]
        if isinstance(mark, Builds):
            return f"a mapping with the target of a {mark.base.rpartition('.')[2]}"
        text = describe(arguments[0])
        more = {Range: f" {mark}", Stripped: " that is not empty", Filled: ", 1 to 16 of them"}
        return text + more.get(type(mark), "")
    if origin in (Union, types.UnionType):
        return ", or ".join(describe(a) for a in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)}: " + ", ".join(describe(a) for a in arguments)
    if _is_list(kind):
        return f"a list, each entry {describe(arguments[0])}" if arguments else "a list"
    if _is_mapping(kind):
        return "a mapping"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _is_list(kind: Any) -> bool:
    return (get_origin(kind) or kind) in (list, tuple, Sequence)


def _is_mapping(kind: Any) -> bool:
    return (get_origin(kind) or kind) in (dict, Mapping)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not (
            isinstance(value, numbers.Integral) or float(value).is_integer()):
        raise Misfit
    return int(value) if isinstance(value, numbers.Integral) else int(float(value))


def _real(value: Any) -> Any:
    """A finite number, whole ones as they are: published configs have 1 for 1.0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise Misfit
    try:
        finite = math.isfinite(value)
    except OverflowError:  # a whole number with hundreds of digits
        finite = False
    if not finite:
        raise Misfit
    return value


def _true_or_false(value: Any) -> bool:
    if isinstance(value, bool) or isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise Misfit


def _text(value: Any) -> Any:
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise Misfit
    return value


def _nothing(value: Any) -> None:
    if value is not None:
        raise Misfit


PLAIN: dict[Any, Callable[[Any], Any]] = {
    int: _whole, float: _real, bool: _true_or_false, str: _text, type(None): _nothing}


def _either(key: str, value: Any, kinds: Sequence[Any]) -> Any:
    """The value as one of several kinds, the first that takes it as it is: 1 is not made 1.0, nor 1.0 made 1."""
    found = []
    for kind in kinds:
        try:
            found.append(convert(key, value, kind))
        except Misfit:
            continue
    if not found:
        raise Misfit
    return next((f for f in found if type(f) is type(value)), found[0])


def _list(key: str, value: Any, kind: Any) -> Any:
    arguments = get_args(kind)
    if isinstance(value, str) and arguments and convertible(value, arguments[0]):
        value = [value]  # `initializer_words: dog` is one word, not three letters
    if not isinstance(value, list | tuple):
        raise Misfit
    if get_origin(kind) is tuple and Ellipsis not in arguments:
        if len(value) != len(arguments):
            raise Misfit
        return type(value)(convert(f"{key}[{n}]", v, k) for n, (v, k) in enumerate(zip(value, arguments, strict=True)))
    return type(value)(convert(f"{key}[{n}]", v, arguments[0]) for n, v in enumerate(value)) if arguments else value


def convertible(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind."""
    try:
        convert("", value, kind)
    except (Misfit, UserError):
        return False
    return True


def convert(key: str, value: Any, kind: Any) -> Any:
    """The value as a kind has it. Raises Misfit for one that is not of the kind, UserError, which names a key, for what
    is wrong further down in it."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *marks = get_args(kind)
        value = convert(key, value, inner)
        for mark in marks:
            value = _marked(key, value, mark)
        return value
    if origin in (Union, types.UnionType):
        return _either(key, value, get_args(kind))
    if origin is Literal:
        if not any(value == a and type(value) is type(a) for a in get_args(kind)):
            raise Misfit
        return value
    if _is_list(kind):
        return _list(key, value, kind)
    if _is_mapping(kind):
        if not isinstance(value, Mapping):
            raise Misfit
        return dict(value)
    if kind is Any:
        return value
    if kind in PLAIN:
        return PLAIN[kind](value)
    if isinstance(kind, type) and isinstance(value, str | int | float | list | dict | None) and not isinstance(
            value, kind):
        raise Misfit  # an object, which no config can give
    return value


def _marked(key: str, value: Any, mark: Any) -> Any:
    if isinstance(mark, Range) and not mark.allows(value):
        raise Misfit
    if isinstance(mark, Filled) and not 1 <= len(value) <= 16:
        raise Misfit
    if isinstance(mark, Stripped):
        value = strip(value)
        if not value:
            raise Misfit
    if isinstance(mark, Builds):
        value = check_target(key, value, mark.base)
    if isinstance(mark, Arguments):
        value = check_arguments(f"{key}.", pkgutil.resolve_name(mark.function), value, but=mark.but, only=True)
    return value


def strip(text: str) -> str:
    """A placeholder without the spaces and quotes around it."""
    while text != (text := text.strip()) or len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`" else text
    return text


def show(value: Any) -> str:
    """A value as a line can hold it."""
    text = value if isinstance(value, str) else "null" if value is None else str(value)
    text = " ".join(text.split()) if text.strip() == text and "\n" not in text else repr(text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check(key: str, value: Any, kind: Any) -> Any:
    """The value of a key as its kind has it: 3.0 as 3 where a whole number is asked for, a text as a list of one where
    it is a list of texts. Raises UserError with key, value and what is allowed."""
    try:
        return convert(key, value, kind)
    except Misfit as error:
        raise UserError(f"{key}={show(value)}: must be {describe(kind)}") from error


# Constructors --------------------------------------------------------------------------------------------------------

def _constructors(target: Callable[..., Any]) -> list[Callable[..., Any]]:
    """The functions that take a target's arguments: its own constructor, and, as far as each hands `**kwargs` on, those
    of its base classes."""
    if not inspect.isclass(target):
        return [target]
    found = []
    for cls in inspect.getmro(target):
        if "__init__" in vars(cls):
            found.append(vars(cls)["__init__"])
            if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(found[-1]).parameters.values()):
                break
    return found


@functools.cache
def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments that a class or function takes by name, with annotations that are evaluated; what they are not is
    Any. Not `self`."""
    found: dict[str, inspect.Parameter] = {}
    for function in _constructors(target):
        module = vars(sys.modules.get(function.__module__, types))
        for name, parameter in inspect.signature(function).parameters.items():
            if name in found or name == "self" or parameter.kind not in (
                    parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                continue
            kind = parameter.annotation
            if isinstance(kind, str):
                try:
                    kind = eval(kind, dict(module))  # the source of a function that is imported already
                except NameError:  # of a class that is imported for type checkers only
                    kind = Any
            found[name] = parameter.replace(annotation=Any if kind is parameter.empty else kind)
    return found


def accepted_parameters(target: Callable[..., Any]) -> set[str] | None:
    """Names of the arguments a class takes, through its base classes' `**kwargs`; None if it takes any name."""
    last = _constructors(target)[-1]
    open_end = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(last).parameters.values())
    return None if open_end else set(parameters(target))


def check_arguments(prefix: str, target: Callable[..., Any], arguments: Mapping[str, Any], but: Sequence[str] = (),
                    only: bool = False) -> dict[str, Any]:
    """Arguments for a class or function of this project, each as its annotation has it; those of other people's are
    theirs to check. `but` cannot be given; with `only`, neither can those that it does not take.

    Raises UserError with prefix and name of the argument, its value and what is allowed.
    """
    if not is_own(target.__module__) or target.__module__.startswith("torch."):
        return dict(arguments)
    kinds = {name: p.annotation for name, p in parameters(target).items() if name not in but}
    for name in arguments:
        if name in but or only and name not in kinds:
            raise UserError(f"{prefix}{name}: there is no such argument; there are {', '.join(sorted(kinds))}")
    where = prefix or f"{target.__module__}.{target.__qualname__}: "
    return {name: check(f"{where}{name}", value, kinds[name]) if name in kinds else value
            for name, value in arguments.items()}


def check_target(key: str, config: Mapping[str, Any], base: str) -> dict[str, Any]:
    """A config with target and params, its params as the target's constructor has them. Raises UserError where the
    target is no subclass of base, a full name, and for what is wrong in the params."""
    if "target" not in config:
        raise UserError(f"{key}: the config has no `target:` (keys: {', '.join(map(str, config)) or 'none'})")
    try:
        target = get_obj_from_str(config["target"])
    except UserError as error:
        raise UserError(f"{key}: {error}") from error
    module_name, _, name = base.rpartition(".")
    if not is_subclass_by_name(target, [(module_name, name)]) and not targets_are_trusted():
        raise UserError(f"{key}.target={show(config['target'])}: is no {name}")
    params = config.get("params")
    if not isinstance(params, Mapping | None):
        raise UserError(f"{key}.params={show(params)}: must be a mapping")
    return {**config, "params": check_arguments(f"{key}.params.", target, params or {})}
