"""The list of words that a text encoder was trained on."""

import pytest

from ldm.errors import UserError
from ldm.modules.encoders.known_words import FILE, read_known_words


@pytest.fixture
def known(tmp_path):
    (tmp_path / FILE).write_text("word\tinstead\ncat\t\na\t\nelephant\t\nkitten\tcat\nhiking\t\ndolls\t\n")
    return read_known_words(tmp_path)


@pytest.mark.parametrize("text, knows, instead", [
    ("a cat", True, ""), ("CAT,", True, ""), ("*", True, ""), ("3", True, ""), ("kitten", False, "cat"),
    ("elefant", False, "elephant"), ("zzz", False, ""), ("a kitten", False, "cat"), ("kitens", False, "cat"),
    ("king", False, ""), ("doll", False, "dolls"), ("elephants", False, "elephant")])
def test_words_are_known_or_another_is_suggested(known, text, knows, instead):
    assert known.knows(text) is knows and known.instead(text) == instead


def test_a_folder_without_a_list_and_a_file_that_is_none(tmp_path):
    assert read_known_words(tmp_path) is None
    (tmp_path / FILE).write_text("one\ntwo\n")
    with pytest.raises(UserError, match="columns word and instead"):
        read_known_words(tmp_path)


def test_the_embedded_model_has_one(emoji_model):
    encoder = emoji_model.cond_stage_model
    assert encoder.knows("banana") and not encoder.knows("bananana") and not encoder.knows("flamingo")
    assert encoder.remedy(["kittens"]) == "kittens: try cat" and "v2.py" in encoder.remedy(["사과"])
