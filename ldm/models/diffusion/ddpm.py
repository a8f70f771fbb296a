"""The diffusion process (DDPM) and the text-to-image latent diffusion model built on it (LatentDiffusion)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from torch import nn

from ldm.errors import UserError
from ldm.generate import latent_shape, sample_prompt
from ldm.modules.attention import CachedContext
from ldm.modules.diffusionmodules.util import make_beta_schedule
from ldm.modules.distributions.distributions import DiagonalGaussianDistribution
from ldm.modules.ema import LitEma
from ldm.prompts import Prompt, escape_prompt
from ldm.schema import Builds, Count, Guidance, Natural, Positive, Range, Share, Weight, Width
from ldm.util import instantiate_from_config

if TYPE_CHECKING:
    from typing_extensions import Self

    from ldm.models.autoencoder import AutoencoderKL
    from ldm.modules.diffusionmodules.openaimodel import UNetModel
    from ldm.modules.embedding_manager import EmbeddingManager
    from ldm.modules.encoders.text_encoder import TextEncoder


# Kinds of the parameters below, as a config is checked for them.
Network = Annotated[Mapping[str, Any], Builds("ldm.modules.diffusionmodules.openaimodel.UNetModel")]
FirstStage = Annotated[Mapping[str, Any], Builds("ldm.models.autoencoder.AutoencoderKL")]
CondStage = Annotated[Mapping[str, Any], Builds("ldm.modules.encoders.text_encoder.TextEncoder")]
Words = Annotated[Mapping[str, Any], Builds("ldm.modules.embedding_manager.EmbeddingManager")]
Timesteps = Annotated[int, Range(1, 100_000)]
Noise = Annotated[float, Range(0, 1, above=True)]
LogVariance = Annotated[float, Range(-50, 50)]

KEPT_BYTES = 2**28  # of posteriors over latents, at most


def extract(values: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """values[t] for t [B], shaped [B, 1, 1, 1] to multiply pictures."""
    return values[t].reshape(-1, 1, 1, 1)


def snr_weights(alphas_cumprod: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Weights [T] of the noise loss: the squared error of x_0, times the signal-to-noise ratio clamped to [low, high].

    The cap is Min-SNR (Hang et al., arXiv 2303.09556, section 3.4), whatever the network predicts: the error of a
    velocity, which is weighted there with min(SNR, gamma) / (SNR + 1), is that of the noise times (SNR + 1) / SNR. The
    floor gives weight to the noisiest steps, the
    ones where only the prompt can tell what the picture shows; without it a model learns to heed prompts far more
    slowly.
    """
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return snr.clamp(low, high) / snr


def weighted_mean(error: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """The mean [B] of errors [B, C, h, w]; where there are weights [B, H, W], of pixels, the mean by them, averaged
    over what each latent stands for."""
    if weights is None:
        return error.mean(dim=(1, 2, 3))
    shares = nn.functional.adaptive_avg_pool2d(weights[:, None].to(error), (error.shape[2], error.shape[3]))
    return (error * shares).sum(dim=(1, 2, 3)) / (shares.sum(dim=(1, 2, 3)) * error.shape[1])


class DiffusionWrapper(nn.Module):
    """The UNet under the name published checkpoints have for it, `model.diffusion_model`."""

    diffusion_model: UNetModel
    compiled: Callable[..., torch.Tensor] | None = None  # the network as ldm.compiling makes it
    compiled_learns = False  # whether that is for learning; else for drawing

    def __init__(self, unet_config: Network, conditioning_key: str | None):
        super().__init__()
        if conditioning_key != "crossattn":
            raise UserError(f"conditioning_key {conditioning_key!r}: a text-to-image model has 'crossattn'")
        self.diffusion_model = instantiate_from_config(unet_config)
        self.conditioning_key = conditioning_key

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor | CachedContext) -> torch.Tensor:
        """What the network predicts, as UNetModel has it."""
        if self.compiled is None or self.compiled_learns != torch.is_grad_enabled():
            return self.diffusion_model(x, t, context)
        if isinstance(context, CachedContext):  # filled first: else the steps after the first are compiled once more
            context.fill(self.diffusion_model)
        return self.compiled(x, t, context)


class DDPM(nn.Module):
    """Gaussian diffusion with a network that tells the noise (Ho et al., arXiv 2006.11239)."""

    # buffers, float32 [T]
    betas: torch.Tensor
    alphas_cumprod: torch.Tensor
    sqrt_alphas_cumprod: torch.Tensor
    sqrt_one_minus_alphas_cumprod: torch.Tensor
    lvlb_weights: torch.Tensor    # of the variational bound's terms
    simple_weights: torch.Tensor  # of the simple loss
    logvar: torch.Tensor

    def __init__(
        self,
        unet_config: Network,                    # target and params of the network
        timesteps: Timesteps = 1000,
        beta_schedule: Literal["linear", "sqrt_linear", "cosine"] = "linear",  # see make_beta_schedule
        linear_start: Noise = 1e-4,
        linear_end: Noise = 2e-2,
        cosine_s: Share = 8e-3,
        loss_type: Literal["l2", "l1"] = "l2",
        l_simple_weight: Weight = 1.0,           # weight of the simple loss, eq. 14
        original_elbo_weight: Weight = 0.0,      # weight of the variational bound's terms, eq. 12
        logvar_init: LogVariance = 0.0,          # constant log-variance of the loss
        snr_weight: tuple[Weight, Weight] | None = None,  # (low, high) of the simple loss, see snr_weights
        min_snr_gamma: Positive | None = None,   # gamma of Min-SNR: instead of snr_weight, (0, gamma)
        parameterization: Literal["eps", "v"] = "eps",  # what the network predicts: the noise, or the velocity
        first_stage_key: str = "image",          # batch entry that holds pictures
        image_size: Width = 256,                 # of what is diffused (the latents)
        channels: Width = 3,                     # likewise
        use_ema: bool = True,                    # keep averaged weights and use them for samples
        conditioning_key: Literal["crossattn"] | None = None,  # how the prompt enters the network
    ):
        super().__init__()
        if parameterization not in ("eps", "v") or loss_type not in ("l1", "l2"):
            raise UserError(f"parameterization {parameterization!r} with loss {loss_type!r}: this code has 'eps' and "
                            "'v' with 'l2' and 'l1'")
        self.first_stage_key, self.image_size, self.channels = first_stage_key, image_size, channels
        self.parameterization, self.loss_type = parameterization, loss_type
        self.l_simple_weight, self.original_elbo_weight = l_simple_weight, original_elbo_weight
        self.learning_rate, self.seed = 0.0, 0
        self.model = DiffusionWrapper(unet_config, conditioning_key)
        self.model_ema = LitEma(self.model) if use_ema else None
        self.register_schedule(make_beta_schedule(beta_schedule, timesteps, linear_start, linear_end, cosine_s))
        self.last_losses: tuple[torch.Tensor, torch.Tensor] | None = None  # of p_losses: timesteps [B], losses [B]
        self.register_buffer("logvar", torch.full((timesteps,), float(logvar_init), device="cpu"), persistent=False)
        limits = (0.0, min_snr_gamma) if min_snr_gamma else snr_weight
        weights = snr_weights(self.alphas_cumprod, *limits) if limits else torch.ones_like(self.alphas_cumprod)
        self.register_buffer("simple_weights", weights, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the schedule is, and the model with it."""
        return self.betas.device

    def register_schedule(self, betas: np.ndarray) -> None:
        """Buffers of the forward process and its posterior, float32 [T], from betas float64 [T]."""
        alphas = 1.0 - betas
        alphas_cumprod = np.cumprod(alphas)
        alphas_cumprod_prev = np.append(1.0, alphas_cumprod[:-1])
        posterior_variance = betas * (1.0 - alphas_cumprod_prev) / (1.0 - alphas_cumprod)  # eq. 7
        self.num_timesteps = len(betas)
        for name, value in {
            "betas": betas,
            "alphas_cumprod": alphas_cumprod,
            "alphas_cumprod_prev": alphas_cumprod_prev,
            "sqrt_alphas_cumprod": np.sqrt(alphas_cumprod),
            "sqrt_one_minus_alphas_cumprod": np.sqrt(1.0 - alphas_cumprod),
            "log_one_minus_alphas_cumprod": np.log(1.0 - alphas_cumprod),
            "sqrt_recip_alphas_cumprod": np.sqrt(1.0 / alphas_cumprod),
            "sqrt_recipm1_alphas_cumprod": np.sqrt(1.0 / alphas_cumprod - 1),
            "posterior_variance": posterior_variance,
            "posterior_log_variance_clipped": np.log(np.maximum(posterior_variance, 1e-20)),
            "posterior_mean_coef1": betas * np.sqrt(alphas_cumprod_prev) / (1.0 - alphas_cumprod),
            "posterior_mean_coef2": (1.0 - alphas_cumprod_prev) * np.sqrt(alphas) / (1.0 - alphas_cumprod),
        }.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32, device="cpu"))
        lvlb_weights = np.append(np.nan, betas[1:] ** 2 / (
            2 * posterior_variance[1:] * alphas[1:] * (1 - alphas_cumprod[1:])))
        lvlb_weights[0] = lvlb_weights[min(1, len(betas) - 1)]  # the first posterior has no variance
        self.register_buffer("lvlb_weights", torch.tensor(lvlb_weights, dtype=torch.float32, device="cpu"),
                             persistent=False)

    def q_sample(self, x_start: torch.Tensor, t: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """x_t from x_0 [B, C, H, W], t int [B] in [0, T) and noise like x_0 (eq. 4)."""
        noise = torch.randn_like(x_start) if noise is None else noise
        return extract(self.sqrt_alphas_cumprod, t) * x_start + extract(self.sqrt_one_minus_alphas_cumprod, t) * noise

    def apply_model(self, x_noisy: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | CachedContext) -> torch.Tensor:
        """The predicted noise for x_noisy [B, C, H, W] at t int [B], given features [B, N, D].

        A network that predicts the velocity v = alpha * noise - sigma * x_0 (Salimans & Ho, arXiv 2202.00512, section
        4 and appendix D) has the noise computed from it: alpha * v + sigma * x_t.
        """
        prediction = self.model(x_noisy, t, cond)
        if self.parameterization == "eps":
            return prediction
        return (extract(self.sqrt_alphas_cumprod, t) * prediction
                + extract(self.sqrt_one_minus_alphas_cumprod, t) * x_noisy)

    def p_losses(self, x_start: torch.Tensor, cond: torch.Tensor | CachedContext, t: torch.Tensor,
                 noise: torch.Tensor | None = None, mask: torch.Tensor | None = None
                 ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(loss [], {name: value}): the error of the noise prediction, x_start [B, C, H, W], t int [B]; in the mean by
        a mask of what counts, in pixels [B, H', W'] in [0, 1]."""
        noise = torch.randn_like(x_start) if noise is None else noise
        prediction = self.apply_model(self.q_sample(x_start, t, noise), t, cond)
        difference = prediction - noise
        error = weighted_mean(difference.abs() if self.loss_type == "l1" else difference.square(), mask)
        weighted = self.simple_weights[t] * error / self.logvar[t].exp() + self.logvar[t]
        self.last_losses = t, weighted.detach()
        vlb = (self.lvlb_weights[t] * error).mean()
        loss = self.l_simple_weight * weighted.mean() + self.original_elbo_weight * vlb
        stage = "train" if self.training else "val"
        return loss, {f"{stage}/loss_simple": error.mean(), f"{stage}/loss_vlb": vlb, f"{stage}/loss": loss}

    @contextmanager
    def ema_scope(self) -> Iterator[None]:
        """Within it the network has its averaged weights, where there are any."""
        if self.model_ema is None:
            yield
            return
        self.model_ema.swap(self.model)
        try:
            yield
        finally:
            self.model_ema.swap(self.model)


class LatentDiffusion(DDPM):
    """Text-to-image latent diffusion (Rombach et al., arXiv 2112.10752), frozen, with learned words.

    Only the embedding manager's vectors are trainable (Gal et al., arXiv 2208.01618, eq. 2).
    """

    first_stage_model: AutoencoderKL
    cond_stage_model: TextEncoder
    embedding_manager: EmbeddingManager

    def __init__(
        self,
        first_stage_config: FirstStage,          # the autoencoder
        cond_stage_config: CondStage,            # the text encoder
        personalization_config: Words | None = None,  # the embedding manager; default: one without words
        cond_stage_key: str = "caption",         # batch entry that holds prompts
        scale_factor: Positive = 1.0,            # latents times this have a deviation of about one
        embedding_reg_weight: Weight = 0.0,      # weight of the vectors' distance to their start
        guidance_scale: Guidance = 5.0,          # to draw with, unless told otherwise; so are the next two
        sampler: Literal["ddim", "plms", "dpm_solver"] = "ddim",
        sampling_steps: Timesteps = 50,
        timestep_range: tuple[Natural, Count] | None = None,  # (first, end) of the timesteps trained on; None: all
        max_vector_norm: Weight = 300.0,         # times the longest token embedding: a longer vector of a learned word
                                                 # ends training, which has lost it; 0: any length
        preserve_embedding_norm: bool = False,   # keep vectors as long as a token embedding, see keep_norms
        **kwargs: Any,                           # see DDPM
    ):
        super().__init__(**kwargs)
        self.cond_stage_key, self.scale_factor = cond_stage_key, scale_factor
        self.embedding_reg_weight, self.guidance_scale = embedding_reg_weight, guidance_scale
        self.sampler, self.sampling_steps = sampler, sampling_steps
        self.max_vector_norm, self.preserve_embedding_norm = max_vector_norm, preserve_embedding_norm
        first, end = timestep_range or (0, self.num_timesteps)
        self.timestep_range = first, end
        self.first_stage_model = instantiate_from_config(first_stage_config)
        self.cond_stage_model = instantiate_from_config(cond_stage_config)
        self.requires_grad_(False)
        self.embedding_manager = instantiate_from_config(
            personalization_config or {"target": "ldm.modules.embedding_manager.EmbeddingManager",
                                       "params": {"placeholder_strings": []}}, embedder=self.cond_stage_model)
        self._moments: dict[str, torch.Tensor] = {}

    def weights_loaded(self) -> None:
        """Renew what starts from other weights: the learned words, and averages that no checkpoint has brought."""
        self.embedding_manager.reset_parameters()
        if self.model_ema is not None and any(b.is_meta for b in self.model_ema.buffers()):
            self.model_ema = LitEma(self.model)

    def train(self, mode: bool = True) -> Self:
        """Training mode is for what is trained: the frozen parts stay in eval mode."""
        super().train(mode)
        for module in (self.model, self.first_stage_model, self.cond_stage_model):
            module.eval()
        return self

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters that training changes: the vectors of the learned words."""
        return list(self.embedding_manager.embedding_parameters())

    # Text ------------------------------------------------------------------------------------------------------------

    def get_learned_conditioning(self, c: Sequence[str | Prompt]) -> torch.Tensor:
        """Features [B, N, D] of prompts, learned words in place. A text is read letter for letter, a Prompt
        (`ldm.prompts.parse_prompt`) with the weights of its words."""
        return self.cond_stage_model.encode(c, embedding_manager=self.embedding_manager)

    # Pictures --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode_first_stage(self, x: torch.Tensor) -> DiagonalGaussianDistribution:
        """The posterior over latents of pixels [B, 3, H, W] in [-1, 1]."""
        return self.first_stage_model.encode(x)

    def get_first_stage_encoding(self, encoder_posterior: DiagonalGaussianDistribution | torch.Tensor) -> torch.Tensor:
        """Scaled latents: a draw from a posterior, or the tensor given."""
        z = encoder_posterior
        return self.scale_factor * (z.sample() if isinstance(z, DiagonalGaussianDistribution) else z)

    @torch.no_grad()
    def decode_first_stage(self, z: torch.Tensor) -> torch.Tensor:
        """Pixels [B, 3, H, W], about in [-1, 1], of scaled latents."""
        return self.first_stage_model.decode(z / self.scale_factor)

    def _posterior(self, batch: Mapping[str, Any]) -> DiagonalGaussianDistribution:
        """The batch's posterior. Pictures that carry a `key` are encoded the first time only, as long as there is room
        (KEPT_BYTES): the data set is a handful of pictures, seen thousands of times."""
        images = batch[self.first_stage_key]
        keys = batch.get("key")
        if keys is None:
            return self.encode_first_stage(images.permute(0, 3, 1, 2).to(self.device))
        moments = []
        for i, key in enumerate(keys):
            if (parameters := self._moments.get(key)) is None:
                pixels = images[i : i + 1].permute(0, 3, 1, 2).to(self.device)
                parameters = self.encode_first_stage(pixels).parameters
                if len(self._moments) * parameters.nbytes < KEPT_BYTES:
                    self._moments[key] = parameters
            moments.append(parameters)
        return DiagonalGaussianDistribution(torch.cat(moments))

    # Training --------------------------------------------------------------------------------------------------------

    def forward(self, x: torch.Tensor, c: list[str], **mask: torch.Tensor
                ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(loss, {name: value}) of scaled latents x [B, C, h, w] and prompts, at random timesteps; `mask` as p_losses
        takes it, if there is one."""
        t, noise = torch.randint(*self.timestep_range, (x.shape[0],), device=x.device), torch.randn_like(x)
        return self.p_losses(x, self.get_learned_conditioning(list(c)), t, noise, **mask)

    def p_losses(self, x_start: torch.Tensor, cond: torch.Tensor | CachedContext, t: torch.Tensor,
                 noise: torch.Tensor | None = None, mask: torch.Tensor | None = None
                 ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """As DDPM has it, plus the vectors' distance to their start where embedding_reg_weight says so."""
        loss, parts = super().p_losses(x_start, cond, t, noise, mask)
        if self.embedding_reg_weight > 0:
            stage = "train" if self.training else "val"
            parts[f"{stage}/loss_emb_reg"] = self.embedding_manager.embedding_to_coarse_loss()
            loss = loss + self.embedding_reg_weight * parts[f"{stage}/loss_emb_reg"]
            parts[f"{stage}/loss"] = loss
        return loss, parts

    def shared_step(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(loss [], {name: value}) of a batch of a data set: pictures [B, H, W, 3] in [-1, 1] and their prompts,
        perhaps with masks [B, H, W]."""
        # Chance is a function of the run's seed and the batch's place in it, so that a resumed run draws what an
        # uninterrupted one would have drawn.
        if "position" in batch:
            torch.manual_seed(derive_seed(self.seed, int(batch["position"][0])))
        x = self.get_first_stage_encoding(self._posterior(batch))
        return self(x, batch[self.cond_stage_key], **({"mask": batch["mask"]} if "mask" in batch else {}))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW on what is learned, at `learning_rate`."""
        return torch.optim.AdamW(self.trainable_parameters(), lr=self.learning_rate)

    @torch.no_grad()
    def keep_norms(self) -> None:
        """After a step, give each vector of the learned words the median length of the token embeddings, and leave it
        its direction: what OneTrainer calls to preserve the embedding norm. Long vectors drown the rest of a prompt."""
        length = self.cond_stage_model.token_embeddings.weight.norm(dim=1).median()
        for vectors in self.embedding_manager.embedding_parameters():
            vectors.copy_(nn.functional.normalize(vectors, dim=1) * length)

    # Looking ---------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def log_images(self, batch: Mapping[str, Any], N: int = 4, ddim_steps: Timesteps = 20,
                   unconditional_guidance_scale: Guidance | None = None, sample: bool = True
                   ) -> dict[str, torch.Tensor]:
        """Pictures to look at, each [n, 3, H, W] in about [-1, 1]: `inputs`, `reconstruction`, and, for the batch's
        prompts, `samples` without guidance and `samples_scaled` with it, both from the same noise."""
        images = batch[self.first_stage_key][:N].permute(0, 3, 1, 2).to(self.device)
        log = {"inputs": images, "reconstruction": self.decode_first_stage(
            self.scale_factor * self.encode_first_stage(images).mode())}
        if sample:
            prompts = [escape_prompt(caption) for caption in batch[self.cond_stage_key][:N]]
            seeds = [self.seed + i for i in range(len(images))]
            shape = latent_shape(self, *images.shape[2:])
            for name, scale in (("samples", 1.0), ("samples_scaled", unconditional_guidance_scale)):
                log[name] = sample_prompt(self, prompts, seeds, "dpm_solver", ddim_steps, scale, shape=shape)
        return log


def derive_seed(seed: int, position: int) -> int:
    """A 63-bit seed that depends on both numbers and on nothing else."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{position}".encode(), digest_size=8).digest(), "big") >> 1
