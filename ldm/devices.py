"""The one place that knows what a model runs on."""

from __future__ import annotations

import ctypes
import os
import platform

import torch

from ldm.errors import UserError
from ldm.processes import processes
from ldm.progress import say


def has_apple_gpu() -> bool:
    """Whether there is a GPU of an Apple processor, as Lightning's `auto` finds one."""
    return (os.environ.get("DISABLE_MPS", "0") != "1" and torch.backends.mps.is_available()
            and platform.processor() in ("arm", "arm64"))


def choose_devices(gpus: str | None) -> tuple[str, list[int] | int]:
    """(accelerator, devices) for Lightning from a list of GPU numbers such as "0", "0," or "0,1"; None is the first
    GPU if there is one, NVIDIA's (or AMD's) or Apple's. Without a GPU: the CPU, with one line that says so."""
    try:
        wanted = [int(n) for n in (gpus or "0").split(",") if n.strip()] or [0]
    except ValueError as error:
        raise UserError(f"--gpus {gpus!r}: give GPU numbers such as 0 or 0,1") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    is_apple = not count and has_apple_gpu()
    if not count and not is_apple:
        if gpus is not None:
            say(f"--gpus {gpus}: this machine has no GPU that PyTorch can use; running on the CPU")
        return "cpu", 1
    missing = [n for n in wanted if not 0 <= n < (count or 1)]
    if missing:
        there = f"0 to {count - 1}" if count > 1 else "0 alone"
        raise UserError(f"--gpus {gpus}: there is no GPU {missing[0]}; this machine has {there}")
    return ("mps", 1) if is_apple else ("gpu", wanted)


def first_device(gpus: str | None = None) -> torch.device:
    """The first of `choose_devices`, for a model that runs on one."""
    accelerator, devices = choose_devices(gpus)
    return torch.device("cuda", devices[0]) if isinstance(devices, list) else torch.device(accelerator)


def own_gpu() -> str | None:
    """The number of the GPU that one of several processes, as torchrun starts them, takes by default; None where there
    is one process or no GPU."""
    place = processes()
    shared = place.total > 1 and torch.cuda.is_available()
    return str(place.local_rank % torch.cuda.device_count()) if shared else None


def fast_bfloat16(device: torch.device) -> bool:
    """Whether arithmetic in bfloat16 is native there; on a CPU where it is not, it is fifty times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def mixed_precision(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where that is fast, else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device))


def allow_tf32(device: torch.device) -> None:
    """Let an NVIDIA GPU multiply float32 as TF32, with 10 bits of mantissa, several times as fast. On any other device
    a line says that there is no such thing."""
    if device.type == "cuda" and torch.version.hip is None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    else:
        say(f"--tf32: there is no TF32 on this {device.type.upper()}; float32 stays as it is")


def keep_freed_memory() -> None:
    """Let this process use memory again that tensors have left, up to a gigabyte, where glibc would give it back to the
    system after every large tensor and have it filled with zeros for the next: a tenth of a network's time on a CPU."""
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_max = -1, -4  # M_ constants of malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, 2**30)
        libc.mallopt(mmap_max, 0)


def is_first_process() -> bool:
    """Whether this is the one of several processes working together that speaks and writes."""
    from pytorch_lightning.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0
