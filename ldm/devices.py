"""The one place that knows what a model runs on."""

from __future__ import annotations

import torch

from ldm.errors import UserError
from ldm.processes import processes
from ldm.progress import say


def choose_devices(gpus: str | None) -> tuple[str, list[int] | int]:
    """(accelerator, devices) for Lightning from a list of GPU numbers such as "0", "0," or "0,1"; None is the first
    GPU if there is one. Without a GPU: the CPU, with one line that says so."""
    try:
        wanted = [int(n) for n in (gpus or "0").split(",") if n.strip()] or [0]
    except ValueError as error:
        raise UserError(f"--gpus {gpus!r}: give GPU numbers such as 0 or 0,1") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        if gpus is not None:
            say(f"--gpus {gpus}: this machine has no GPU that PyTorch can use; running on the CPU")
        return "cpu", 1
    missing = [n for n in wanted if not 0 <= n < count]
    if missing:
        raise UserError(f"--gpus {gpus}: there is no GPU {missing[0]}; this machine has 0 to {count - 1}")
    return "gpu", wanted


def first_device(gpus: str | None = None) -> torch.device:
    """The first of `choose_devices`, for a model that runs on one."""
    _, devices = choose_devices(gpus)
    return torch.device("cuda", devices[0]) if isinstance(devices, list) else torch.device("cpu")


def own_gpu() -> str | None:
    """The number of the GPU that one of several processes, as torchrun starts them, takes by default; None where there
    is one process or no GPU."""
    place = processes()
    shared = place.total > 1 and torch.cuda.is_available()
    return str(place.local_rank % torch.cuda.device_count()) if shared else None


def fast_bfloat16(device: torch.device) -> bool:
    """Whether arithmetic in bfloat16 is native there; on a CPU where it is not, it is fifty times slower."""
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()


def mixed_precision(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where that is fast, else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device))


def is_first_process() -> bool:
    """Whether this is the one of several processes working together that speaks and writes."""
    from pytorch_lightning.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0
