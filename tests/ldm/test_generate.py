"""From a prompt to pictures: sizes, prompts, seeds, guidance, precision."""

import pytest
import torch

from ldm.errors import UserError
from ldm.generate import SAMPLERS, latent_shape, sample_prompt
from tests.conftest import close


def draw(model, prompt="a photo of a *", seeds=(0, 1), **options):
    return sample_prompt(model, prompt, list(seeds), steps=4, **options)


def test_latents_of_the_models_own_size_and_of_others(shared_small_model, emoji_model):
    assert latent_shape(shared_small_model) == (4, 8, 8)
    assert latent_shape(emoji_model) == (emoji_model.channels, emoji_model.image_size, emoji_model.image_size)
    f = emoji_model.first_stage_model.downsampling
    assert latent_shape(emoji_model, 32, 96)[1:] == (32 // f, 96 // f)
    assert latent_shape(emoji_model, W=96)[1:] == (emoji_model.image_size, 96 // f)
    assert latent_shape(emoji_model, H=96)[1:] == (96 // f, emoji_model.image_size)


@pytest.mark.parametrize("sizes", [{"H": 0}, {"W": -16}, {"H": 33}, {"H": 32, "W": 40}])
def test_sizes_that_the_networks_cannot_take(emoji_model, sizes):
    stride = emoji_model.first_stage_model.downsampling * emoji_model.model.diffusion_model.downsampling
    wrong = {name: n for name, n in sizes.items() if n < 1 or n % stride}
    with pytest.raises(UserError, match="|".join(f"--{name} {n}: must be a multiple of {stride}"
                                                 for name, n in wrong.items())):
        latent_shape(emoji_model, **sizes)


def test_several_prompts_draw_what_each_draws_alone(shared_small_model):
    together = draw(shared_small_model, ["a photo of a *", "two cats"], seeds=(3, 4))
    assert together.shape == (2, 3, 16, 16)
    assert close(together[:1], draw(shared_small_model, "a photo of a *", seeds=(3,)))
    assert close(together[1:], draw(shared_small_model, "two cats", seeds=(4,)))
    assert not close(together[1:], draw(shared_small_model, "a photo of a *", seeds=(4,)), 1e-3)


def test_a_prompt_goes_with_every_seed(shared_small_model):
    pictures = draw(shared_small_model, seeds=(5, 6, 5))
    assert torch.equal(pictures[0], pictures[2]) and not close(pictures[0], pictures[1], 1e-2)
    assert close(pictures, draw(shared_small_model, ["a photo of a *"] * 3, seeds=(5, 6, 5)))


def test_the_number_of_prompts_is_one_or_that_of_the_seeds(shared_small_model):
    with pytest.raises(RuntimeError):
        draw(shared_small_model, ["a", "b"], seeds=(0, 1, 2))


def test_guidance_is_the_models_own_unless_told_otherwise(small_model):
    small_model.guidance_scale = 3.0
    own = draw(small_model)
    assert torch.equal(own, draw(small_model, scale=3.0))
    assert not close(own, draw(small_model, scale=1.0), 1e-3)
    assert not close(own, draw(small_model, scale=0.0), 1e-3), "no guidance at all is a scale too"


def test_every_sampler_has_a_name_and_draws_another_picture(shared_small_model):
    pictures = [draw(shared_small_model, sampler=name) for name in SAMPLERS]
    assert len(SAMPLERS) == 3
    for i, one in enumerate(pictures):
        assert all(not torch.equal(one, other) for other in pictures[i + 1:])


@pytest.mark.parametrize("precision, dtype", [("full", torch.float32), ("bf16", torch.bfloat16),
                                              ("fp16", torch.float16)])
def test_the_precision_reaches_the_networks(small_model, precision, dtype):
    seen = {}
    for name in ("model.diffusion_model", "cond_stage_model.transformer", "first_stage_model.decoder"):
        layer = next(m for m in small_model.get_submodule(name).modules()
                     if isinstance(m, torch.nn.Linear | torch.nn.Conv2d))
        layer.register_forward_hook(lambda module, args, out, name=name: seen.update({name: out.dtype}))
    pictures = draw(small_model, precision=precision)
    assert len(seen) == 3 and set(seen.values()) == {dtype}
    full = draw(small_model)
    assert torch.equal(pictures, full) if dtype == torch.float32 else not torch.equal(pictures.float(), full)
    assert close(pictures.float(), full, 0.1), "coarser numbers, but the same picture"


def test_pictures_of_numbers_that_are_not_finite_are_refused(small_model):
    with torch.no_grad():
        small_model.embedding_manager.string_to_param_dict["*"].fill_(float("nan"))
    with pytest.raises(UserError, match="not finite.*another embedding"):
        draw(small_model)


def test_averaged_weights_draw(small_model):
    """What is drawn comes from the averages, and the network is afterwards what it was before."""
    from ldm.modules.ema import LitEma
    before = draw(small_model)
    small_model.model_ema = LitEma(small_model.model)
    with torch.no_grad():
        for p in small_model.model.parameters():
            p.mul_(0.5)
    halved = [p.clone() for p in small_model.model.parameters()]
    assert torch.equal(draw(small_model), before)
    assert all(torch.equal(p, q) for p, q in zip(small_model.model.parameters(), halved, strict=True))
