"""The figures that the published code computed, within 1e-5 of their magnitude in float32.

The worst of them here is 3.2e-6 off, the logarithm in the schedule; of what the networks compute, 1.9e-6, the gradient.
"""

import pytest
import torch

from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.plms import PLMSSampler
from tests.conftest import close


def test_text(golden, shared_small_model):
    model, expected = shared_small_model, golden.expected
    assert torch.equal(model.cond_stage_model.tknz_fn(golden.prompts), expected["text.tokens"])
    assert close(model.cond_stage_model.encode(golden.prompts), expected["text.plain"])
    injected = model.get_learned_conditioning(golden.prompts)
    assert close(injected, expected["text.injected"])
    assert not close(injected, expected["text.plain"])


def test_autoencoder(golden, shared_small_model):
    model, expected = shared_small_model, golden.expected
    posterior = model.encode_first_stage(expected["vae.image"])
    assert close(posterior.mean, expected["vae.mean"])
    assert close(posterior.logvar, expected["vae.logvar"])
    assert close(posterior.kl(), expected["vae.kl"])
    assert close(model.decode_first_stage(posterior.mode() * model.scale_factor), expected["vae.decoded"])


def test_unet(golden, shared_small_model):
    expected = golden.expected
    eps = shared_small_model.apply_model(expected["unet.x"], expected["unet.t"], expected["text.plain"][:2])
    assert close(eps, expected["unet.eps"])


def test_schedule(golden, shared_small_model):
    names = [name for name in golden.expected if name.startswith("schedule.")]
    assert len(names) >= 10
    for name in names:
        assert close(getattr(shared_small_model, name.removeprefix("schedule.")), golden.expected[name]), name


def test_loss_and_gradient_of_the_placeholder(golden, small_model):
    expected, model = golden.expected, small_model.train()
    x_start, t, noise = (expected[f"loss.{n}"] for n in ("x_start", "t", "noise"))
    assert close(model.q_sample(x_start, t, noise), expected["loss.x_noisy"])
    loss, parts = model.p_losses(x_start, model.get_learned_conditioning(golden.prompts[:2]), t, noise)
    assert close(loss, expected["loss.value"])
    assert set(parts) == {"train/loss_simple", "train/loss_vlb", "train/loss"}
    loss.backward()
    (vectors,) = model.trainable_parameters()
    assert close(vectors.grad, expected["loss.grad.0"])


@pytest.mark.parametrize("name, sampler, steps, scale", [
    ("ddim5", DDIMSampler, 5, 7.5), ("ddim10", DDIMSampler, 10, 7.5), ("ddim5.noguide", DDIMSampler, 5, 1.0),
    ("plms5", PLMSSampler, 5, 7.5), ("plms10", PLMSSampler, 10, 7.5)])
def test_samples(golden, shared_small_model, name, sampler, steps, scale):
    model, x_T = shared_small_model, golden.expected["sample.x_T"]
    cond, uncond = (model.get_learned_conditioning(p).detach() for p in (golden.prompts[:2], ["", ""]))
    latents, _ = sampler(model).sample(steps, len(x_T), x_T.shape[1:], cond, x_T=x_T, verbose=False,
                                       unconditional_guidance_scale=scale, unconditional_conditioning=uncond)
    assert close(latents, golden.expected[f"sample.{name}"])


def test_ddim_schedule(golden, shared_small_model):
    sampler = DDIMSampler(shared_small_model)
    sampler.make_schedule(5, ddim_eta=0.5)
    assert sampler.ddim_timesteps.tolist() == golden.expected["sample.ddim_timesteps"].tolist()
    assert close(torch.tensor(sampler.ddim_sigmas), golden.expected["sample.ddim_sigmas.eta0.5"])
