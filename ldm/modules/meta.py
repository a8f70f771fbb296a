"""Modules that are built before their weights are there."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _SkipInit(TorchFunctionMode):
    """Leaves out torch.nn.init: on the meta device it does nothing, and takes a second to import what does it."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs.get("tensor", args[0] if args else None)
        return func(*args, **kwargs)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Within it Python does not look for garbage, of which a model's many small objects make none: a tenth of a
    second."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def without_weights() -> Iterator[None]:
    """Within it modules are built with shapes alone: no memory, no initialisation."""
    with torch.device("meta"), _SkipInit():
        yield
