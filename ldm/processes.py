"""Processes that share work, as torchrun starts them: which one this is, and what they agree on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from ldm.errors import UserError

T = TypeVar("T")


class Processes(NamedTuple):
    """Processes that share work, and this one's place among them: in all, and on its machine."""

    rank: int
    total: int
    local_rank: int


def processes() -> Processes:
    """What torchrun says in the environment; without it, one process. Raises UserError for what makes no sense."""
    names, values = ("RANK", "WORLD_SIZE", "LOCAL_RANK"), []
    if "WORLD_SIZE" not in os.environ:
        return Processes(0, 1, 0)
    for name in names:
        if not (text := os.environ.get(name, "")).isdecimal():
            raise UserError(f"the environment variable {name} is {text!r} and no number; start processes that share "
                            "their work with torchrun, or unset WORLD_SIZE")
        values.append(int(text))
    place = Processes(*values)
    if place.rank >= place.total:
        raise UserError(f"the environment variable RANK is {place.rank}, and WORLD_SIZE {place.total}; start processes "
                        "that share their work with torchrun, or unset WORLD_SIZE")
    return place


def agree(decide: Callable[[], T]) -> T:
    """What the first of the processes decides, in all of them."""
    place = processes()
    if place.total == 1:
        return decide()
    import torch.distributed as dist

    decision = [decide() if place.rank == 0 else None]
    dist.init_process_group("gloo")
    dist.broadcast_object_list(decision)
    dist.destroy_process_group()
    return decision[0]  # type: ignore[return-value]
