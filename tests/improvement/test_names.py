"""The table that English names are copied from: where a prompt has a name, however it is spelt."""

import pytest
import torch

from improvement.v2.aligner import copy_labels
from improvement.v2.names import FILE, Name, Names, NameTokens, read_names
from improvement.v2.pre_BERT import MultilingualEmbedder
from ldm.errors import UserError
from pretrain.multilingual import new_model, new_tokenizer

TABLE = Names([
    Name("고양이", "", "cat"), Name("고양이 얼굴", "", "cat face"), Name("배", "", "pear"), Name("배", "척", "ship"),
    Name("개", "", "dog"), Name("kitten", "", "cat"), Name("elephants", "", "elephant"), Name("pan", "", "cooking"),
    Name("pan", "", "bread"), Name("해바라기", "", "sunflower"), Name("🐱", "", "cat face"),
    Name("펭귄", "", "penguin"), Name("red", "", "red")])


def found(text):
    return [(text[m.start : m.end], m.exact, *m.english) for m in TABLE.find(text)]


@pytest.mark.parametrize("text, expected", [
    ("고양이 그려줘", [("고양이", True, "cat")]),
    ("고양이 얼굴 두 개", [("고양이 얼굴", True, "cat face"), ("개", True, "dog")]),  # the aligner knows which counts
    ("배 두 척", [("배", True, "ship", "pear")]), ("배 두 상자", [("배", True, "pear")]),
    ("a kitten, kittens", [("kitten", True, "cat"), ("kittens", False, "cat")]), ("spanish", []),
    ("un pan", [("pan", True, "cooking", "bread")]),
    ("two elefants", [("elefants", False, "elephant")]), ("해바라귀", [("해바라귀", False, "sunflower")]),
    ("팽귄", [("팽귄", False, "penguin")]), ("🐱", [("🐱", True, "cat face")]), ("", []), ("에펠탑", [])])
def test_names_are_found(text, expected):
    assert found(text) == expected


def test_one_letter_of_a_word_that_is_no_thing_is_no_name():
    table = Names([Name("배", "", "pear"), Name("배꽃", "", "blossom"), Name("배경", "", ""), Name("개", "", "")])
    for text, meant in (("빨간 배경", []), ("빨간배경에 배", [6]), ("배경", []), ("배 경치", [0]), ("배꽃 개", [0])):
        assert [m.start for m in table.find(text) if not table.within_plain(m, text)] == meant, text


def test_a_table_comes_back_and_other_files_are_refused(tmp_path):
    TABLE.write(tmp_path / FILE)
    assert read_names(tmp_path / FILE).names == TABLE.names
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(UserError, match="needs the columns word, counter, english"):
        read_names(tmp_path / "other.tsv")
    with pytest.raises(UserError, match="not a readable table"):
        read_names(tmp_path / "none.tsv")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """An encoder with random weights and a table of names."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("names")
    tokenizer = new_tokenizer(["고양이 두 마리 a photo of *"])
    tokenizer.save_pretrained(folder)
    new_model(tokenizer).roberta.save_pretrained(folder)
    TABLE.write(folder / FILE)
    return MultilingualEmbedder(str(folder))


def test_a_name_is_copied_as_one_token(embedder, emoji_model):
    """Singular and plural; the longest name of a place; labels say the same tokens as the sentence."""
    tokenizer = emoji_model.cond_stage_model.tknz_fn
    source = embedder(["* 고양이 얼굴 두 마리", "고양이와 펭귄"], ["*"])
    assert [sorted(row.values()) for row in source.names] == [["cat face"], ["cat", "penguin"]]
    target_ids = tokenizer(["a * and two cat faces", "a cat and a penguin"])
    star, V, name_ids = torch.tensor(tokenizer.ids("*")[0]), len(tokenizer), NameTokens(tokenizer)
    labels, prefix = copy_labels(target_ids, source, {"*": star}, V, tokenizer.pad_id, name_ids)
    assert (labels >= V).sum(dim=1).tolist() == [2, 2] and torch.equal(prefix[labels >= V], labels[labels >= V])
    aligner = type("Fixed", (), {"decode": lambda *arguments: prefix, "position_embeddings": range(32)})
    from improvement.v2.aligner import Aligner
    ids = Aligner.translate(aligner(), source, torch.empty(V, 1), {"*": star}, tokenizer.end_id, tokenizer.pad_id, 1,
                            name_ids)
    assert torch.equal(ids, target_ids)


def test_token_types_say_where_names_are(embedder):
    texts = ["고양이 팽귄 red"]
    types, rows, sure = embedder.find_names(texts, embedder.encode_texts(texts)[2])
    assert set(types[0].tolist()) == {0, 1, 2, 3, 4, 5, 6} and sorted(rows[0].values()) == ["cat", "penguin", "red"]
    assert sure.sum() == 1, "what may be misspelt is not sure"


def test_words_that_nothing_was_made_of(embedder, monkeypatch):
    """With a table what is neither a name nor a plain word; without one whole words, without the signs around them."""
    text = "에펠탑과 세탁기, 고양이"
    spans = embedder.encode_texts([text])[2][0].tolist()
    marks = [1.0 if a < 8 else 0.0 if a > 9 else 0.2 for a, _ in spans]
    assert embedder.gaps(text, marks, spans, [], False) == ["에펠탑과 세탁기"]
    monkeypatch.setattr(embedder, "coverage", None)
    assert embedder.gaps(text, marks, spans, [], False) == ["에펠탑과", "세탁기"]
    assert embedder.gaps(text, [0.0] * len(spans), spans, [], False) == []
