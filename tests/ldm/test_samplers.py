"""Samplers: every step count, seeds, cached prompts, and the solvers against each other."""

import pytest
import torch

from ldm.errors import UserError
from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.dpm_solver import DPMSolverSampler
from ldm.models.diffusion.plms import PLMSSampler
from ldm.models.diffusion.sampler import make_ddim_timesteps
from tests.conftest import close

SAMPLERS = (DDIMSampler, PLMSSampler, DPMSolverSampler)
SHAPE = (4, 8, 8)


def sample(model, sampler, steps, seeds=(0, 1), **options):
    cond = model.get_learned_conditioning(["a photo of a *"] * len(seeds)).detach()
    uncond = model.get_learned_conditioning([""] * len(seeds)).detach()
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    return sampler(model).sample(steps, len(seeds), SHAPE, cond, generators=generators, verbose=False,
                                 unconditional_guidance_scale=3.0, unconditional_conditioning=uncond, **options)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 9, 50, 999, 1000])
def test_timesteps_are_as_many_as_asked_for_and_in_range(steps):
    timesteps = make_ddim_timesteps(steps, 1000)
    assert len(timesteps) == steps
    assert timesteps.min() >= 0 and timesteps.max() <= 999
    assert (timesteps[1:] > timesteps[:-1]).all()


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_step_counts_are_refused(shared_small_model, steps):
    with pytest.raises(UserError, match="1 to 1000"):
        sample(shared_small_model, DDIMSampler, steps)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 9, 50])
def test_every_step_count_samples(shared_small_model, sampler, steps):
    calls = []
    latents, kept = sample(shared_small_model, sampler, steps, callback=calls.append)
    assert latents.shape == (2, *SHAPE) and torch.isfinite(latents).all()
    assert calls == list(range(steps))
    assert len(kept["x_inter"]) == len(kept["pred_x0"]) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [999, 1000])
def test_long_schedules_sample(shared_small_model, sampler, steps):
    latents, _ = sample(shared_small_model, sampler, steps, seeds=(0,))
    assert torch.isfinite(latents).all()


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_sample_depends_on_its_seed_and_not_on_its_batch(shared_small_model, eta):
    together, _ = sample(shared_small_model, DDIMSampler, 5, seeds=(3, 4, 5), eta=eta)
    alone, _ = sample(shared_small_model, DDIMSampler, 5, seeds=(4,), eta=eta)
    assert close(together[1:2], alone, 1e-5)
    assert not close(together[0:1], alone, 1e-2)


def test_eta_adds_noise_and_other_solvers_refuse_it(shared_small_model):
    plain, _ = sample(shared_small_model, DDIMSampler, 5)
    noisy, _ = sample(shared_small_model, DDIMSampler, 5, eta=1.0)
    assert not close(plain, noisy, 1e-2)
    for sampler in (PLMSSampler, DPMSolverSampler):
        with pytest.raises(UserError, match="eta"):
            sample(shared_small_model, sampler, 5, eta=0.5)


def test_a_prompts_keys_and_values_are_computed_once(small_model):
    layer = next(m for n, m in small_model.named_modules() if n.endswith("attn2.to_k"))
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    sample(small_model, DDIMSampler, 7)
    assert len(calls) == 1


def test_solvers_agree_in_the_limit(emoji_model):
    """On a trained model many steps of any solver lead to the same picture; few steps of DPM-Solver++ come nearer to
    it than few steps of DDIM. Without guidance, which can tip a picture from one course to another."""
    model, count = emoji_model, 3
    shape = (model.channels, model.image_size, model.image_size)
    cond = model.get_learned_conditioning(["a red apple on a blue background"] * count).detach()
    x_T = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))

    def latents(sampler, steps):
        return sampler(model).sample(steps, count, shape, cond, x_T=x_T, verbose=False)[0]

    limit = latents(PLMSSampler, 40)
    error = {(s, n): float((latents(s, n) - limit).norm() / limit.norm()) for s, n in (
        (DDIMSampler, 80), (DPMSolverSampler, 30), (DPMSolverSampler, 10), (DDIMSampler, 10))}
    assert error[DDIMSampler, 80] < 0.06 and error[DPMSolverSampler, 30] < 0.06, error
    assert error[DPMSolverSampler, 10] < error[DDIMSampler, 10], error
