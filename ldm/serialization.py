"""Reading and writing tensor files: nothing read can run code, nothing written can be half there."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ldm.errors import UserError
from ldm.files import write_bytes


class Inert:
    """Stands in for any object a checkpoint pickles beside its tensors. It keeps nothing and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        """Another one: what a pickle would call does not run."""
        return Inert()

    def append(self, item: Any) -> None:
        """Nothing; unpickling may fill a subclass of list item by item."""

    def extend(self, items: Any) -> None:
        """Nothing; or many items at once."""

    def add(self, item: Any) -> None:
        """Nothing; or a subclass of set."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Nothing; or a subclass of dict."""


# Everything a file of tensors in plain containers needs. All else that a pickle names becomes an Inert.
_SAFE = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    **{("torch", f"{name}Storage"): getattr(torch, f"{name}Storage") for name in (
        "Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")},
    **{("torch", str(t).split(".")[1]): t for t in (torch.float32, torch.float16, torch.bfloat16, torch.float64,
                                                    torch.int64, torch.int32, torch.uint8, torch.bool)},
}


class ParameterDictStandIn:
    """A pickled nn.ParameterDict, of any torch version, as the plain dict `tensors`."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        found = {k: v for k, v in (state.get("_parameters") or {}).items() if torch.is_tensor(v)}
        # torch 1.12 and later keeps the entries as attributes, and their names in _keys
        found.update({k: state[k] for k in state.get("_keys") or {} if torch.is_tensor(state.get(k))})
        self.tensors = found


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.nn.modules.container", "ParameterDict"):
            return ParameterDictStandIn
        return _SAFE.get((module, name), Inert)


class _InertPickle:
    """The `pickle_module` that torch.load is given: reads tensors, stands in for the rest."""

    __name__ = "inert_pickle"
    Unpickler = _InertUnpickler

    @staticmethod
    def load(file: Any, **kwargs: Any) -> Any:
        return _InertUnpickler(file, **kwargs).load()


def _plain(value: Any) -> Any:
    if isinstance(value, ParameterDictStandIn):
        return _plain(value.tensors)
    if isinstance(value, torch.nn.Parameter):
        return value.data
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def read_tensors(path: str | Path) -> dict[str, Any]:
    """The content of a .ckpt, .pt, .bin or .safetensors file: tensors on the CPU in plain dicts.

    Large tensors stay on disk until they are used (memory mapping). Pickled objects other than tensors and plain
    containers never run: they come back as `Inert`. Raises UserError for a missing, truncated or foreign file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise UserError(f"{path}: not a readable safetensors file, or cut short ({error})") from error
    mmap = zipfile.is_zipfile(path)  # the older format cannot be mapped
    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except pickle.UnpicklingError:
            content = torch.load(path, map_location="cpu", weights_only=False, mmap=mmap, pickle_module=_InertPickle)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError,
            IndexError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: not a checkpoint, or cut short ({reason})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a dictionary of tensors")
    return _plain(content)


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
