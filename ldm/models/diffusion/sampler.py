"""What samplers share: the timestep schedule, guidance and the loop. A sampler is an update rule on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ldm.errors import UserError
from ldm.modules.attention import CachedContext
from ldm.progress import bar

if TYPE_CHECKING:
    from ldm.models.diffusion.ddpm import DDPM

Generators = Sequence[torch.Generator] | None  # one a sample
Predict = Callable[[torch.Tensor, int], torch.Tensor]  # (x [B, C, H, W], t) -> the noise in it


def make_ddim_timesteps(num_steps: int, num_timesteps: int) -> np.ndarray:
    """`num_steps` increasing timesteps in [0, T), evenly spaced from 1 (Song et al., arXiv 2010.02502, section 4.2).

    Any count from 1 to T works; for counts that divide T these are the published ones.
    """
    if not 1 <= num_steps <= num_timesteps:
        raise UserError(f"{num_steps} sampling steps: the model has 1 to {num_timesteps}")
    return np.arange(num_steps) * num_timesteps // num_steps + (num_steps < num_timesteps)


def sample_noise(shape: Sequence[int], generators: Generators, device: torch.device) -> torch.Tensor:
    """Standard normal [B, ...]; with generators row i depends on generator i alone."""
    if generators is None:
        return torch.randn(shape, device=device)
    return torch.stack([torch.randn(shape[1:], generator=g, device=g.device) for g in generators]).to(device)


class Sampler:
    """Draws latents from a diffusion model by solving the reverse process in a number of steps."""

    stochastic = False  # whether eta may be other than 0

    ddim_timesteps: np.ndarray     # of the schedule, see make_schedule
    ddim_alphas: np.ndarray
    ddim_alphas_prev: np.ndarray
    ddim_sigmas: np.ndarray

    def __init__(self, model: DDPM):
        self.model = model

    def make_schedule(self, ddim_num_steps: int, ddim_eta: float = 0.0) -> None:
        """Set `ddim_timesteps` int [S] and, per step, `ddim_alphas`, `ddim_alphas_prev`, `ddim_sigmas` float [S].

        sigma is arXiv 2010.02502, eq. 16: eta 0 is deterministic, eta 1 is as noisy as DDPM.
        """
        if ddim_eta and not self.stochastic:
            raise UserError(f"{type(self).__name__} is deterministic: eta must be 0")
        alphas_cumprod = self.model.alphas_cumprod.cpu().double().numpy()  # Apple's GPUs have no doubles
        self.ddim_timesteps = make_ddim_timesteps(ddim_num_steps, len(alphas_cumprod))
        self.ddim_alphas = alphas_cumprod[self.ddim_timesteps]
        self.ddim_alphas_prev = np.append(alphas_cumprod[0], self.ddim_alphas[:-1])
        a, a_prev = self.ddim_alphas, self.ddim_alphas_prev
        self.ddim_sigmas = ddim_eta * np.sqrt((1 - a_prev) / (1 - a) * (1 - a / a_prev))

    def noise_prediction(self, conditioning: torch.Tensor, unconditional_conditioning: torch.Tensor | None,
                         scale: float) -> Predict:
        """A function (x, t: int) -> predicted noise, with classifier-free guidance (Ho & Salimans, arXiv 2207.12598)
        unless scale is 1. The prompt's keys and values are computed once for all steps."""
        guided = unconditional_conditioning is not None and scale != 1.0
        context = CachedContext(conditioning if unconditional_conditioning is None or not guided else
                                torch.cat([unconditional_conditioning, conditioning]))

        def predict(x: torch.Tensor, t: int) -> torch.Tensor:
            copies = torch.cat([x, x]) if guided else x
            eps = self.model.apply_model(copies, torch.full((len(copies),), t, device=x.device), context)
            if not guided:
                return eps
            eps_uncond, eps_cond = eps.chunk(2)
            return eps_uncond + scale * (eps_cond - eps_uncond)

        return predict

    def predict_x0(self, x: torch.Tensor, eps: torch.Tensor, index: int) -> torch.Tensor:
        """x_0 from x at step `index` of the schedule and the noise in it (arXiv 2006.11239, eq. 15)."""
        a = self.ddim_alphas[index]
        return (x - (1 - a) ** 0.5 * eps) / a**0.5

    def begin(self) -> None:
        """Forget what a previous sample left behind."""

    def step(self, predict: Predict, x: torch.Tensor, index: int, generators: Generators, temperature: float
             ) -> tuple[torch.Tensor, torch.Tensor]:
        """(x at the next lower noise level, predicted x_0) from x at step `index` of the schedule."""
        raise TypeError("Sampler has no update rule of its own; use DDIMSampler or another subclass")

    @torch.no_grad()
    def sample(self, S: int, batch_size: int, shape: Sequence[int], conditioning: torch.Tensor | None = None,
               callback: Callable[[int], object] | None = None,
               img_callback: Callable[[torch.Tensor, int], object] | None = None, eta: float = 0.0,
               temperature: float = 1.0, verbose: bool = True, x_T: torch.Tensor | None = None,
               log_every_t: int = 100, unconditional_guidance_scale: float = 1.0,
               unconditional_conditioning: torch.Tensor | None = None, generators: Generators = None
               ) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
        """Draw latents: (float [B, C, H, W], {"x_inter": [...], "pred_x0": [...]}).

        S steps; shape (C, H, W); conditioning and unconditional_conditioning [B, N, D]; eta in [0, 1]; x_T the
        starting noise; generators a list of B torch.Generator, which make each sample independent of its batch.
        callback(i) and img_callback(pred_x0, i) are called after step i; intermediates are kept every log_every_t.
        Raises UserError for a step count outside 1..T, ValueError when conditioning has another batch size.
        """
        if conditioning is None or len(conditioning) != batch_size:
            raise ValueError(f"conditioning must be [{batch_size}, N, D]")
        self.make_schedule(S, eta)
        self.begin()
        device = self.model.alphas_cumprod.device
        x = sample_noise((batch_size, *shape), generators, device) if x_T is None else x_T
        predict = self.noise_prediction(conditioning, unconditional_conditioning, unconditional_guidance_scale)
        intermediates = {"x_inter": [x], "pred_x0": [x]}
        for i, index in enumerate(bar(reversed(range(S)), total=S, desc="drawing", disable=not verbose)):
            x, pred_x0 = self.step(predict, x, index, generators, temperature)
            if callback:
                callback(i)
            if img_callback:
                img_callback(pred_x0, i)
            if index % log_every_t == 0 or index == S - 1:
                intermediates["x_inter"].append(x)
                intermediates["pred_x0"].append(pred_x0)
        return x, intermediates
