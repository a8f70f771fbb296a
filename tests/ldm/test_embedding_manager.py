"""Learned words: how they start, where they go in, how they travel."""

import copy
import warnings

import pytest
import torch
from torch import nn

import load
from ldm.embedding_files import read_embeddings
from ldm.errors import UserError
from ldm.modules.embedding_manager import EmbeddingManager, initial_vectors
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


@pytest.mark.parametrize("placeholder, word", [
    ("", "is empty"), (" ", "is empty"), ("\u200b", "is empty"), ("[PAD]", "own"), ("[CLS]", "own"), ("[UNK]", "own"),
    ("a [SEP] b", "own"), ("a\x00b", "control"), ("a\nb", "control"), ("\ud83d", "control|empty"),
    ("x" * 201, "201 letters")])
def test_what_cannot_be_a_name_is_refused(embedder, placeholder, word):
    with pytest.raises(UserError, match=f"placeholder .*(?:{word}).* (?:take a name such as|are a name)"):
        EmbeddingManager(embedder, [placeholder], ["dog"])


def test_two_names_that_are_one_are_refused(embedder):
    for names in (["A", "a"], ["<Cat>", "<cat>"], ["my doll", "my  doll"], ["*", "*"]):
        with pytest.raises(UserError, match="are one to the text encoder"):
            EmbeddingManager(embedder, names, ["dog", "cat"])


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
    assert read_embeddings(tmp_path / "web.pt")["thing"].shape == (2, 16)


def test_files_that_do_not_fit_are_refused(embedder, tmp_path):
    manager = EmbeddingManager(embedder, ["*"], ["dog"])
    torch.save({"*": torch.ones(17)}, tmp_path / "wide.bin")
    with pytest.raises(UserError, match="17 wide.*16"):
        manager.load(tmp_path / "wide.bin")
    torch.save({"note": "no tensors"}, tmp_path / "empty.pt")
    with pytest.raises(UserError, match="no embeddings"):
        manager.load(tmp_path / "empty.pt")


@pytest.mark.parametrize("vectors, how", [(1, "averaged"), (2, "averaged"), (3, ""), (4, "repeated")])
def test_what_a_word_starts_from_is_said(embedder, vectors, how):
    manager = EmbeddingManager(embedder, ["*", "&"], ["teapots"], num_vectors_per_token=vectors)
    assert manager.describe_initialisation() == (
        f"'*': {vectors} vector{'s' * (vectors > 1)} from 'teapots' = tea ##pot ##s {how}".rstrip())
    assert EmbeddingManager(embedder, ["*"]).describe_initialisation() == "noise"


def test_without_a_word_the_start_is_noise_of_the_vocabularys_scale(embedder):
    torch.manual_seed(0)
    table = embedder.transformer.token_emb.weight
    manager = EmbeddingManager(embedder, ["*", "&"], ["dog"], num_vectors_per_token=400)
    noise = manager.string_to_param_dict["&"].detach()
    assert noise.shape == (400, 16) and float(noise.std() / table.std()) == pytest.approx(1, abs=0.05)
    assert set(manager.initial_embeddings) == {"*"}
    with pytest.raises(UserError, match="needs initializer_words"):
        EmbeddingManager(embedder, ["*"]).embedding_to_coarse_loss()


def test_before_the_weights_are_there_the_vectors_have_their_shape():
    config = load.load_config(GOLDEN / "config.yaml")
    config.model.params.personalization_config.params.num_vectors_per_token = 3
    (vectors,) = load.meta_model(config, None).trainable_parameters()
    assert vectors.is_meta and vectors.shape == (3, 16)


def test_vectors_are_float32_and_go_into_prompts_of_any_precision(embedder):
    half = copy.deepcopy(embedder).to(torch.bfloat16)
    manager = EmbeddingManager(half, ["*"], ["dog"])
    assert manager.string_to_param_dict["*"].dtype == torch.float32
    tokens = half.tknz_fn("a *")
    mixed = manager(tokens, half.transformer.token_emb(tokens))
    assert mixed.dtype == torch.bfloat16
    assert torch.equal(mixed[0, 2], manager.string_to_param_dict["*"][0].to(torch.bfloat16))


def test_where_the_learned_vectors_are(embedder):
    manager = EmbeddingManager(embedder, ["*", "&"], ["dog", "cat"], num_vectors_per_token=2)
    prompts = ["a * and &", "", LONG + "very *"]  # [CLS] a * * and & & [SEP]
    tokens = embedder.tknz_fn(prompts)
    layout = manager.layout(tokens)
    assert layout.words == ("*", "&") and layout.learned.shape == (3, 77)
    assert [row.nonzero()[:, 0].tolist() for row in layout.learned] == [[2, 3, 5, 6], [], [73, 74]]
    assert layout.vector[0, :8].tolist() == [-1, -1, 0, 1, -1, 2, 3, -1]
    assert layout.source[0, :8].tolist() == [0, 1, 2, 2, 3, 4, 4, 5]
    embedded = embedder.transformer.token_emb(tokens)
    moved = (manager(tokens, torch.full_like(embedded, 9.0)) != 9.0).all(dim=-1)
    assert torch.equal(moved, layout.learned), "they are where forward puts them"


@pytest.mark.parametrize("vectors, warns", [(1, False), (2, False), (3, True)])
def test_a_prompt_that_just_fits_loses_nothing(embedder, vectors, warns):
    """[CLS], two vectors and 74 words fit in 77, and [SEP] is no loss."""
    manager = EmbeddingManager(embedder, ["*"], ["dog"], num_vectors_per_token=vectors)
    tokens = embedder.tknz_fn("* " + "very " * 74)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        manager(tokens, embedder.transformer.token_emb(tokens))
    assert bool(caught) is warns


def test_a_prompt_without_the_word_is_named_once(embedder, capsys):
    manager = EmbeddingManager(embedder, ["*", "&"], ["dog", "cat"])
    manager.warn_if_absent(["a *", "a cat and &", "a dog", "a dog", ""])
    assert capsys.readouterr().err.splitlines() == [
        f"warning: the prompt {prompt!r} does not contain * or &; the learned word has no part in it"
        for prompt in ("a dog", "")]


def test_a_file_takes_the_place_of_what_was_there(embedder, tmp_path):
    saved = EmbeddingManager(embedder, ["&", "*"], ["cat", "dog"], num_vectors_per_token=2)
    saved.save(tmp_path / "words.pt")
    manager = EmbeddingManager(embedder, ["*", "@"], ["red apple", "bird"], num_vectors_per_token=2)
    manager.load(tmp_path / "words.pt")
    assert manager.placeholder_strings == ["&", "*"] and manager.max_vectors_per_token == 2
    assert set(manager.string_to_token_dict) == {"&", "*"}
    assert set(manager.initial_embeddings) == {"*"}, "a start to stay near that the word still has"
    assert torch.equal(manager.initial_embeddings["*"], embedder.transformer.token_emb.weight[
        embedder.tknz_fn.ids("red apple")])
    other = EmbeddingManager(embedder, ["*"], ["dog"])  # one vector, the file has two
    other.load(tmp_path / "words.pt")
    assert not other.initial_embeddings and other.max_vectors_per_token == 2


def test_a_progressive_word_is_saved_as_far_as_it_is_in_use(embedder, tmp_path):
    manager = EmbeddingManager(embedder, ["*"], ["red apple"], num_vectors_per_token=2, progressive_words=True)
    assert len(manager.active_vectors("*")) == 1, "before any step"
    manager.save(tmp_path / "one.pt")
    assert read_embeddings(tmp_path / "one.pt")["*"].shape == (1, 16)
    kept = torch.load(tmp_path / "one.pt", weights_only=False)["string_to_param"]["*"]
    assert kept.untyped_storage().nbytes() == 16 * 4, "the others are not in the file"
    EmbeddingManager(embedder, ["*"], ["red apple"], num_vectors_per_token=2).save(tmp_path / "two.pt")
    manager.load(tmp_path / "two.pt")
    assert len(manager.active_vectors("*")) == 2, "what a file holds was in use"


def test_vectors_of_any_kind_are_read_as_plain_float32(embedder, tmp_path):
    torch.save({"*": torch.ones(2, 16, dtype=torch.float16), "&": torch.ones(16, requires_grad=True),
                "epoch": torch.tensor(3), "name": "thing"}, tmp_path / "mixed.bin")
    vectors = read_embeddings(tmp_path / "mixed.bin")
    assert {p: (v.dtype, tuple(v.shape), v.requires_grad) for p, v in vectors.items()} == {
        "*": (torch.float32, (2, 16), False), "&": (torch.float32, (1, 16), False)}
    EmbeddingManager(embedder, ["*"], ["dog"]).save(tmp_path / "own.bin")
    assert not torch.load(tmp_path / "own.bin", weights_only=True)["*"].requires_grad


def test_a_word_with_an_adapter_is_not_for_this_manager(embedder, tmp_path):
    manager = EmbeddingManager(embedder, ["*"], ["dog"])
    torch.save({"string_to_param": {"*": torch.ones(1, 16)}, "post_BERT": {"w": torch.ones(1)}}, tmp_path / "v1.pt")
    with pytest.raises(UserError, match="v1.pt: a word with an adapter.*txt2img_v1.py"):
        manager.load(tmp_path / "v1.pt")
    assert torch.equal(manager.string_to_param_dict["*"],
                       embedder.transformer.token_emb.weight[embedder.tknz_fn.ids("dog")]), "nothing has changed"


@pytest.mark.parametrize("words, match", [
    ({"*": torch.ones(2, 2, 16)}, r"'\*' has the shape \[2, 2, 16\]"), ({"*": torch.ones(0, 16)}, "has the shape"),
    ({"*": torch.ones(1025, 16)}, "has 1,025 vectors"),
    ({"*": torch.ones(16, dtype=torch.int64)}, "real numbers .int64"),
    ({"*": torch.ones(16, dtype=torch.bool)}, "real numbers .bool"), ({"*": "no tensor"}, "no plain tensor"),
    ({"*": torch.full((16,), float("nan"))}, "not finite"), ({"*": torch.full((16,), -torch.inf)}, "not finite"),
    ({"*": torch.full((16,), 65505.0)}, "too large"), ({"": torch.ones(16)}, "empty, too long"),
    ({" ": torch.ones(16)}, "empty, too long"), ({"x" * 201: torch.ones(16)}, "empty, too long"),
    ({3: torch.ones(16)}, "no text"), ({f"w{i}": torch.ones(1, 1) for i in range(4097)}, "4097 tensors"),
    ([1], "no dictionary"), ({}, "holds no embeddings")])
def test_what_is_no_word_is_refused(tmp_path, words, match):
    torch.save({"string_to_param": words}, tmp_path / "words.pt")
    with pytest.raises(UserError, match=f"words.pt: .*{match}"):
        read_embeddings(tmp_path / "words.pt")


def test_what_just_is_a_word_is_read(tmp_path):
    words = {"x" * 200: torch.full((1024, 2), -65504.0), **{f"w{i}": torch.zeros(1, 1) for i in range(4095)}}
    torch.save({"string_to_param": words}, tmp_path / "words.pt")
    assert list(read_embeddings(tmp_path / "words.pt")) == list(words)


def test_what_a_prompt_has_that_may_be_meant_otherwise_is_said(embedder, capsys):
    manager = EmbeddingManager(embedder, ["*", "&"], ["dog"])
    manager.warn_about(["a * beside a cat"])
    assert capsys.readouterr().err == "", "all is well"
    manager.warn_about(["a \u2603 cat", "a *", "a \u2603 cat"])
    unread, absent = capsys.readouterr().err.splitlines()
    assert "cannot read" in unread and "\u2603" in unread and "a *" not in unread
    assert "'a \u2603 cat' does not contain * or &" in absent
    manager.warn_about(["a *", "& and *"], learned=False)
    assert capsys.readouterr().err.splitlines() == [
        "no --embedding_path: * is read as 'dog', the config's initial word", "no --embedding_path: & is read as noise"]
    manager.warn_about(["a cat"], learned=False)
    assert capsys.readouterr().err == "", "nothing was learned, and no word is missed"
