"""What a step of learning keeps in memory for its backward pass, and which blocks of a UNet recompute it instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ldm.devices import keep_freed_memory
from ldm.errors import UserError
from ldm.modules.attention import BasicTransformerBlock
from ldm.modules.diffusionmodules.openaimodel import ResBlock
from ldm.modules.frozen import freeze
from ldm.modules.packing import can_pack, channels_last, hold

if TYPE_CHECKING:
    from ldm.models.diffusion.ddpm import LatentDiffusion

# Of what is free; the rest is for what the layers compute with, the text encoder's own activations and other programs.
SHARE = 0.7


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free for this process on a GPU or in a computer; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as file:
            free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    try:  # a container may have less
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
        return max(0, min(free, limit))
    except (OSError, ValueError):
        return free


@contextmanager
def counted(sizes: dict[int, int], frozen: set[int]) -> Iterator[None]:
    """Within it, the bytes of each storage that autograd keeps are noted in `sizes`, but for those in `frozen`."""
    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in frozen:
            sizes[storage._cdata] = storage.nbytes()
            kept.append(tensor)  # so that no other storage gets its address
        return tensor

    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield


def blocks(network: nn.Module) -> list[ResBlock | BasicTransformerBlock]:
    """The blocks of a network that can recompute their activations."""
    return [m for m in network.modules() if isinstance(m, ResBlock | BasicTransformerBlock)]


def kept_by_blocks(model: LatentDiffusion, batch: int) -> dict[ResBlock | BasicTransformerBlock, int]:
    """Bytes that each block of a model's UNet keeps for the backward pass of so many pictures of the model's own size.
    The model is on the meta device, where nothing is computed, and is changed."""
    network = model.model.diffusion_model
    width = next(m for m in blocks(network) if isinstance(m, BasicTransformerBlock)).attn2.to_k.in_features
    tokens = model.cond_stage_model.tknz_fn.max_length
    shape = model.channels, model.image_size, model.image_size
    found: dict[ResBlock | BasicTransformerBlock, int] = {}
    frozen = {p.untyped_storage()._cdata for p in network.parameters()}

    def watch(block: ResBlock | BasicTransformerBlock) -> None:
        forward = block._forward

        def counting(*inputs: torch.Tensor) -> torch.Tensor:
            sizes: dict[int, int] = {}
            with counted(sizes, frozen | {x.untyped_storage()._cdata for x in inputs}):
                result = forward(*inputs)
            found[block] = sum(sizes.values())
            return result
        block._forward, block.use_checkpoint = counting, False  # type: ignore

    for block in blocks(network):
        watch(block)
    with torch.enable_grad():
        network(torch.empty(batch, *shape, device="meta"), torch.ones(batch, dtype=torch.long, device="meta"),
                torch.empty(batch, tokens, width, device="meta", requires_grad=True))
    return found


def lay_out(model: LatentDiffusion, meta: Callable[[], LatentDiffusion], batch: int, checkpointing: str, precision: str,
            device: torch.device) -> str:
    """Make a model ready to learn words of so many pictures a step on a device: frozen weights in the layout and, with
    one of Lightning's mixed precisions, in the number format that they are computed with; activations as
    `choose_checkpointing` says. Raises UserError for a precision in which the word itself would be learned.
    """
    if precision.endswith("-true") and not precision.startswith("32"):
        raise UserError(f"lightning.trainer.precision={precision}: a word is learned in float32; take bf16-mixed, "
                        "which keeps frozen weights in half the memory too")
    if device.type == "cpu":
        keep_freed_memory()
    for network in (model.model, model.first_stage_model):
        channels_last(network)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision, torch.float32)
    for frozen in (model.model, model.cond_stage_model):
        if precision.endswith("-mixed"):
            hold(frozen, dtype)
        if device.type == "cpu" and can_pack(dtype):
            freeze(frozen)
    return choose_checkpointing(model, meta, batch, checkpointing, free_memory(device))


def choose_checkpointing(model: LatentDiffusion, meta: Callable[[], LatentDiffusion], batch: int, how: str,
                         free: int | None) -> str:
    """Let as many blocks of a model's UNet recompute their activations in the backward pass as `how` says: "on" all,
    "off" none, "auto" as few as let a step of so many pictures fit into a share of the free memory, "config" those that
    do. One line that says which, or nothing where all is as usual. `meta` makes the same model on the meta device.
    """
    own = blocks(model.model)
    asked = any(block.use_checkpoint for block in own)
    if how == "config":
        return ""
    for block in own:
        block.use_checkpoint = how == "on"
    if how != "auto":
        return f"activation checkpointing is {how}"
    weights = sum(p.nbytes for p in model.model.parameters())
    if free is None or batch * weights < free / 10:  # a picture's activations are less than the weights
        return ""
    sizes = kept_by_blocks(meta(), batch).values()
    total = left = sum(sizes)
    chosen = 0
    for size, block in sorted(zip(sizes, own, strict=True), key=lambda pair: -pair[0]):
        if left <= SHARE * free:
            break
        block.use_checkpoint, left, chosen = True, left - size, chosen + 1
    if chosen:
        return (f"activation checkpointing: {total / 1e9:.1f} GB of activations are too much for the "
                f"{free / 1e9:.1f} GB that are free, and {chosen} of {len(own)} blocks compute theirs twice")
    return (f"activation checkpointing is off, whatever the config says: there is room for the {total / 1e9:.1f} GB of "
            "activations") * asked
