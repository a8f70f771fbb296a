"""The loss on what is fixed: the same whenever it is asked for, lower for a better word, and nobody's chance."""

import pytest
import torch

from ldm.data.personalized import PersonalizedBase
from ldm.fixed_loss import fixed_batch, fixed_loss
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def batch():
    return fixed_batch(PersonalizedBase(ROOT / "dataset/green_apple", size=64, flip_p=0.0), 24)


def test_it_is_the_same_whatever_was_drawn_before_and_draws_nothing(emoji_model, batch):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = fixed_loss(emoji_model, batch)
    assert torch.equal(torch.rand(3), expected)
    assert fixed_loss(emoji_model, batch) == first and not emoji_model.training
    assert fixed_loss(emoji_model, batch, seed=1) != first


def test_a_learned_word_has_a_lower_one_than_its_start(batch):
    import load
    from tests.conftest import EMBEDDING, EMOJI
    model = load.load_model_from_config(load.load_config(EMOJI.parent / "config.yaml"), EMOJI)
    before = fixed_loss(model, batch)
    model.embedding_manager.load(EMBEDDING)
    assert fixed_loss(model, batch) < 0.95 * before


def test_parts_do_not_matter_and_modes_are_kept(emoji_model, batch, monkeypatch):
    whole = fixed_loss(emoji_model, batch)
    monkeypatch.setattr("ldm.fixed_loss.AT_A_TIME", 7)
    emoji_model.train()
    assert fixed_loss(emoji_model, batch) == pytest.approx(whole, rel=1e-5) and emoji_model.training
    emoji_model.eval()


def test_timesteps_are_those_trained_on(small_model, monkeypatch):
    seen, losses = [], small_model.p_losses

    def spied(x, cond, t, *more):
        seen.extend(t.tolist())
        return losses(x, cond, t, *more)

    monkeypatch.setattr(small_model, "p_losses", spied)
    small_model.timestep_range = (300, 1000)
    fixed_loss(small_model, {"image": torch.zeros(10, 16, 16, 3), "caption": ["a *"] * 10})
    assert sorted(seen) == list(range(335, 1000, 70)) and seen != sorted(seen)


def test_masks_count(emoji_model, batch):
    mask = torch.zeros(len(batch["caption"]), 64, 64)
    mask[:, 16:48, 16:48] = 1
    everything, thing = (fixed_loss(emoji_model, batch | {"mask": m}) for m in (torch.ones_like(mask), mask))
    assert everything == pytest.approx(fixed_loss(emoji_model, batch), rel=1e-5) and thing > everything
