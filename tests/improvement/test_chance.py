"""What a step draws depends on the run's seed and its place in the run, and on nothing that happened before."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import load
from ldm.data.personalized import PersonalizedBase
from tests.conftest import EMOJI, ROOT

PROMPTS = {None: ["a photo of a {}"], "v1": ["a photo of a {}"], "v2": ["a photo of a {}", "{}의 사진"]}


def model_of(variant):
    config = load.model_config(EMOJI, variant=variant)
    if variant == "v1":
        config.model.params.personalization_config.params = {"everywhere": True, "placeholder_strings": ["*"]}
    torch.manual_seed(0)
    return load.load_model_from_config(config, EMOJI).train()


@pytest.mark.parametrize("variant", PROMPTS)
def test_a_steps_loss_is_the_same_whatever_happened_before(variant):
    model = model_of(variant)
    data = PersonalizedBase(ROOT / "dataset/flamingo", size=64, templates=PROMPTS[variant])
    batch = {k: [data[p][k] for p in (6, 7)] for k in ("image", "caption", "key", "position")}
    batch |= {"image": torch.stack(batch["image"]), "position": torch.tensor(batch["position"])}
    seen = set()

    @settings(max_examples=5, deadline=None, derandomize=True)
    @given(state=st.integers(0, 2**32), draws=st.integers(0, 5), forget=st.sets(st.sampled_from(["v2", "words", "z"])))
    def step(state, draws, forget):
        torch.manual_seed(state)
        random.seed(state)
        torch.randn(draws)
        if "v2" in forget and variant == "v2":
            model.cond_stage_model._translator = []
        if "words" in forget:
            model.cond_stage_model._tknz_fn = None
        if "z" in forget:
            model._moments.clear()
        loss, _ = model.shared_step(batch)
        model.zero_grad()
        loss.backward()
        seen.add((float(loss.detach()), *(float(p.grad.sum()) for p in model.trainable_parameters())))

    step()
    assert len(seen) == 1
