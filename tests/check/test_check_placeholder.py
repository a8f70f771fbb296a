"""What check_placeholder compares: the same sentence with the word and with its start, through any variant."""

import re

import pytest
import torch

from check import check_placeholder
from improvement.v1.post_BERT import PostBERTManager
from ldm.modules.embedding_manager import EmbeddingManager
from tests.conftest import ROOT, run_main

WORD = ROOT / "logs/example_green_apple/checkpoints/embeddings.pt"


def moved(result) -> list[str]:
    assert result.status == 0, result.err
    return [row.split()[-1] for row in result.out.split("features move by\n")[1].split("\n\n")[0].splitlines()[1:]]


@pytest.mark.parametrize("prompt, english", [
    ("초록색 배경 위의 *", "a * on a green background"), ("* 사진", "a photo of a *")])
def test_a_korean_sentence_moves_as_its_english_one(prompt, english):
    korean = run_main(check_placeholder.main, WORD, "--prompt", prompt, "--variant", "v2")
    same = run_main(check_placeholder.main, WORD, "--prompt", english)
    assert moved(korean) == moved(same) and "with 'fruit' in place of *" in korean.out


@pytest.mark.parametrize("variant, vectors", [(None, 1), ("v2", 1), (None, 3), ("v1", 1)])
def test_a_word_that_is_its_start_moves_nothing(tmp_path, emoji_model, variant, vectors):
    manager = PostBERTManager if variant == "v1" else EmbeddingManager
    manager(emoji_model.cond_stage_model, placeholder_strings=["*"], initializer_words=["thing"],
            num_vectors_per_token=vectors).save(tmp_path / "start.pt")
    result = run_main(check_placeholder.main, tmp_path / "start.pt", "--prompt", "a * on a green background",
                      *(("--variant", variant) if variant else ()))
    assert set(moved(result)) == {"0.000"}
    assert ("1 vector goes in" if vectors == 1 else f"{vectors} vectors go in") in result.out


def test_a_placeholder_that_the_config_does_not_know_is_compared_with_its_own_token(tmp_path, emoji_model):
    manager = EmbeddingManager(emoji_model.cond_stage_model, ["&"])
    own = emoji_model.cond_stage_model.transformer.token_emb.weight[int(manager.string_to_token_dict["&"])]
    manager.string_to_param_dict["&"].data.copy_(own[None])
    manager.save(tmp_path / "own.pt")
    result = run_main(check_placeholder.main, tmp_path / "own.pt", "--prompt", "a photo of a &")
    assert set(moved(result)) == {"0.000"} and "'&' in place of &" in result.out


def test_an_empty_prompt_and_words_that_cannot_be_read():
    result = run_main(check_placeholder.main, WORD, "--prompt", "", "--variant", "v2")
    assert result.status == 0 and "stays empty" in result.out and re.search("does not contain", result.err)
    assert "cannot read '🍎'" in run_main(check_placeholder.main, WORD, "--prompt", "* 🍎").err


def test_looking_changes_nothing(emoji_model):
    manager = EmbeddingManager(emoji_model.cond_stage_model, ["*"], ["fruit"])
    before, vectors = manager.string_to_param_dict, manager.string_to_param_dict["*"].clone()
    tokens = emoji_model.cond_stage_model.tokenize("a *", {})
    with torch.no_grad():
        check_placeholder.features_without(emoji_model.cond_stage_model, manager, {}, tokens)
    assert manager.string_to_param_dict is before and torch.equal(before["*"], vectors)
