"""What a training costs, and what the machine could do at most."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def flops(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> float:
    """Floating-point operations of a forward and a backward pass; gradients are dropped."""
    few = tuple(t[: min(len(t), 4)] for t in inputs)
    with FlopCounterMode(display=False) as counter:
        module(*few).backward()
    for parameter in module.parameters():
        parameter.grad = None
    return counter.get_total_flops() * len(inputs[0]) / len(few[0])


def peak_flops(device: torch.device, bfloat16: bool) -> float:
    """Operations per second of the largest of a few products of square matrices, the best of several."""
    size = 8192 if device.type == "cuda" else 1536
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16 if bfloat16 else torch.float32)

    def seconds() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        (a @ a).sum().item()
        return time.perf_counter() - start

    seconds()
    return 2 * size**3 / min(seconds() for _ in range(5))


def machine(device: torch.device) -> str:
    """What the device is, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
