"""Weights of words reach the features of a prompt, at the right tokens and nowhere else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import load
from ldm.errors import UserError
from ldm.generate import sample_prompt
from ldm.modules.embedding_manager import EmbeddingManager
from ldm.modules.encoders.weights import token_weights, weigh
from ldm.prompts import escape_prompt, parse_prompt
from tests.conftest import EMBEDDING, EMOJI, close

SMALL = (4, 8, 8)  # latents of a picture of a quarter the size


def conditioning(model, *prompts):
    with torch.no_grad():
        return model.get_learned_conditioning([parse_prompt(p, model.embedding_manager.placeholder_ids())
                                               for p in prompts])


def weights(model, prompt):
    """{token: weight} of those that are not 1."""
    placeholders = model.embedding_manager.placeholder_ids()
    read = parse_prompt(prompt, placeholders)
    ids = model.cond_stage_model.tokenize(read.text, placeholders)[0].tolist()
    found = model.cond_stage_model.token_weights(read, placeholders)
    assert len(found) == len(ids) == model.cond_stage_model.max_seq_len
    return [(piece, pytest.approx(w)) for piece, w in zip(
        model.cond_stage_model.tknz_fn.pieces(ids, placeholders), found, strict=True) if w != 1]


@pytest.mark.parametrize("weighted, plain", [
    ("(red:1) apple", "red apple"), ("[(red)] apple", "red apple"), ("a (*:1.0) on a (blue:1) background",
                                                                     "a * on a blue background"), ("(:1.5)", "")])
def test_weight_1_is_the_plain_prompt_bit_for_bit(emoji_model, weighted, plain):
    with torch.no_grad():
        expected = emoji_model.get_learned_conditioning([plain])
    assert torch.equal(conditioning(emoji_model, weighted), expected)
    beside = conditioning(emoji_model, weighted, "a (very:2) big cat")
    with torch.no_grad():  # in a batch of as many
        assert torch.equal(beside[0], emoji_model.get_learned_conditioning([plain, "a very big cat"])[0])


def test_a_text_is_read_letter_for_letter(emoji_model):
    """Captions in training, and who else asks the model itself."""
    with torch.no_grad():
        features = emoji_model.get_learned_conditioning(["a (red:2) apple"])
    assert torch.equal(features, conditioning(emoji_model, escape_prompt("a (red:2) apple")))
    assert not close(features, conditioning(emoji_model, "a red apple"), 1e-2)


def test_tokens_have_the_weights_of_their_letters(emoji_model):
    assert weights(emoji_model, "a (red:1.3) apple on a [blue] background") == [("red", 1.3), ("blue", 1 / 1.1)]
    pieces = emoji_model.cond_stage_model.tknz_fn.pieces(emoji_model.cond_stage_model.word_ids("sculpture"))
    assert weights(emoji_model, "a (sculpture:2) of (*:0.5)") == [*((p, 2) for p in pieces), ("*", 0.5)]
    assert weights(emoji_model, "(ap:2)ple") == [("apple", 2 * 2 / 5 + 3 / 5)], "the mean over its letters"
    assert weights(emoji_model, "(A RED:2) cat") == [("a", 2), ("red", 2)]
    cut = weights(emoji_model, f"({'cat ' * 40}:1.1)")
    assert len(cut) == emoji_model.cond_stage_model.max_seq_len - 2, "the beginning and the end of a prompt weigh 1"


def test_letters_without_tokens_and_tokens_without_letters():
    assert token_weights([1.0, 2.0, 3.0], [(0, 1), (1, 3), (2, 2)]) == [1.0, 2.5, 1.0]


def test_only_the_words_features_change_in_direction(emoji_model):
    """Scaled at their place; all others by one factor, and a shift next to nothing."""
    plain, weighted = conditioning(emoji_model, "a red apple", "a (red:1.5) apple")
    ratios = (weighted.norm(dim=-1) / plain.norm(dim=-1))
    others = torch.cat([ratios[:2], ratios[3:]])
    assert others.std() < 1e-3 and others.max() < 1
    assert float(ratios[2] / others.mean()) == pytest.approx(1.5, rel=1e-2)
    assert torch.cosine_similarity(plain, weighted, dim=-1).min() > 0.999
    assert float(weighted.mean()) == pytest.approx(float(plain.mean()), abs=1e-6)


def test_all_vectors_of_a_word_are_weighed_wherever_it_stands(emoji_model):
    encoder = emoji_model.cond_stage_model
    manager = EmbeddingManager(encoder, ["<cat-toy>"], ["cat"], num_vectors_per_token=3)
    names = manager.placeholder_ids()
    with torch.no_grad():
        plain, weighted = encoder.encode(["a <cat-toy> and <cat-toy> on red", parse_prompt(
            "a (<cat-toy>:2) and <cat-toy> on (red:2)", names)], embedding_manager=manager)
    ratios = weighted.norm(dim=-1) / plain.norm(dim=-1)
    #       [CLS] a  word     and  word     on red
    assert (ratios > 1).nonzero()[:, 0].tolist() == [2, 3, 4, 10]


def test_a_word_with_brackets_in_its_name(emoji_model):
    manager = EmbeddingManager(emoji_model.cond_stage_model, ["[V]"], ["cat"])
    names = manager.placeholder_ids()
    assert parse_prompt("a [V]", names).spans == (("a [V]", 1.0),)
    with torch.no_grad():
        plain, weighted = emoji_model.cond_stage_model.encode(
            [parse_prompt("a [V]", names), parse_prompt("a ([V]:2)", names)], embedding_manager=manager)
    assert ((weighted.norm(dim=-1) / plain.norm(dim=-1)) > 1).nonzero()[:, 0].tolist() == [2]


def test_v1_weighs_what_its_layers_give(emoji_model):
    model = load.load_model_from_config(load.model_config(EMOJI, variant="v1"), EMOJI)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.embedding_manager.post_bert.parameters():
            p.normal_(std=0.05)
    with model.embedding_manager.read_as("alone"):
        plain, weighted = conditioning(model, "a * on red", "a (*:0) on red")
    assert weighted[2].norm() < 0.05 * plain[2].norm() and plain[2].norm() > 1
    assert not close(plain, conditioning(emoji_model, "a * on red")[0], 1e-2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=8), st.integers(0, 2**31))
def test_weighing_keeps_the_mean_and_the_magnitude(values, seed):
    torch.manual_seed(seed)
    features = torch.randn(12, 16)
    factors = torch.cat([torch.ones(12 - len(values)), torch.tensor(values)])
    result = weigh(features, factors)
    assert float(result.mean()) == pytest.approx(float(features.mean()), abs=1e-5)
    assert float(result.abs().mean()) == pytest.approx(float(features.abs().mean()), rel=0.2)
    positive = features.abs()  # where all have one sign it is the ratio of means, as AUTOMATIC1111 has it
    scaled = positive * factors[:, None]
    assert torch.allclose(weigh(positive, factors), scaled * (positive.mean() / scaled.mean()), atol=1e-4)


def test_pictures_follow_the_weights(emoji_model):
    """More of a colour in the words, more of it in the picture."""
    borders = [sample_prompt(emoji_model, f"a cat on a (blue:{w}) background", [0], "dpm_solver", 5, shape=SMALL)
               [0, :, :4] for w in (0.5, 1, 3)]
    means = [border.mean(dim=(1, 2)) for border in borders]
    blueness = [float(m[2] - m[0]) for m in means]
    assert blueness[0] < blueness[1] < blueness[2]
    plain = sample_prompt(emoji_model, "a red cat", [0], "dpm_solver", 2, shape=SMALL)
    assert torch.equal(sample_prompt(emoji_model, "a (red:1) cat", [0], "dpm_solver", 2, shape=SMALL), plain)


def test_a_negative_prompt_is_gone_away_from(emoji_model):
    def draw(**options):
        return sample_prompt(emoji_model, "a cat", [0], "dpm_solver", 5, shape=SMALL, **options)

    plain = draw()
    assert torch.equal(draw(negative_prompt=""), plain)
    without, more = (draw(negative_prompt=p)[:, :, :4].mean() for p in ("a white background",
                                                                        "a (white:2) background"))
    assert float(without) < float(plain[:, :, :4].mean()) - 0.2 and not torch.equal(without, more)
    assert torch.equal(draw(negative_prompt="a dog", scale=1.0), draw(scale=1.0))
    with pytest.raises(UserError, match="weight 99"):
        draw(negative_prompt="(a:99)")


def test_learned_words_may_be_in_the_negative_prompt():
    model = load.load_model_from_config(load.load_config(EMOJI.parent / "config.yaml"), EMOJI)
    start = sample_prompt(model, "a cat", [0], "dpm_solver", 3, negative_prompt="a *")
    model.embedding_manager.load(EMBEDDING)
    assert not close(sample_prompt(model, "a cat", [0], "dpm_solver", 3, negative_prompt="a *"), start, 1e-2)


def test_pictures_while_training_read_captions_letter_for_letter(emoji_model, monkeypatch):
    batch = {"image": torch.zeros(1, 64, 64, 3), "caption": ["a (red:3) cat [big]"]}
    asked = []
    encode = emoji_model.cond_stage_model.encode
    monkeypatch.setattr(emoji_model.cond_stage_model, "encode", lambda c, **k: (asked.append(c), encode(c, **k))[1])
    emoji_model.log_images(batch, ddim_steps=1)
    assert {p.text for c in asked for p in c} == {"a (red:3) cat [big]", ""} and not any(p.weighted for p in asked[0])
