"""Names of learned words: any text can be one, and a prompt is read as people expect."""

import copy
import unicodedata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm.embedding_files import read_embeddings
from ldm.modules.embedding_manager import EmbeddingManager, WordDict
from ldm.placeholders import split_prompt

NAMES = ("<cat-toy>", "S*", "my doll", "인형", "🐈", "cat_toy", "sks", "(x)", "a.b", "**", "keys", "100%", "%2E", "<*>")


def found(prompt, *names, ignore_case=True):
    parts = list(split_prompt(prompt, names, ignore_case))
    assert "".join(part.text for part in parts) == prompt
    return [part.placeholder for part in parts if part.placeholder]


@pytest.mark.parametrize("prompt, names, expected", [
    ("a <cat-toy>, red", ["<cat-toy>"], ["<cat-toy>"]), ("<Cat-Toy>.", ["<cat-toy>"], ["<cat-toy>"]),
    ("the S*'s hat, S*s", ["S*"], ["S*", "S*"]), ("US* and s*", ["S*"], ["S*"]),
    ("<cat-toy-2> <cat-toy>", ["<cat-toy>", "<cat-toy-2>"], ["<cat-toy-2>", "<cat-toy>"]),
    ("cat toy two", ["cat toy", "cat toy two"], ["cat toy two"]), ("***", ["**"], ["**"]),
    ("my  doll's, my\ndoll; my dolls", ["my doll"], ["my doll", "my doll"]),
    ("sks, asks, sksb, SKS-like", ["sks"], ["sks", "sks"]),
    ("인형은 곰인형과 인형", ["인형"], ["인형", "인형"]), ("<cat-toy>는 S*의 sks가", ["<cat-toy>", "S*", "sks"],
                                                          ["<cat-toy>", "S*", "sks"]),
    (unicodedata.normalize("NFD", "인형을 café"), ["인형", "café"], ["인형", "café"]),
    ("私の猫は", ["猫"], ["猫"]), ("🐈 🐈‍⬛", ["🐈"], ["🐈"]), ("👍🏽👍", ["👍"], ["👍"]), ("❤️ ❤️‍🔥", ["❤"], ["❤"]),
    ("❤ ❤️", ["❤️"], ["❤️", "❤️"]), ("", ["S*"], []), ("nothing", [], [])])
def test_where_a_name_stands(prompt, names, expected):
    assert found(prompt, *names) == expected


def test_case_counts_where_it_counts_for_the_text_encoder():
    assert found("<Cat-Toy> <cat-toy>", "<cat-toy>", ignore_case=False) == ["<cat-toy>"]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(max_size=30), st.lists(st.sampled_from(NAMES), max_size=4, unique=True))
def test_no_letter_of_a_prompt_is_lost(prompt, names):
    found(prompt, *names)


@pytest.fixture
def embedder(shared_small_model):
    return shared_small_model.cond_stage_model


@pytest.mark.parametrize("vectors", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_word(embedder, tmp_path, name, vectors):
    """Its vectors go in where it stands, nothing else changes, and a file brings it back."""
    manager = EmbeddingManager(embedder, [name], ["dog"], num_vectors_per_token=vectors)
    (token,) = map(int, manager.string_to_token_dict.values())
    single = embedder.tknz_fn.ids(name)
    assert token == single[0] if len(single) == 1 and single[0] != embedder.tknz_fn.unknown_id else (
        token == embedder.token_embeddings.num_embeddings)
    with torch.no_grad():
        manager.string_to_param_dict[name].normal_()
    star = EmbeddingManager(embedder, ["*"], ["dog"], num_vectors_per_token=vectors)
    star.string_to_param_dict["*"].data.copy_(manager.string_to_param_dict[name])
    for prompt in ("a photo of a {}", "{}, and the {} beside it", "nothing"):
        mine, published = (embedder.encode(prompt.replace("{}", n), m) for n, m in ((name, manager), ("*", star)))
        assert torch.equal(mine, published)
        assert torch.equal(embedder.encode(prompt.replace("{}", "*"), manager), published), "* is the only word"
    manager.save(tmp_path / "word.pt")
    assert torch.equal(read_embeddings(tmp_path / "word.pt")[name], manager.string_to_param_dict[name])
    content = torch.load(tmp_path / "word.pt", weights_only=False)  # as the published code reads it
    assert list(content["string_to_param"].keys()) == [name] and list(content["string_to_token"]) == [name]
    other = EmbeddingManager(embedder, ["&"], ["cat"])
    other.load(tmp_path / "word.pt")
    assert torch.equal(embedder.encode(f"a {name}", other), embedder.encode(f"a {name}", manager))


def test_names_of_parameters_lead_back_to_their_words(embedder):
    manager = EmbeddingManager(embedder, [*NAMES, "*", "&"])
    names = [n.removeprefix("string_to_param_dict.") for n in manager.state_dict()]
    assert [WordDict.word(n) for n in names] == [*NAMES, "*", "&"] and len(set(names)) == len(names)
    assert names[0] == "<cat-toy>" and names[-2:] == ["*", "&"], "as before, wherever that is possible"
    other = EmbeddingManager(embedder, [*NAMES, "*", "&"])
    other.load_state_dict(manager.state_dict())
    assert all(torch.equal(v, other.string_to_param_dict[p]) for p, v in manager.string_to_param_dict.items())
    assert copy.deepcopy(manager.string_to_param_dict).keys() == manager.string_to_param_dict.keys()


def test_the_table_keeps_its_shape_and_ids_are_past_it(embedder):
    before = {n: v.shape for n, v in embedder.state_dict().items()}
    manager = EmbeddingManager(embedder, ["<a>", "*", "<b>", "<c>"])
    size = embedder.token_embeddings.num_embeddings
    assert [int(t) for t in manager.string_to_token_dict.values()] == [
        size, embedder.tknz_fn.ids("*")[0], size + 1, size + 2]
    embedder.encode("<c> <a> * <b>", manager)
    assert {n: v.shape for n, v in embedder.state_dict().items()} == before
    assert len(embedder.tknz_fn) <= size and embedder.tknz_fn.ids("<a>") != [size], "the tokenizer has learned nothing"


def test_several_names_the_longest_counts(embedder):
    manager = EmbeddingManager(embedder, ["*", "S*", "<cat>", "<cat> toy"])
    ids = {p: int(t) for p, t in manager.string_to_token_dict.items()}
    tokens = embedder.tokenize("S* * <CAT> toy, <cat>'s", manager.placeholder_ids())[0].tolist()
    assert [t for t in tokens if t in ids.values()] == [ids[p] for p in ("S*", "*", "<cat> toy", "<cat>")]
    assert manager.placeholders_in("a <Cat> and S*") == ["S*", "<cat>"]


def test_star_is_the_only_word_and_no_other(embedder, capsys):
    one, two = (EmbeddingManager(embedder, names) for names in (["<cat>"], ["<cat>", "<dog>"]))
    assert one.placeholders_in("a *") == ["<cat>"] and two.placeholders_in("a *") == []
    one.warn_about(["a *"])
    assert capsys.readouterr().err == ""
    one.warn_about(["a dog"])
    assert "does not contain <cat> or *" in capsys.readouterr().err


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["a", "photo", ",", "dog", "*", "very", "'s", "(x)", "[x]", " "]), max_size=12))
def test_a_prompt_may_be_read_in_parts(shared_small_model, words):
    """Word by word it has the tokens that it has as a whole, with the letters that they are of."""
    tokenizer = shared_small_model.cond_stage_model.tknz_fn
    names = {"(x)": len(tokenizer) + 7}
    text = " ".join(words)
    (whole,) = tokenizer.read([text], names)
    parts = tokenizer.read(words, names)
    assert whole.ids == [i for part in parts for i in part.ids]
    assert whole.ids.count(len(tokenizer) + 7) == words.count("(x)")
    for token, (start, end) in zip(whole.ids, whole.spans, strict=True):
        letters = text[start:end]
        assert letters == "(x)" if token >= len(tokenizer) else tokenizer.ids(letters)[-1] == token or letters in "'s"
    assert tokenizer.decode(whole.ids, names).count("(x)") == words.count("(x)")


def test_cut_names_are_named(embedder):
    manager = EmbeddingManager(embedder, ["<cat-toy>"], ["dog"], num_vectors_per_token=3)
    with pytest.warns(UserWarning, match="80 tokens and 77 fit; cut: '<cat-toy> dog small'"):
        embedder.encode("very " * 75 + "<cat-toy> dog small", manager)
    with pytest.warns(UserWarning, match="push others out; cut: '<cat-toy>'"):
        embedder.encode("very " * 74 + "<cat-toy>", manager)


def test_words_that_cannot_be_read_are_named_but_not_names(embedder, capsys):
    embedder.warn_if_unreadable("a 🐈 and 🐶 beside my 🐈", ["my 🐈"])
    assert "cannot read '🐈', '🐶' in" in capsys.readouterr().err
    embedder.warn_if_unreadable("a 🐈, and my 🐈's hat", ["🐈"])
    assert not capsys.readouterr().err


def test_the_device_is_never_waited_for(embedder):
    """Where vectors go in is known before tokens are on the device: nothing is read back from it. Of a meta device
    nothing could be."""
    remote = copy.deepcopy(embedder).to("meta")
    manager = EmbeddingManager(embedder, ["<cat>", "*"], ["dog", "cat"], num_vectors_per_token=2)
    manager._embedder, manager.string_to_param_dict = [remote], manager.string_to_param_dict.to("meta")
    features = remote.encode(["a <cat> and a *, <cat>", "nothing"], manager)
    assert features.is_meta and features.shape == (2, 77, 16)
    features.sum().backward()
    assert all(p.grad.shape == (2, 16) for p in manager.embedding_parameters())
