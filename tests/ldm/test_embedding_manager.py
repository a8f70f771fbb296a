"""Learned words: how they start, where they go in, how they travel."""

import warnings

import pytest
import torch
from torch import nn

from ldm.errors import UserError
from ldm.modules.embedding_manager import EmbeddingManager, initial_vectors, read_embeddings
from tests.conftest import GOLDEN


@pytest.fixture
def embedder(shared_small_model):
    return shared_small_model.cond_stage_model


def published_injection(manager, tokens, embedded):
    """Placeholders one after the other, rightmost first, each row rebuilt and cut: the published order of work."""
    tokens, embedded = tokens.clone(), embedded.clone()
    n = tokens.shape[1]
    for placeholder, token in manager.string_to_token_dict.items():
        vectors = manager.string_to_param_dict[placeholder]
        for row in range(len(tokens)):
            for col in reversed((tokens[row] == token).nonzero().flatten().tolist()):
                tokens[row] = torch.cat([tokens[row, :col], token.repeat(len(vectors)), tokens[row, col + 1:]])[:n]
                embedded[row] = torch.cat([embedded[row, :col], vectors, embedded[row, col + 1:]])[:n]
    return embedded


LONG = "a photo of " + "very " * 68
PROMPTS = ["* on a table", "a photo of a *", "* and * beside *", "a photo of & and *", LONG + "small *",
           LONG + "* & *", "nothing learned", ""]


@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_injection_first_last_repeated_and_truncated(embedder, vectors):
    manager = EmbeddingManager(embedder, ["*", "&"], ["dog", "red apple"], num_vectors_per_token=vectors)
    with torch.no_grad():
        for parameter in manager.embedding_parameters():
            parameter.normal_()
        tokens = embedder.tknz_fn(PROMPTS)
        embedded = embedder.transformer.token_emb(tokens)
        kept = tokens.clone(), embedded.clone()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = manager(tokens, embedded)
        assert torch.equal(result, published_injection(manager, tokens, embedded))
    cut = {1: [], 2: ["*"], 3: ["& *"]}[vectors]  # what the last prompt but two has no room for
    assert [str(w.message).partition("cut: ")[2] for w in caught] == [repr(words) for words in cut]
    assert torch.equal(tokens, kept[0]) and torch.equal(embedded, kept[1]), "the inputs must stay as they are"
    assert torch.equal(result[0, 1:1 + vectors], manager.string_to_param_dict["*"])
    assert torch.equal(result[6:], embedded[6:]), "a prompt without a placeholder must not change"


def test_vectors_pushed_out_of_a_long_prompt_get_no_gradient(embedder):
    manager = EmbeddingManager(embedder, ["*"], ["dog"], num_vectors_per_token=3)
    tokens = embedder.tknz_fn("very " * 74 + "*")
    with pytest.warns(UserWarning, match="several tokens each and push others out; cut: "):
        manager(tokens, embedder.transformer.token_emb(tokens)).sum().backward()
    (vectors,) = manager.embedding_parameters()
    assert vectors.grad.abs().sum(dim=1).count_nonzero() == 2  # positions 75 and 76 of 0..76


def test_init_words(embedder):
    table, ids = embedder.transformer.token_emb.weight, embedder.tknz_fn.ids
    one = EmbeddingManager(embedder, ["*"], ["dog"], num_vectors_per_token=2)
    assert torch.equal(one.string_to_param_dict["*"], table[ids("dog") * 2])
    pieces = ids("teapots")
    assert len(pieces) == 3
    mean = EmbeddingManager(embedder, ["*"], ["teapots"])
    assert torch.allclose(mean.string_to_param_dict["*"][0], table[pieces].mean(dim=0))
    each = EmbeddingManager(embedder, ["*"], ["teapots"], num_vectors_per_token=3)
    assert torch.equal(each.string_to_param_dict["*"], table[pieces])
    assert "tea ##pot ##s" in each.describe_initialisation()
    for word in ("", "\u2603"):
        with pytest.raises(UserError, match="init word"):
            EmbeddingManager(embedder, ["*"], [word])


def test_initial_vectors_keep_the_pieces_order():
    pieces = torch.arange(3.0)[:, None]
    assert initial_vectors(pieces, 5).flatten().tolist() == [0, 0, 1, 1, 2]
    assert initial_vectors(pieces, 2).flatten().tolist() == [0.5, 2]
    assert initial_vectors(pieces, 1).flatten().tolist() == [1]


@pytest.mark.parametrize("placeholder", ["teapots", "two words", "\u2603", ""])
def test_a_placeholder_must_be_one_token(embedder, placeholder):
    with pytest.raises(UserError, match="one token"):
        EmbeddingManager(embedder, [placeholder], ["dog"])


def test_per_image_tokens(shared_small_model):
    manager = EmbeddingManager(shared_small_model.cond_stage_model, ["*"], ["dog"], per_image_tokens=True)
    assert len(manager.string_to_param_dict) == 23
    assert len({int(t) for t in manager.string_to_token_dict.values()}) == 23


def test_progressive_words(embedder):
    manager = EmbeddingManager(embedder, ["*"], ["dog"], num_vectors_per_token=3, progressive_words=True)
    counts = []
    for manager.progressive_counter in (0, 1999, 2000, 4000, 9000):
        counts.append(len(manager.active_vectors("*")))
    assert counts == [1, 1, 2, 3, 3]


def test_distance_to_the_start(embedder):
    manager = EmbeddingManager(embedder, ["*", "&"], ["dog", "cat"])
    assert manager.embedding_to_coarse_loss().item() == 0
    with torch.no_grad():
        manager.string_to_param_dict["*"] += 1
    assert manager.embedding_to_coarse_loss().item() == pytest.approx(16 / 2, rel=1e-5)


@pytest.mark.parametrize("name", ["words.pt", "words.bin", "words.safetensors"])
def test_files_both_ways(embedder, tmp_path, name):
    manager = EmbeddingManager(embedder, ["*", "&"], ["dog", "cat"], num_vectors_per_token=2)
    manager.save(tmp_path / name)
    other = EmbeddingManager(embedder, ["@"], ["bird"])
    other.load(tmp_path / name)
    assert set(other.string_to_param_dict) == {"*", "&"}
    for placeholder, vectors in manager.string_to_param_dict.items():
        assert torch.equal(other.string_to_param_dict[placeholder], vectors)
    assert all(p.requires_grad for p in other.embedding_parameters())


def test_a_written_file_has_the_published_layout(embedder, tmp_path):
    EmbeddingManager(embedder, ["*"], ["dog"]).save(tmp_path / "words.pt")
    content = torch.load(tmp_path / "words.pt", weights_only=False)  # as the published code reads it
    assert set(content) == {"string_to_token", "string_to_param"}
    assert isinstance(content["string_to_param"], nn.ParameterDict)
    assert content["string_to_param"]["*"].shape == (1, 16)
    assert int(content["string_to_token"]["*"]) == embedder.tknz_fn.ids("*")[0]


def test_a_published_file_is_read(embedder):
    vectors = read_embeddings(GOLDEN / "embeddings.pt")
    assert vectors["*"].shape == (1, 16)
    original = torch.load(GOLDEN / "embeddings.pt", weights_only=False)
    assert torch.equal(vectors["*"], original["string_to_param"]["*"])


def test_other_layouts_are_read(tmp_path):
    torch.save({"<thing>": torch.ones(16)}, tmp_path / "flat.bin")
    assert read_embeddings(tmp_path / "flat.bin")["<thing>"].shape == (1, 16)
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(2, 16)}, "name": "thing",
                "step": 100}, tmp_path / "web.pt")
    assert read_embeddings(tmp_path / "web.pt")["*"].shape == (2, 16)


def test_files_that_do_not_fit_are_refused(embedder, tmp_path):
    manager = EmbeddingManager(embedder, ["*"], ["dog"])
    torch.save({"*": torch.ones(17)}, tmp_path / "wide.bin")
    with pytest.raises(UserError, match="17 wide.*16"):
        manager.load(tmp_path / "wide.bin")
    torch.save({"note": "no tensors"}, tmp_path / "empty.pt")
    with pytest.raises(UserError, match="no embeddings"):
        manager.load(tmp_path / "empty.pt")
