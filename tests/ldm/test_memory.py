"""What a step keeps in memory, and which blocks compute it twice: never what is learned."""


import pytest
import torch

from ldm import memory
from ldm.errors import UserError
from load import load_config, load_model_from_config, meta_model
from tests.conftest import EMOJI

BATCH = {"image": torch.rand(2, 128, 128, 3) * 2 - 1, "caption": ["a photo of a *"] * 2,
         "position": torch.tensor([0, 1])}


@pytest.fixture
def learner():
    return load_model_from_config(load_config(EMOJI.parent / "config.yaml"), EMOJI)


def gradient(model):
    model.zero_grad()
    loss, _ = model.shared_step(BATCH)
    loss.backward()
    return model.embedding_manager.string_to_param_dict["*"].grad.clone()


def chosen(model):
    return [block.use_checkpoint for block in memory.blocks(model.model)]


def meta():
    return meta_model(load_config(EMOJI.parent / "config.yaml"), None)


def test_what_blocks_keep_grows_with_the_batch_and_is_of_the_size_that_a_step_takes(learner):
    one, four = (memory.kept_by_blocks(meta(), n) for n in (1, 4))
    assert len(one) == len(chosen(learner)) and all(size > 0 for size in one.values())
    assert sum(four.values()) == 4 * sum(one.values())
    sizes = {}
    with memory.counted(sizes, {p.untyped_storage()._cdata for p in learner.parameters()}):
        learner.shared_step({**BATCH, "image": BATCH["image"][:1], "caption": BATCH["caption"][:1]})
    # the rest is kept between blocks and by the text encoder; backends keep a little more or less
    assert 0.3 * sum(sizes.values()) < sum(one.values()) < sum(sizes.values())


@pytest.mark.parametrize("free, some", [(0, "all"), (4_000_000, "some"), (10**9, "none"), (None, "none")])
def test_as_few_blocks_as_needed_compute_theirs_twice_and_the_word_learns_the_same(learner, free, some):
    learner.model.diffusion_model.middle_block[0].use_checkpoint = True
    before = gradient(learner)
    said = memory.choose_checkpointing(learner, meta, 2, "auto", free)
    blocks = chosen(learner)
    assert {"all": all(blocks), "some": any(blocks) and not all(blocks), "none": not any(blocks)}[some]
    assert ("compute theirs twice" in said) == (some != "none")
    assert torch.equal(gradient(learner), before)


@pytest.mark.parametrize("how, now", [("on", True), ("off", False), ("config", None)])
def test_what_is_asked_for_is_done(learner, how, now):
    before = chosen(learner)
    said = memory.choose_checkpointing(learner, meta, 10**6, how, 1)
    assert chosen(learner) == (before if now is None else [now] * len(before))
    assert said == ("" if now is None else f"activation checkpointing is {how}")


def test_a_config_that_wants_it_is_overruled_aloud(learner):
    for block in memory.blocks(learner.model):
        block.use_checkpoint = True
    said = memory.choose_checkpointing(learner, meta, 2, "auto", 800_000_000)
    assert "off, whatever the config says" in said and not any(chosen(learner))


def test_layout_changes_no_gradient_by_more_than_rounding(learner):
    before = gradient(learner)
    assert memory.lay_out(learner, meta, 2, "auto", "32-true", torch.device("cpu")) == ""
    assert (gradient(learner) - before).abs().max() <= 1e-4 * before.abs().max()
    weight = learner.model.diffusion_model.input_blocks[1][0].in_layers[2].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_mixed_precision_holds_frozen_layers_in_half_and_the_word_in_full(learner):
    with torch.autocast("cpu", torch.bfloat16):
        before = gradient(learner)
    memory.lay_out(learner, meta, 2, "auto", "bf16-mixed", torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        after = gradient(learner)
    word = learner.embedding_manager.string_to_param_dict["*"]
    assert word.dtype == after.dtype == learner.cond_stage_model.token_embeddings.weight.dtype == torch.float32
    assert learner.model.diffusion_model.time_embed[0].weight.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(before.flatten(), after.flatten(), dim=0) > 0.98


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_a_word_is_learned_in_float32(learner, precision):
    with pytest.raises(UserError, match=f"precision={precision}: a word is learned in float32"):
        memory.lay_out(learner, meta, 2, "auto", precision, torch.device("cpu"))


def test_free_memory_is_known_here():
    free = memory.free_memory(torch.device("cpu"))
    assert free is None or 10**7 < free < 10**14
