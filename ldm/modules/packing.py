"""Networks that only draw, with their weights in the layout that oneDNN computes with.

A CPU's matrix kernels read weights in blocks, and PyTorch puts plain weights into blocks again at every call: for the
small feature maps deep in a UNet that takes longer than the product itself. Weights that never change are put there
once, and kept in no other form. What is packed has no gradient and no state_dict. Networks that a word is learned
through have `ldm.modules.frozen`.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator

import torch
from torch import nn

from ldm.modules.frozen import FrozenConv2d, FrozenLinear


class Packed(nn.Module):
    """A frozen layer whose weights are packed at its first call, for inputs of that size; any other works too."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        self._weight = layer.weight.detach()
        self._bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self._packed: torch.Tensor | None = None
        self.dtype = dtype

    def pack(self, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The weight in blocks, for inputs such as x."""
        raise NotImplementedError

    def product(self, x: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
        """The layer's output."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output, in its own number format."""
        x = x.to(self.dtype)
        if self._packed is None:
            self._packed = self.pack(self._weight.to(self.dtype).contiguous(), x)
            page_out(self._weight)
            del self._weight
        return self.product(x, self._packed)


class PackedLinear(Packed):
    """nn.Linear: [..., in] -> [..., out]."""

    def pack(self, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """For as many rows as x has."""
        return torch.ops.mkldnn._reorder_linear_weight(weight, x.numel() // x.shape[-1])

    def product(self, x: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
        """x W^T + b."""
        return torch.ops.mkldnn._linear_pointwise(x, packed, self._bias, "none", [], "")


class PackedConv2d(Packed):
    """nn.Conv2d: [B, C, H, W] -> [B, C', H', W'], channels last, as the kernels have them."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype):
        super().__init__(layer, dtype)
        self._how = list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups

    def pack(self, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """For pictures of x's size."""
        return torch.ops.mkldnn._reorder_convolution_weight(weight, *self._how, list(x.shape))

    def product(self, x: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
        """The convolution."""
        return torch.ops.mkldnn._convolution_pointwise(x, packed, self._bias, *self._how, "none", [], "")


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch and this machine have the kernels for numbers of this format."""
    if not torch.backends.mkldnn.is_available() or dtype not in (torch.float32, torch.bfloat16):
        return False
    try:
        with torch.no_grad():
            for layer, x in ((nn.Linear(16, 16), torch.ones(2, 16)), (nn.Conv2d(16, 16, 3), torch.ones(1, 16, 4, 4))):
                PACKED[type(layer)](layer, dtype)(x)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return True


PACKED: dict[type[nn.Module], Callable[..., Packed]] = {
    nn.Linear: PackedLinear, FrozenLinear: PackedLinear, nn.Conv2d: PackedConv2d, FrozenConv2d: PackedConv2d}


def _layers(network: nn.Module, skip: tuple[str, ...]) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    for path, module in network.named_modules():
        for name, layer in module.named_children():
            if type(layer) in PACKED and not f"{path}.{name}".endswith(skip):
                yield module, name, layer


def page_out(tensor: torch.Tensor) -> None:
    """Tell the system that a tensor will not be read again soon. Of weights that are mapped from a file, the pages that
    were read go; read again, they come back. Where the system knows no such advice, nothing happens."""
    if tensor.device.type != "cpu" or not sys.platform.startswith("linux"):
        return
    page, pageout = mmap.PAGESIZE, 21  # MADV_PAGEOUT, of Linux 5.4
    begin = -(-tensor.data_ptr() // page) * page
    end = (tensor.data_ptr() + tensor.nbytes) // page * page
    if end > begin:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), pageout)


def channels_last(network: nn.Module) -> None:
    """Lay out the weights of convolutions as kernels read them, one after the other."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            plain = module.weight.data
            module.to(memory_format=torch.channels_last)
            if module.weight.data_ptr() != plain.data_ptr():
                page_out(plain)


def hold(network: nn.Module, dtype: torch.dtype) -> None:
    """Keep the weights of frozen linear layers and convolutions in a number format: what autocast to it makes of them
    at every call, in half the memory. Embeddings and norms stay in float32."""
    for module in network.modules():
        if type(module) in PACKED and not any(p.requires_grad for p in module.parameters()):
            plain = [p.data for p in module.parameters() if p.dtype != dtype]
            module.to(dtype)
            for weight in plain:
                page_out(weight)


def held(network: nn.Module) -> torch.dtype:
    """The number format that a network's layers are kept in."""
    for module in network.modules():
        if isinstance(module, Packed):
            return module.dtype
        if type(module) in PACKED:
            return next(module.parameters()).dtype
    return torch.float32


def pack(network: nn.Module, dtype: torch.dtype = torch.float32, skip: tuple[str, ...] = ()) -> None:
    """Pack the linear layers and convolutions of a network on a CPU, but for those whose names end with one of `skip`,
    in numbers of a format that `can_pack`. From here on it computes without gradients."""
    for module, name, layer in list(_layers(network, skip)):
        if not isinstance(getattr(layer, "padding", ()), str) and getattr(layer, "padding_mode", "zeros") == "zeros":
            setattr(module, name, PACKED[type(layer)](layer, dtype))
