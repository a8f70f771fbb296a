"""Reading and writing tensor files: nothing read can run code, nothing written can be half there."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ldm.errors import UserError
from ldm.files import write_bytes
from ldm.filetypes import shown, tensor_format
from ldm.torchfile import MAX_DIRECTORY, read_legacy, read_zip
from ldm.unpickle import Inert


def read_tensors(path: str | Path) -> dict[str, Any]:
    """The content of a .ckpt, .pt, .bin or .safetensors file, whatever it is called: tensors on the CPU in plain dicts.

    Large tensors stay on disk until they are used (memory mapping). Pickled objects other than tensors and plain
    containers never run: they come back as `ldm.unpickle.Inert`. Raises UserError for a file that is missing, cut short
    or something else, and says what.
    """
    path = Path(path)
    try:
        content = _READERS[tensor_format(path)](path)
    except UserError:
        raise
    except Exception as error:  # a stranger's file: there is no telling what a parser trips over
        reason = shown(str(error).strip().partition("\n")[0] or type(error).__name__, 160)
        raise UserError(f"{path}: not a checkpoint, or cut short ({reason})") from error
    if isinstance(content, Inert):
        raise UserError(f"{path}: holds an object ({shown(content.name)}), not a dictionary of tensors; save its "
                        "state_dict() instead")
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a dictionary of tensors")
    return content


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > MAX_DIRECTORY:
            raise ValueError("its header is too long")
    return safetensors.torch.load_file(path)


_READERS: dict[str, Callable[[Path], Any]] = {
    "zip": read_zip, "pickle": read_legacy, "safetensors": _read_safetensors}


def write_tensors(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a dict atomically: `.safetensors` for flat dicts of tensors, else torch's own format."""
    if Path(path).suffix == ".safetensors":
        write_bytes(path, safetensors.torch.save({k: v.detach().contiguous().cpu() for k, v in content.items()}))
        return
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getvalue())


STEP = ".step"  # after a weight's name, the name of the step sizes it was packed with


def pack_weights(weights: dict[str, torch.Tensor], bits: int = 8) -> dict[str, torch.Tensor]:
    """The same names with matrices and kernels as int8: multiples, of `bits` bits, of a step size that each row or
    output channel has to itself, kept beside it under the name plus ".step". All else is kept in half precision."""
    packed = {}
    for name, weight in weights.items():
        if weight.dim() < 2:
            packed[name] = weight.half()
            continue
        step = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True).clamp(min=1e-12)
        step = step / (2 ** (bits - 1) - 1)
        packed[name], packed[name + STEP] = (weight / step).round().to(torch.int8), step
    return packed


def unpack_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Undo `pack_weights`, to float32; weights that are not packed stay as they are."""
    return {name: w.float() * weights[name + STEP] if name + STEP in weights else w
            for name, w in weights.items() if not name.endswith(STEP)}
