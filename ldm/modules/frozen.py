"""Layers that a word is learned through: on a CPU oneDNN computes them, from weights as they are, and only their inputs
have gradients.

PyTorch gives products of float32 matrices to MKL, which leaves AVX-512 unused on processors that are not Intel's: there
oneDNN takes half the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


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
    if x.device.type != "cpu" or layer.weight.requires_grad or torch.compiler.is_compiling():
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
        b, c, height, width = x.shape
        taken = _taken(self, x) if 2 * b * height * width <= self.out_channels else None
        if taken is None:
            return super().forward(x)
        rows = _Neighbours.apply(taken.permute(0, 2, 3, 1))
        weight = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, 9 * c)  # channels last: not copied
        return _FrozenProduct.apply(rows, weight, self.bias).permute(0, 3, 1, 2)


def freeze(network: nn.Module) -> None:
    """Let oneDNN compute the layers of a network that do not learn; only where `ldm.modules.packing.can_pack`. Their
    names and weights stay what they are."""
    for module in network.modules():
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            continue
        if type(module) is nn.Linear:
            module.__class__ = FrozenLinear
        elif type(module) is nn.Conv2d and (module.kernel_size, module.stride, module.padding, module.dilation,
                                            module.groups) == ((3, 3), (1, 1), (1, 1), (1, 1), 1):
            module.__class__ = FrozenConv2d
