"""The same work done by this project and by diffusers, from the same weights: what `benchmarks.speed` times.

A row is a piece of work. Each side prepares it as it would for somebody who learns or draws, and gives a function of no
arguments that does it once and returns the numbers that both must agree in.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ldm.modules.attention import CachedContext
from load import load_model_from_config, meta_model, model_config

if TYPE_CHECKING:
    from ldm.models.diffusion.ddpm import LatentDiffusion

Run = Callable[[], torch.Tensor]
PROMPT, PLACEHOLDER = "a photo of a *", "*"
BATCH, STEPS, SCALE = 4, 50, 5.0  # pictures of a learning step; of sampling
DTYPES = {"full": torch.float32, "bf16": torch.bfloat16}


class Inputs(NamedTuple):
    """What goes in, the same for both sides; float32, made from a seed."""

    latents: torch.Tensor   # [BATCH, C, h, w]
    noise: torch.Tensor     # the same
    t: torch.Tensor         # int [BATCH]
    features: torch.Tensor  # [BATCH, N, D]
    pictures: torch.Tensor  # [1, 3, H, W]


def make_inputs(model: LatentDiffusion, device: str = "cpu") -> Inputs:
    """Inputs of the model's own sizes, on a device; the meta device too."""
    width = model.cond_stage_model.token_embeddings.embedding_dim
    latents = BATCH, model.channels, model.image_size, model.image_size
    pixels = model.image_size * model.first_stage_model.downsampling
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.empty(shape, device=device) if device == "meta" else torch.randn(shape, generator=generator)

    return Inputs(normal(*latents), normal(*latents), torch.tensor([5, 300, 600, 950], device=device)[:BATCH],
                  normal(BATCH, model.cond_stage_model.max_seq_len, width), normal(1, 3, pixels, pixels).clamp(-1, 1))


def autocast(precision: str) -> AbstractContextManager[Any]:
    """Autocast to the number format, or nothing for float32."""
    return nullcontext() if precision == "full" else torch.autocast("cpu", DTYPES[precision])


def gradient(of: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
    """The gradient of a leaf, which is left without one."""
    loss.backward()
    found = of.grad
    assert found is not None
    of.grad = None
    return found


# This project --------------------------------------------------------------------------------------------------------

class Ours:
    """This project's model, loaded from a folder of diffusers and made ready for a row."""

    name = "this project"

    def __init__(self, folder: Path, precision: str) -> None:
        config = model_config(folder)
        self.folder, self.precision = folder, precision
        self.model = load_model_from_config(config, folder)
        self.meta = lambda: meta_model(config, folder)

    def inputs(self) -> Inputs:
        """Those of the model's sizes."""
        return make_inputs(self.model)

    def lay_out(self) -> None:
        """As `train_new.py` does."""
        from ldm.memory import lay_out

        lay_out(self.model, self.meta, BATCH, "off", "32-true" if self.precision == "full" else "bf16-mixed",
                torch.device("cpu"))

    def learn(self, inputs: Inputs) -> Run:
        """A learning step: prompts to loss to the gradient of the learned vector."""
        self.lay_out()
        model, (vector,) = self.model, self.model.trainable_parameters()

        def run() -> torch.Tensor:
            with autocast(self.precision):
                loss, _ = model.p_losses(inputs.latents, model.get_learned_conditioning([PROMPT] * BATCH), inputs.t,
                                         inputs.noise)
            return gradient(vector, loss)
        return run

    def unet(self, inputs: Inputs) -> Run:
        """The UNet's part of it, to the gradient of the features."""
        self.lay_out()
        features = inputs.features.clone().requires_grad_()

        def run() -> torch.Tensor:
            with autocast(self.precision):
                loss, _ = self.model.p_losses(inputs.latents, features, inputs.t, inputs.noise)
            return gradient(features, loss)
        return run

    def text(self, inputs: Inputs) -> Run:
        """The text encoder's part: features, and back to the vector."""
        self.lay_out()
        model, (vector,) = self.model, self.model.trainable_parameters()

        def run() -> torch.Tensor:
            with autocast(self.precision):
                features = model.get_learned_conditioning([PROMPT] * BATCH)
            return gradient(vector, (features.float() * inputs.features).mean())
        return run

    def draw(self, inputs: Inputs, batch: int) -> Run:
        """A DDIM step of so many pictures, with guidance."""
        from ldm.generate import draw_only
        from ldm.models.diffusion.ddim import DDIMSampler

        draw_only(self.model, self.precision)
        sampler = DDIMSampler(self.model)
        sampler.make_schedule(STEPS)
        predict = sampler.noise_prediction(inputs.features[:1].expand(batch, -1, -1),
                                           inputs.features[1:2].expand(batch, -1, -1), SCALE)

        def run() -> torch.Tensor:
            with torch.no_grad(), autocast(self.precision):
                return sampler.step(predict, inputs.latents[:batch], STEPS // 2, None, 1.0)[0]
        return run

    def encode(self, inputs: Inputs) -> Run:
        """A picture to the mean of its latents."""
        self.lay_out()
        return self._first_stage(lambda: self.model.encode_first_stage(inputs.pictures).mode())

    def decode(self, inputs: Inputs) -> Run:
        """Latents to a picture."""
        from ldm.generate import draw_only

        draw_only(self.model, self.precision)
        return self._first_stage(lambda: self.model.decode_first_stage(inputs.latents[:1]))

    def _first_stage(self, work: Run) -> Run:
        def run() -> torch.Tensor:
            with torch.no_grad(), autocast(self.precision):
                return work()
        return run


# diffusers -----------------------------------------------------------------------------------------------------------

class Theirs:
    """diffusers' classes, each loaded from the folder when a row needs it; weights in the number format asked for."""

    name = "diffusers"

    def __init__(self, folder: Path, precision: str) -> None:
        from diffusers.utils import logging

        logging.disable_progress_bar()
        self.folder, self.precision = folder, precision

    def part(self, name: str) -> Any:
        """The part of the pipeline that a folder has under a name, frozen."""
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertModel

        kinds: dict[str, Any] = {"unet": UNet2DConditionModel, "vqvae": AutoencoderKL, "bert": LDMBertModel}
        module = kinds[name].from_pretrained(self.folder / name, torch_dtype=DTYPES[self.precision])
        return module.eval().requires_grad_(False)

    def inputs(self) -> Inputs:
        """Those of the model's sizes."""
        return make_inputs(meta_model(model_config(self.folder), self.folder))

    def scheduler(self) -> Any:
        """DDIM as the folder has it."""
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_pretrained(self.folder / "scheduler")
        scheduler.set_timesteps(STEPS)
        return scheduler

    def _encoder(self) -> tuple[torch.Tensor, Callable[[], torch.Tensor]]:
        """A vector that starts from the placeholder's, and a function that gives the features of prompts with it."""
        encoder = self.part("bert").model
        tokenizer = meta_model(model_config(self.folder), self.folder).cond_stage_model.tknz_fn
        tokens, (placeholder,) = tokenizer([PROMPT] * BATCH), tokenizer.ids(PLACEHOLDER)
        vector = encoder.embed_tokens.weight[self._start(tokenizer)].float().clone().requires_grad_()

        def features() -> torch.Tensor:
            embedded = encoder.embed_tokens(tokens)
            embedded = torch.where((tokens == placeholder)[..., None], vector.to(embedded), embedded)
            return encoder(inputs_embeds=embedded)[0]
        return vector, features

    def _start(self, tokenizer: Any) -> int:
        (word,) = tokenizer.ids("sculpture")  # from which a folder's placeholder starts in this project
        return word

    def learn(self, inputs: Inputs) -> Run:
        """A learning step: prompts to loss to the gradient of the learned vector."""
        unet, scheduler, (vector, features) = self.part("unet"), self.scheduler(), self._encoder()

        def run() -> torch.Tensor:
            with autocast(self.precision):
                noisy = scheduler.add_noise(inputs.latents, inputs.noise, inputs.t)
                loss = F.mse_loss(unet(noisy, inputs.t, features()).sample.float(), inputs.noise)
            return gradient(vector, loss)[None]
        return run

    def unet(self, inputs: Inputs) -> Run:
        """The UNet's part of it, to the gradient of the features."""
        unet, scheduler, features = self.part("unet"), self.scheduler(), inputs.features.clone().requires_grad_()

        def run() -> torch.Tensor:
            with autocast(self.precision):
                noisy = scheduler.add_noise(inputs.latents, inputs.noise, inputs.t)
                loss = F.mse_loss(unet(noisy, inputs.t, features).sample.float(), inputs.noise)
            return gradient(features, loss)
        return run

    def text(self, inputs: Inputs) -> Run:
        """The text encoder's part: features, and back to the vector."""
        vector, features = self._encoder()

        def run() -> torch.Tensor:
            with autocast(self.precision):
                found = features()
            return gradient(vector, (found.float() * inputs.features).mean())[None]
        return run

    def draw(self, inputs: Inputs, batch: int) -> Run:
        """A DDIM step of so many pictures, with guidance."""
        unet, scheduler, x = self.part("unet"), self.scheduler(), inputs.latents[:batch]
        context = torch.cat([inputs.features[1:2].expand(batch, -1, -1), inputs.features[:1].expand(batch, -1, -1)])
        t, dtype = scheduler.timesteps[STEPS // 2 - 1], DTYPES[self.precision]  # counted from the noisiest

        def run() -> torch.Tensor:
            with torch.no_grad():
                without, with_prompt = unet(torch.cat([x, x]).to(dtype), t, context.to(dtype)).sample.float().chunk(2)
                return scheduler.step(without + SCALE * (with_prompt - without), t, x).prev_sample
        return run

    def encode(self, inputs: Inputs) -> Run:
        """A picture to the mean of its latents."""
        autoencoder, pictures = self.part("vqvae"), inputs.pictures.to(DTYPES[self.precision])

        def run() -> torch.Tensor:
            with torch.no_grad():
                return autoencoder.encode(pictures).latent_dist.mode()
        return run

    def decode(self, inputs: Inputs) -> Run:
        """Latents to a picture."""
        autoencoder = self.part("vqvae")
        latents = (inputs.latents[:1] / autoencoder.config.scaling_factor).to(DTYPES[self.precision])

        def run() -> torch.Tensor:
            with torch.no_grad():
                return autoencoder.decode(latents).sample
        return run


# Rows ----------------------------------------------------------------------------------------------------------------

class Row(NamedTuple):
    """A piece of work: what it is, how a side prepares it, and, for the meta device, a function that does the least
    that there is to do."""

    title: str
    prepare: Callable[[Any, Inputs], Run]
    work: Callable[[LatentDiffusion, Inputs], Callable[[], object]]


def _network(model: LatentDiffusion, inputs: Inputs, features: torch.Tensor) -> torch.Tensor:
    return model.model.diffusion_model(inputs.latents, inputs.t, features)


def _features(model: LatentDiffusion) -> torch.Tensor:
    encoder = model.cond_stage_model
    tokens = encoder.tknz_fn([PROMPT] * BATCH).to("meta")
    vector = torch.empty(encoder.token_embeddings.embedding_dim, device="meta", requires_grad=True)
    return encoder.features(tokens, lambda _, embedded: embedded + vector)


def _draw(batch: int) -> Row:
    def work(model: LatentDiffusion, inputs: Inputs) -> Callable[[], object]:
        network, context = model.model.diffusion_model, CachedContext(torch.cat([inputs.features[:1]] * 2 * batch))
        context.fill(network)  # once for all steps
        return lambda: network(torch.cat([inputs.latents[:1]] * 2 * batch),
                               torch.ones(2 * batch, dtype=torch.long, device="meta"), context)

    pictures = "a picture" if batch == 1 else f"{batch} pictures"
    return Row(f"a DDIM step of {pictures} with guidance", lambda side, inputs: side.draw(inputs, batch), work)


ROWS = {
    "learn": Row(f"a learning step of {BATCH} pictures: text encoder and UNet, forward and backward",
                 lambda side, inputs: side.learn(inputs),
                 lambda model, inputs: lambda: _network(model, inputs, _features(model)).sum().backward()),
    "unet": Row(f"the UNet's part of it, {BATCH} pictures", lambda side, inputs: side.unet(inputs),
                lambda model, inputs: lambda: _network(
                    model, inputs, inputs.features.requires_grad_()).sum().backward()),
    "text": Row(f"the text encoder's part of it, {BATCH} prompts", lambda side, inputs: side.text(inputs),
                lambda model, _: lambda: _features(model).sum().backward()),
    "draw": _draw(1),
    "draw4": _draw(4),
    "encode": Row("the autoencoder, a picture to latents", lambda side, inputs: side.encode(inputs),
                  lambda model, inputs: lambda: model.first_stage_model.encode(inputs.pictures)),
    "decode": Row("the autoencoder, latents to a picture", lambda side, inputs: side.decode(inputs),
                  lambda model, inputs: lambda: model.first_stage_model.decode(inputs.latents[:1])),
}


def count_flops(folder: Path) -> dict[str, int]:
    """Floating-point operations of each row, two to a multiplication with addition, counted on the meta device."""
    model = meta_model(model_config(folder), folder)
    counted = {}
    for name, row in ROWS.items():
        work = row.work(model, make_inputs(model, "meta"))
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            work()
        counted[name] = counter.get_total_flops()
    return counted
