"""Samplers: schedules, step counts, seeds, guidance, cached prompts, and each solver against the exact solution."""

import numpy as np
import pytest
import torch

import load
from ldm.errors import UserError
from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.dpm_solver import DPMSolverSampler
from ldm.models.diffusion.plms import PLMSSampler
from ldm.models.diffusion.sampler import Sampler, make_ddim_timesteps, sample_noise
from ldm.modules.diffusionmodules.util import make_beta_schedule
from tests.conftest import GOLDEN, close

SAMPLERS = (DDIMSampler, PLMSSampler, DPMSolverSampler)
SHAPE = (4, 8, 8)


def sample(model, sampler, steps, seeds=(0, 1), scale=3.0, **options):
    cond = model.get_learned_conditioning(["a photo of a *"] * len(seeds)).detach()
    uncond = model.get_learned_conditioning([""] * len(seeds)).detach()
    options = {"generators": [torch.Generator().manual_seed(s) for s in seeds], "verbose": False} | options
    return sampler(model).sample(steps, len(seeds), SHAPE, cond, unconditional_guidance_scale=scale,
                                 unconditional_conditioning=uncond, **options)


@pytest.fixture(scope="module")
def short_model():
    """The small model with 20 timesteps, so that every step count is quick."""
    config = load.load_config(GOLDEN / "config.yaml")
    config.model.params.timesteps = 20
    return load.load_model_from_config(config, GOLDEN / "model.ckpt")


# Schedules -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("steps, total, expected", [
    (1, 1000, [1]), (2, 1000, [1, 501]), (5, 1000, [1, 201, 401, 601, 801]), (3, 1000, [1, 334, 667]),
    (3, 4, [1, 2, 3]), (4, 4, [0, 1, 2, 3]), (1, 1, [0])])
def test_timesteps_are_evenly_spaced_from_one(steps, total, expected):
    assert make_ddim_timesteps(steps, total).tolist() == expected


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 9, 50, 999, 1000])
def test_timesteps_are_as_many_as_asked_for_and_in_range(steps):
    timesteps = make_ddim_timesteps(steps, 1000)
    assert len(timesteps) == steps
    assert timesteps.min() >= 0 and timesteps.max() <= 999
    assert (timesteps[1:] > timesteps[:-1]).all()
    assert np.ptp(np.diff(timesteps)) <= 1 if steps > 1 else True


@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_impossible_step_counts_are_refused(shared_small_model, steps):
    with pytest.raises(UserError, match=f"{steps} sampling steps: the model has 1 to 1000"):
        sample(shared_small_model, DDIMSampler, steps)


def test_a_schedule_goes_from_the_noisiest_step_to_the_first(shared_small_model):
    sampler, alphas = DDIMSampler(shared_small_model), shared_small_model.alphas_cumprod.double().numpy()
    sampler.make_schedule(4, 1.0)
    assert sampler.ddim_alphas.tolist() == alphas[[1, 251, 501, 751]].tolist()
    assert sampler.ddim_alphas_prev.tolist() == alphas[[0, 1, 251, 501]].tolist()
    sampler.make_schedule(1000, 1.0)  # at all timesteps and eta 1: the variance of DDPM's posterior
    variance = shared_small_model.posterior_variance.double().numpy()
    np.testing.assert_allclose(sampler.ddim_sigmas[1:] ** 2, variance[1:], rtol=1e-3)
    sampler.make_schedule(4)
    assert not sampler.ddim_sigmas.any(), "deterministic unless told otherwise"


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 19, 20])
def test_every_step_count_samples(short_model, sampler, steps):
    calls, seen = [], []
    latents, kept = sample(short_model, sampler, steps, callback=calls.append, log_every_t=4,
                           img_callback=lambda x0, i: seen.append((i, x0)))
    assert latents.shape == (2, *SHAPE) and torch.isfinite(latents).all()
    assert calls == [i for i, _ in seen] == list(range(steps))
    indices = list(reversed(range(steps)))
    logged = [i for i, index in enumerate(indices) if index % 4 == 0 or index == steps - 1]
    assert len(kept["x_inter"]) == len(kept["pred_x0"]) == 1 + len(logged), "the start, then every fourth"
    assert torch.equal(kept["x_inter"][-1], latents)
    assert all(torch.equal(kept["pred_x0"][1 + n], seen[i][1]) for n, i in enumerate(logged))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_long_schedules_sample(shared_small_model, sampler):
    latents, _ = sample(shared_small_model, sampler, 1000, seeds=(0,), scale=1.0)
    assert torch.isfinite(latents).all()


# Against the exact solution ------------------------------------------------------------------------------------------

class Gaussian:
    """The best possible network for pictures that are normal with this mean and deviation: what it says is known, and
    so is where the probability flow (Song et al., arXiv 2011.13456, eq. 13) leads."""

    def __init__(self, mean: float, deviation: float, timesteps: int = 1000):
        betas = make_beta_schedule("linear", timesteps, 0.85 / timesteps, 12 / timesteps, 8e-3)
        self.mean, self.variance = mean, deviation**2
        self.alphas_cumprod = torch.tensor(np.cumprod(1 - betas))

    def spread(self, a):
        return (a * self.variance + 1 - a) ** 0.5

    def apply_model(self, x, t, context):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return (1 - a) ** 0.5 * (x - a**0.5 * self.mean) / self.spread(a) ** 2

    def solution(self, x, start: int):
        """Where the flow takes x, from a timestep to the first."""
        a, end = self.alphas_cumprod[start], self.alphas_cumprod[0]
        return end**0.5 * self.mean + (x - a**0.5 * self.mean) / self.spread(a) * self.spread(end)

    def error(self, sampler, steps: int, **options) -> float:
        x = torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found, _ = sampler(self).sample(steps, 16, (1, 4, 4), torch.zeros(16, 1, 1), x_T=x, verbose=False, **options)
        expected = self.solution(x, int(make_ddim_timesteps(steps, len(self.alphas_cumprod))[-1]))
        return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("sampler, steps", [(s, n) for s in SAMPLERS for n in (1, 2, 3, 5, 20)
                                            if (s, n) != (PLMSSampler, 1)])
def test_a_single_picture_is_found_in_any_number_of_steps(sampler, steps):
    """Where all data is one picture the flow is straight, and every solver follows it exactly. But for one step of
    PLMS: it looks ahead to where the next step would be, and there is none."""
    assert Gaussian(0.7, 0.0).error(sampler, steps) < 1e-9


@pytest.mark.parametrize("sampler, steps, most, gain", [
    (DDIMSampler, 50, 0.032, 1.9), (DPMSolverSampler, 50, 0.021, 2.8), (PLMSSampler, 10, 0.028, 2.6)])
def test_the_error_falls_with_the_solvers_order(sampler, steps, most, gain):
    """Twice the steps: half the error of a solver of first order, nearing a quarter for second order."""
    model = Gaussian(0.7, 0.5)
    errors = [model.error(sampler, n) for n in (steps, 2 * steps, 4 * steps)]
    assert errors[0] < most and all(a > gain * b for a, b in zip(errors, errors[1:], strict=False)), errors


def test_dpm_solver_is_of_first_order_at_its_two_ends_alone():
    """Algorithm 2 has nothing to go by in the first step, and the last one here stays first order: that is DDIM. With
    three steps there is one in between."""
    model, x = Gaussian(0.7, 0.5), torch.randn(2, 1, 4, 4).double()

    def latents(sampler, steps):
        return sampler(model).sample(steps, 2, (1, 4, 4), torch.zeros(2, 1, 1), x_T=x, verbose=False)[0]

    for steps in (1, 2):
        torch.testing.assert_close(latents(DPMSolverSampler, steps), latents(DDIMSampler, steps))
    assert not close(latents(DPMSolverSampler, 3), latents(DDIMSampler, 3), 1e-3)


def test_noise_keeps_the_spread_of_the_data():
    """With eta 1 and as many steps as there are, samples are spread as the data is; temperature scales the noise."""
    model = Gaussian(0.7, 0.5, timesteps=100)
    count = 400
    x = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def drawn(**options):
        torch.manual_seed(0)
        return DDIMSampler(model).sample(100, count, (1, 4, 4), torch.zeros(count, 1, 1), x_T=x, verbose=False,
                                         **options)[0]

    noisy, cold = drawn(eta=1.0), drawn(eta=1.0, temperature=0.0)
    a = model.alphas_cumprod[0]
    assert float(noisy.mean()) == pytest.approx(float(a**0.5) * 0.7, abs=0.05)
    assert float(noisy.std()) == pytest.approx(float(model.spread(a)), rel=0.05)
    assert float(cold.std()) < 0.5 * float(noisy.std())


def test_temperature_scales_the_noise_of_a_step():
    sampler = DDIMSampler(Gaussian(0.7, 0.5))
    sampler.make_schedule(10, 0.6)
    x, eps = torch.randn(2, 1, 4, 4).double(), torch.randn(2, 1, 4, 4).double()

    def step(temperature):
        generators = [torch.Generator().manual_seed(s) for s in (3, 4)]
        return sampler.update(x, eps, 5, generators, temperature)[0]

    noise = sample_noise(x.shape, [torch.Generator().manual_seed(s) for s in (3, 4)], "cpu")
    torch.testing.assert_close(step(1.0) - step(0.0), sampler.ddim_sigmas[5] * noise.double(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(step(2.0) - step(0.0), 2 * (step(1.0) - step(0.0)))
    assert torch.equal(sampler.update(x, eps, 5, [torch.Generator().manual_seed(s) for s in (3, 4)])[0], step(1.0))
    x0 = sampler.predict_x0(x, eps, 5)  # what is left of the noise keeps the level: eq. 12
    level = sampler.ddim_alphas_prev[5]
    rest = (1 - level - sampler.ddim_sigmas[5] ** 2) ** 0.5
    torch.testing.assert_close(step(0.0), level**0.5 * x0 + rest * eps)


# Seeds, starts and guidance ------------------------------------------------------------------------------------------

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


def test_noise_depends_on_its_own_generator():
    def generators():
        return [torch.Generator().manual_seed(s) for s in (1, 2, 1)]

    noise = sample_noise((3, 4, 8, 8), generators(), "cpu")
    assert noise.shape == (3, 4, 8, 8) and torch.equal(noise[0], noise[2]) and not torch.equal(noise[0], noise[1])
    assert torch.equal(noise[1], torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(2)))
    torch.manual_seed(5)
    free = sample_noise((3, 4, 8, 8), None, "cpu")
    torch.manual_seed(5)
    assert torch.equal(free, torch.randn(3, 4, 8, 8)) and abs(float(free.std()) - 1) < 0.1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_used_again_has_forgotten_what_it_drew(shared_small_model, sampler):
    cond = shared_small_model.get_learned_conditioning(["a *", "a cat"]).detach()
    once, x_T = sampler(shared_small_model), torch.randn(2, *SHAPE)
    first, again = (once.sample(4, 2, SHAPE, cond, x_T=x_T, verbose=False)[0] for _ in range(2))
    assert torch.equal(first, again)


def test_the_starting_noise_that_is_given_is_where_it_starts(shared_small_model):
    x_T = torch.randn(2, *SHAPE)
    one, kept = sample(shared_small_model, DDIMSampler, 2, x_T=x_T)
    assert torch.equal(kept["x_inter"][0], x_T) and torch.equal(kept["pred_x0"][0], x_T)
    assert torch.equal(one, sample(shared_small_model, DDIMSampler, 2, seeds=(8, 9), x_T=x_T)[0])


def test_guidance_goes_from_the_empty_prompt_past_the_prompt(shared_small_model):
    model, x = shared_small_model, torch.randn(2, *SHAPE)
    cond, uncond = (model.get_learned_conditioning([p] * 2).detach() for p in ("a photo of a *", ""))

    @torch.no_grad()
    def predicted(scale, unconditional=uncond):
        return DDIMSampler(model).noise_prediction(cond, unconditional, scale)(x, 500)

    with torch.no_grad():
        with_prompt, without = (model.apply_model(x, torch.full((2,), 500), c) for c in (cond, uncond))
    assert not close(with_prompt, without, 1e-3)
    assert close(predicted(1.0), with_prompt) and close(predicted(0.0), without)
    assert close(predicted(3.0), without + 3 * (with_prompt - without))
    assert close(predicted(3.0, None), with_prompt), "there is nothing to guide away from"


@pytest.mark.parametrize("conditioning", [None, torch.zeros(1, 3, 16), torch.zeros(3, 3, 16)])
def test_conditioning_goes_with_the_batch(shared_small_model, conditioning):
    with pytest.raises(ValueError, match=r"conditioning must be \[2, N, D\]"):
        DDIMSampler(shared_small_model).sample(2, 2, SHAPE, conditioning, verbose=False)


def test_a_sampler_without_an_update_rule(shared_small_model):
    with pytest.raises(TypeError, match="no update rule"):
        sample(shared_small_model, Sampler, 2)


def test_progress_on_demand(shared_small_model, monkeypatch, capsys):
    monkeypatch.setattr("ldm.progress.SECONDS", 0)
    sample(shared_small_model, PLMSSampler, 3)
    assert capsys.readouterr().err == ""
    sample(shared_small_model, PLMSSampler, 3, verbose=True)
    assert "drawing: step 3 of 3" in capsys.readouterr().err


def test_what_a_sampler_does_unless_told_otherwise(shared_small_model, monkeypatch, capsys):
    """No guidance, no noise in the steps, progress is shown."""
    monkeypatch.setattr("ldm.progress.SECONDS", 0)
    model, x_T = shared_small_model, torch.randn(2, *SHAPE)
    cond, uncond = (model.get_learned_conditioning([p] * 2).detach() for p in ("a photo of a *", ""))
    latents, _ = DDIMSampler(model).sample(2, 2, SHAPE, cond, x_T=x_T, unconditional_conditioning=uncond)
    assert "drawing: step 2 of 2" in capsys.readouterr().err
    assert torch.equal(latents, DDIMSampler(model).sample(2, 2, SHAPE, cond, x_T=x_T, eta=0.0, verbose=False)[0])


def test_a_prompts_keys_and_values_are_computed_once(small_model):
    layer = next(m for n, m in small_model.named_modules() if n.endswith("attn2.to_k"))
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    sample(small_model, DDIMSampler, 7)
    assert len(calls) == 1


@pytest.mark.slow
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
