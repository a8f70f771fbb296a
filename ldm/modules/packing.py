"""Frozen networks on a CPU, computed by oneDNN.

Networks that only draw have their weights in the layout that it computes with. A CPU's matrix kernels read weights in
blocks, and PyTorch puts plain weights into blocks again at every call: for the small feature maps deep in a UNet that
takes longer than the product itself. Weights that never change are put there once, and kept in no other form. What is
packed has no gradient and no state_dict.

Networks that a word is learned through keep plain weights. PyTorch gives float32 products to MKL, which leaves AVX-512
unused on processors that are not Intel's: there oneDNN takes half the time (`FrozenLinear`).
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn


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


class _FrozenProduct(torch.autograd.Function):
    """x W^T + b by oneDNN, with a gradient for x alone: [..., in] -> [..., out]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        weight, = ctx.saved_tensors
        if torch.backends.cpu.get_cpu_capability() != "AVX512":  # a transposed matrix takes up to twice the time
            return grads[0] @ weight, None, None
        return torch.ops.mkldnn._linear_pointwise(grads[0].contiguous(), weight.t(), None, "none", [], ""), None, None


class _Neighbours(torch.autograd.Function):
    """Each pixel with its eight neighbours, zeros around the picture: [B, H, W, C] -> [B, H, W, 9 C]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.size = height, width = x.shape[1:3]
        padded = nn.functional.pad(x, (0, 0, 1, 1, 1, 1))
        return torch.cat([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], dim=-1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (height, width), shares = ctx.size, grads[0].chunk(9, dim=-1)
        b, c = len(shares[0]), shares[0].shape[-1]
        padded = grads[0].new_zeros(b, height + 2, width + 2, c)
        for k, share in enumerate(shares):
            i, j = divmod(k, 3)
            padded[:, i : i + height, j : j + width] += share
        return padded[:, 1:-1, 1:-1]


def _taken(layer: nn.Linear | nn.Conv2d, x: torch.Tensor) -> torch.Tensor | None:
    """A layer's input in the format that oneDNN's product has, that of its weights; None where others compute it."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    return x if x.dtype == layer.weight.dtype and x.dtype in (torch.float32, torch.bfloat16) else None


class FrozenLinear(nn.Linear):
    """nn.Linear whose weights do not learn: [..., in] -> [..., out]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x W^T + b."""
        taken = _taken(self, x)
        return super().forward(x) if taken is None else _FrozenProduct.apply(taken, self.weight, self.bias)


class FrozenConv2d(nn.Conv2d):
    """nn.Conv2d of 3 x 3 pixels whose weights do not learn: [B, C, H, W] -> [B, C', H, W].

    A product with the weights as they are, where there are so few pixels that a convolution takes longer to put its
    weights into blocks: each pixel with its eight neighbours is a row.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution."""
        (b, c, height, width), taken = x.shape, _taken(self, x)
        if 2 * b * height * width > self.out_channels or taken is None:
            return super().forward(x)
        rows = _Neighbours.apply(taken.permute(0, 2, 3, 1))
        weight = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, 9 * c)  # channels last: not copied
        return _FrozenProduct.apply(rows, weight, self.bias).permute(0, 3, 1, 2)


def freeze(network: nn.Module) -> None:
    """Let oneDNN compute the layers of a network that do not learn, in float32. Their weights stay plain."""
    for module in network.modules():
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            continue
        if type(module) is nn.Linear:
            module.__class__ = FrozenLinear
        elif type(module) is nn.Conv2d and (module.kernel_size, module.stride, module.padding, module.dilation,
                                            module.groups) == ((3, 3), (1, 1), (1, 1), (1, 1), 1):
            module.__class__ = FrozenConv2d


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
    nn.Linear: PackedLinear, FrozenLinear: PackedLinear,
    nn.Conv2d: PackedConv2d, FrozenConv2d: PackedConv2d}


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
