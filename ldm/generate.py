"""A prompt to pictures: the samplers by name, the shape of the latents, guidance, seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldm.compiling import compile_network
from ldm.devices import keep_freed_memory
from ldm.errors import UserError
from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.dpm_solver import DPMSolverSampler
from ldm.models.diffusion.plms import PLMSSampler
from ldm.models.diffusion.sampler import Sampler
from ldm.modules.packing import can_pack, channels_last, held, hold, pack
from ldm.prompts import parse_prompt
from ldm.util import quoted

if TYPE_CHECKING:
    from ldm.models.diffusion.ddpm import LatentDiffusion

SAMPLERS: dict[str, type[Sampler]] = {"ddim": DDIMSampler, "plms": PLMSSampler, "dpm_solver": DPMSolverSampler}
STRONG_SCALE = 30  # guidance beyond which it is suspected first
PRECISIONS = {"full": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def latent_shape(model: LatentDiffusion, H: int | None = None, W: int | None = None) -> tuple[int, int, int]:
    """(C, h, w) of the latents of pictures of H x W pixels, by default the model's own. Raises UserError for a size
    that the networks cannot take."""
    f = model.first_stage_model.downsampling
    stride = f * model.model.diffusion_model.downsampling
    sizes = [model.image_size * f if n is None else n for n in (H, W)]
    for name, size in zip("HW", sizes, strict=True):
        if size < 1 or size % stride:
            raise UserError(f"--{name} {size}: must be a multiple of {stride}")
    return model.channels, sizes[0] // f, sizes[1] // f


def pixel_stride(model_config: Mapping[str, Any]) -> int | None:
    """What width and height of pictures must be a multiple of for the model that a config describes; None where it does
    not say so in the way of this project's networks."""
    def select(path: str) -> Any:
        return OmegaConf.select(OmegaConf.create(dict(model_config)), f"params.{path}")

    try:
        levels = [select("first_stage_config.params.ddconfig.ch_mult"), select("unet_config.params.channel_mult")]
        patch = select("first_stage_config.params.ddconfig.patch") or 1
        return patch * 2 ** sum(len(level) - 1 for level in levels)
    except (OmegaConfBaseException, TypeError):
        return None


def draw_only(model: LatentDiffusion, precision: str = "full", compiled: bool = False) -> None:
    """Make of a model one that only draws, faster on a CPU and with half the weights in half precision: its averaged
    weights, if it has any, are its own, and those of the UNet and the autoencoder are kept as the device computes with
    them. If `compiled`, the UNet is compiled (`ldm.compiling.check_compiler` says whether it can be)."""
    if model.model_ema is not None:
        model.model_ema.swap(model.model)
        model.model_ema = None
    dtype = PRECISIONS[precision]
    packs = model.device.type == "cpu" and can_pack(dtype)
    if model.device.type == "cpu":
        keep_freed_memory()
    # the keys and values of a prompt are computed once for all steps
    for network, skip in ((model.model, ("attn2.to_k", "attn2.to_v")), (model.first_stage_model, ())):
        if packs and not (compiled and network is model.model):
            pack(network, dtype, skip)
        else:
            channels_last(network)
            hold(network, dtype)
    if compiled:
        compile_network(model, learning=False)


@torch.no_grad()
def sample_prompt(
    model: LatentDiffusion,
    prompt: str | list[str],                     # one for all pictures, or one for each
    seeds: list[int],                            # one a picture; a picture depends on its own, not on the others
    sampler: str = "ddim",                       # one of SAMPLERS
    steps: int = 50,
    scale: float | None = None,                  # guidance; default: the model's own
    eta: float = 0.0,
    shape: tuple[int, int, int] | None = None,   # of the latents; default: the model's own
    precision: str = "full",                     # one of PRECISIONS
    verbose: bool = False,                       # show a progress bar
    negative_prompt: str = "",                   # what guidance goes away from; of all pictures
    callback: Callable[[int], object] | None = None,  # is called after each step with its number
) -> torch.Tensor:
    """Pictures [len(seeds), 3, H, W] in about [-1, 1] of prompts in which words may have weights (ldm.prompts).

    Raises UserError when their numbers are not finite, or, before anything is drawn, for a weight out of range or
    features of the prompt that are not finite.
    """
    n = len(seeds)
    prompts = [prompt] if isinstance(prompt, str) else list(dict.fromkeys(prompt))
    read = [parse_prompt(p, model.embedding_manager.placeholder_ids()) for p in (*prompts, negative_prompt)]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    dtype = PRECISIONS[precision] if precision != "full" else held(model.model)
    autocast = nullcontext() if dtype == torch.float32 else torch.autocast(model.device.type, dtype)
    with autocast, model.ema_scope():
        cond, uncond = model.get_learned_conditioning(read).split([len(prompts), 1])
        if not isinstance(prompt, str):
            cond = cond[[prompts.index(p) for p in prompt]]
        scale = model.guidance_scale if scale is None else scale
        if not torch.isfinite(cond).all() or not torch.isfinite(uncond).all():
            raise UserError(f"the text features of {quoted(prompts[0])} hold numbers that are not finite; "
                            f"{_remedy(precision, 'take another embedding file or checkpoint')}")
        z, _ = SAMPLERS[sampler](model).sample(
            steps, n, shape or latent_shape(model), cond.expand(n, -1, -1), eta=eta, generators=generators,
            verbose=verbose, callback=callback, unconditional_guidance_scale=scale,
            unconditional_conditioning=uncond.expand(n, -1, -1))
        images = model.decode_first_stage(z)
    if not torch.isfinite(images).all():
        strong = abs(scale) > STRONG_SCALE
        raise UserError("the pictures hold numbers that are not finite; " + _remedy(
            precision, f"take a --scale nearer to {model.guidance_scale:g} than {scale:g}" if strong else
            "take another checkpoint"))
    return images


def _remedy(precision: str, otherwise: str) -> str:
    if precision == "full":
        return otherwise
    return f"take --precision full instead of {precision}, and if that does not help, {otherwise}"
