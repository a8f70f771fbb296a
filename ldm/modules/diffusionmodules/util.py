"""Small pieces the diffusion networks share: noise schedules, the timestep embedding, checkpointing, zero init."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.utils.checkpoint
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def make_beta_schedule(schedule: str, n_timestep: int, linear_start: float = 1e-4, linear_end: float = 2e-2,
                       cosine_s: float = 8e-3) -> np.ndarray:
    """Noise variances beta_t, float64 [n_timestep] in (0, 1).

    "linear" is linear in sqrt(beta), as latent diffusion has it; "sqrt_linear" is linear in beta (Ho et al.,
    arXiv 2006.11239); "cosine" is Nichol & Dhariwal, arXiv 2102.09672, eq. 17. Raises ValueError for other names.
    """
    if schedule == "linear":
        return np.linspace(linear_start**0.5, linear_end**0.5, n_timestep, dtype=np.float64) ** 2
    if schedule == "sqrt_linear":
        return np.linspace(linear_start, linear_end, n_timestep, dtype=np.float64)
    if schedule == "cosine":
        steps = np.arange(n_timestep + 1, dtype=np.float64) / n_timestep
        alphas_cumprod = np.cos((steps + cosine_s) / (1 + cosine_s) * np.pi / 2) ** 2
        return np.clip(1 - alphas_cumprod[1:] / alphas_cumprod[:-1], 0, 0.999)
    raise ValueError(f"beta schedule {schedule!r} is not one of linear, sqrt_linear, cosine")


def timestep_embedding(timesteps: torch.Tensor, dim: int, max_period: float = 10000) -> torch.Tensor:
    """Sinusoidal embedding of timesteps [B] -> float32 [B, dim]; cosines first, then sines."""
    half = dim // 2
    freqs = torch.exp(-math.log(max_period) * torch.arange(half, device=timesteps.device) / half)
    args = timesteps[:, None].float() * freqs[None]
    embedding = torch.cat([torch.cos(args), torch.sin(args)], dim=-1)
    return nn.functional.pad(embedding, (0, dim % 2))


def checkpoint(function: Callable[..., torch.Tensor], *inputs: Any, enabled: bool) -> torch.Tensor:
    """Call the function; with `enabled`, and where gradients flow, its activations are recomputed in the backward
    pass instead of kept."""
    if enabled and torch.is_grad_enabled() and any(torch.is_tensor(x) and x.requires_grad for x in inputs):
        return torch.utils.checkpoint.checkpoint(function, *inputs, use_reentrant=False)
    return function(*inputs)


def zero_module(module: Module) -> Module:
    """Set every parameter of the module to zero and return it: a residual branch then starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
