"""v2's prompts beside the base's: what is empty stays empty, capitals count where they count for the base."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import txt2img
import txt2img_v2
from improvement.v2.pre_BERT import MultilingualEmbedder
from ldm.generate import sample_prompt
from ldm.modules.embedding_manager import EmbeddingManager
from ldm.parameters import picture_parameters
from tests.conftest import ROOT, pixels, run_main

EMBEDDING = ROOT / "logs/example_green_apple/checkpoints/embeddings.pt"
ENGLISH = ("a photo of a *", "a * on a green background")
EMPTY = ("", " ", " \t\n", "\u3000", "\u200b", "\x00", "\ufeff")


@pytest.mark.parametrize("prompt", EMPTY)
def test_an_empty_prompt_stays_empty(v2_model, emoji_model, prompt):
    placeholders = v2_model.embedding_manager.string_to_token_dict
    base, encoder = emoji_model.cond_stage_model, v2_model.cond_stage_model
    assert torch.equal(encoder.tokenize(prompt, placeholders), base.tokenize("", placeholders))
    assert torch.equal(encoder.encode([prompt]), base.encode([""]))


@pytest.mark.parametrize("prompt, english", [
    ("빨간 배경", "a red background"), ("파란 배경", "a blue background"), ("흰 바탕", "a white background"),
    ("노란배경", "a yellow background"), ("회색 배경으로", "a gray background"), ("배경은 빨갛게", "a red background"),
    ("赤い背景", "a red background"), ("fondo rojo", "a red background")])
def test_a_background_alone_has_no_thing_on_it(v2_model, prompt, english):
    """As a negative prompt has it: guidance must not go away from pears, which 배 is, or a pot, which 탕 is."""
    (reading,) = v2_model.cond_stage_model.readings([prompt], {})
    assert reading.english == english


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*EMPTY, *ENGLISH, "빨간 사과"]), min_size=1, max_size=4))
def test_what_is_empty_changes_nothing_beside_it(v2_model, prompts):
    """In a batch as alone."""
    placeholders = v2_model.embedding_manager.string_to_token_dict
    encoder = v2_model.cond_stage_model
    together = encoder.tokenize(prompts, placeholders)
    assert torch.equal(together, torch.cat([encoder.tokenize(p, placeholders) for p in prompts]))


@pytest.mark.parametrize("prompt", ["", *ENGLISH])
def test_guidance_is_the_bases_bit_for_bit(v2_model, emoji_model, prompt):
    a, b = (sample_prompt(m, prompt, [3, 4], "ddim", 3, 5.0, 0.3) for m in (v2_model, emoji_model))
    assert torch.equal(a, b)


@pytest.mark.slow
def test_the_commands_draw_the_same_picture(tmp_path):
    drawn = []
    for main in (txt2img.main, txt2img_v2.main):
        out = tmp_path / main.__module__
        result = run_main(main, "--prompt", "a * on a green background", "", "--embedding_path", EMBEDDING,
                          "--n_samples", 1, "--ddim_steps", 3, "--outdir", out)
        assert result.status == 0, result.err
        drawn.append([pixels(p) for p in sorted(out.glob("samples/*.png"))])
    assert len(drawn[0]) == 2 and all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))


def test_what_a_prompt_is_read_as_is_said_and_kept(tmp_path):
    result = run_main(txt2img_v2.main, "--prompt", "파란 배경 위의 바나나", "--n_samples", 1, "--ddim_steps", 1,
                      "--outdir", tmp_path)
    assert result.status == 0 and "read as: a banana on a blue background\n" in result.err, result.err
    picture = next((tmp_path / "samples").glob("*.png"))
    assert picture_parameters(picture).settings["Read as"] == "a banana on a blue background"


@pytest.fixture
def letter_manager(v2_model):
    """A learned word whose placeholder is one of letters, as the base reads it."""
    manager = EmbeddingManager(v2_model.cond_stage_model, ["apple", "*"])
    manager.string_to_param_dict["apple"].data.fill_(0.5)
    return manager


@pytest.mark.parametrize("prompt", ["a photo of an apple", "a photo of an APPLE", "an Apple", "aN aPPLe"])
def test_a_placeholder_is_found_in_any_case_as_by_the_base(v2_model, emoji_model, letter_manager, prompt):
    assert letter_manager.placeholders_in(prompt) == ["apple"]
    base = EmbeddingManager(emoji_model.cond_stage_model, ["apple", "*"])
    assert base.placeholders_in(prompt) == ["apple"]
    source = v2_model.cond_stage_model.read([prompt], letter_manager.string_to_token_dict)
    assert list(source.placeholders[0].values()) == ["apple"]


def test_case_counts_where_it_counts_for_the_base(v2_model, monkeypatch):
    encoder = v2_model.cond_stage_model
    assert encoder.tknz_fn.ignores_case
    ids = type(encoder.tknz_fn).ids
    monkeypatch.setattr(type(encoder.tknz_fn), "ids", lambda self, text: [1] if text == "A" else ids(self, text))
    assert not encoder.tknz_fn.ignores_case
    assert [list(p.values()) for p in encoder.read(["sks", "SKS"], ["sks"]).placeholders] == [["sks"], []]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["sks", "SKS", "Sks", "*", "&", "asks", "sksb", "사과", "(", "ſks", " "]), max_size=8))
def test_every_placeholder_is_counted_once_in_any_case(v2_model, words):
    embedder: MultilingualEmbedder = v2_model.cond_stage_model.translator[0]
    found = list(embedder.tokenize([" ".join(words)], ["*", "sks", "&"], True)[2][0].values())
    expected = [w.lower().replace("ſ", "s") for w in words if w.lower() in ("sks", "*", "&", "ſks")]
    assert found == expected
