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

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)


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


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > MAX_DIRECTORY:
            raise ValueError("its header is too long")


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    _check_header(path)
    return safetensors.torch.load_file(path)


_READERS: dict[str, Callable[[Path], Any]] = {
    "zip": read_zip, "pickle": read_legacy, "safetensors": _read_safetensors}


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a file: what its header has under `__metadata__` if it is safetensors, else nothing. Raises
    UserError for a file that is damaged or something else."""
    path = Path(path)
    if tensor_format(path) != "safetensors":
        return {}
    try:
        _check_header(path)
        with safetensors.safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (ValueError, OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: not a checkpoint, or cut short ({shown(error, 160)})") from error


def write_tensors(path: str | Path, content: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a dict atomically: `.safetensors`, with metadata, for flat dicts of tensors, else torch's own format."""
    if Path(path).suffix.lower() == ".safetensors":
        tensors = {k: v.detach().contiguous().cpu() for k, v in content.items()}
        write_bytes(path, safetensors.torch.save(tensors, dict(metadata) if metadata else None))
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


def unpack_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Undo `pack_weights`, to float32; weights that are not packed stay as they are. Raises UserError for step sizes
    that are not one a row."""
    packed = {name for name, w in weights.items() if w.dtype == torch.int8 and name + STEP in weights}
    for name in packed:
        weight, step = weights[name], weights[name + STEP]
        if not weight.dim() or step.shape != (len(weight), *[1] * (weight.dim() - 1)) or step.dtype not in FLOATS:
            raise UserError(f"its weight {shown(name)} is packed in a way that is not known here")
    return {name: w.float() * weights[name + STEP] if name in packed else w
            for name, w in weights.items() if name.removesuffix(STEP) not in packed or name in packed}


def check_weights(weights: Mapping[str, Any], expected: Mapping[str, torch.Tensor]) -> None:
    """Raises UserError, one line without the file's name, unless the weights have the names and shapes of `expected`
    (more names do not matter) and are finite real numbers.

    Of a large file only some small tensors are read for that: numbers that are not finite come from a training that
    went wrong, and then biases and norms have them too; to read gigabytes would take longer than to load them.
    """
    def first(names: list[str]) -> str:
        return f"{len(names)} weights {{}} ({', '.join(map(shown, names[:3]))}{', ...' * (len(names) > 3)})"

    if missing := [n for n in expected if not torch.is_tensor(weights.get(n))]:
        raise UserError(first(missing).format("are missing"))
    if misshapen := [n for n in expected if weights[n].shape != expected[n].shape]:
        name = misshapen[0]
        raise UserError(f"{first(misshapen).format('have another shape')}: {shown(name)} is "
                        f"{list(weights[name].shape)}, expected {list(expected[name].shape)}")
    if odd := [n for n in expected if expected[n].is_floating_point() and weights[n].dtype not in FLOATS]:
        raise UserError(f"{first(odd).format('are not real numbers')}: {shown(odd[0])} is {weights[odd[0]].dtype}")
    if broken := not_finite({n: weights[n] for n in expected}):
        raise UserError(first(broken).format("hold numbers that are not finite (NaN, infinity)")
                        + ": its training went wrong, or the file is damaged")


WHOLE, SMALL, SAMPLE = 2**26, 2**12, 64  # numbers of a file that is looked at as a whole; else of a tensor; how many


def not_finite(weights: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of weights with NaN or infinity in them: among all weights, or among some small ones of a large file."""
    names = [n for n, w in weights.items() if w.dtype in FLOATS]
    if sum(weights[n].numel() for n in names) > WHOLE:
        small = [n for n in names if weights[n].numel() <= SMALL]
        names = small[:: -(-len(small) // SAMPLE) or 1]
    return [n for n in names if not bool(torch.isfinite(weights[n].float()).all())]
