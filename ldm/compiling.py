"""torch.compile for the UNet, where there is a compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ldm.errors import UserError

if TYPE_CHECKING:
    from ldm.models.diffusion.ddpm import LatentDiffusion


def check_compiler(device: torch.device) -> None:
    """Raises UserError where torch.compile cannot compile for a device: on a CPU it needs a C++ compiler, on an NVIDIA
    GPU Triton. A small function is tried, since what lacks is found in as many ways as there are systems."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(8, device=device))
    except Exception as error:  # of many types, most of them private
        said = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        needed = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler (on Debian: apt install g++)"
        raise UserError(f"--compile: torch.compile cannot compile here ({said[0]}); it needs {needed}; leave --compile "
                        "out") from error


def compile_network(model: LatentDiffusion, learning: bool) -> None:
    """Compile a model's UNet at its first call, once for each size of a batch: for learning, where gradients flow, or
    for drawing. For the other of the two it stays as it is, so that a run that draws on its way compiles once."""
    frozen = not learning and model.device.type == "cpu"  # then the weights are laid out as the kernels read them
    model.model.compiled = torch.compile(model.model.diffusion_model.forward, dynamic=False,
                                         options={"freezing": True} if frozen else None)
    model.model.compiled_learns = learning
