"""Sentences as people type them beside the base model's own."""

import csv
import random
from functools import partial
from itertools import islice

import pytest

from evaluation.prompts import said
from improvement.v2 import names
from improvement.v2.sentences import random_sentences, stream_pairs, unseen
from ldm.data.emoji import COLOURS
from pretrain import pairs
from pretrain.languages import CLOSE, OPEN, Meaning, Thing, gaps
from pretrain.lexicon import Lexicon, all_names, cldr_names
from pretrain.world import EMOJI_TEST
from tests.conftest import assert_one_line_error, run_main

pytestmark = pytest.mark.skipif(not EMOJI_TEST.is_file(), reason="the emoji world's Debian packages are not here")


@pytest.fixture(scope="module", params=list(pairs.LANGUAGES))
def lexicon(request):
    return Lexicon(request.param)


def test_every_thing_has_a_word_that_is_only_its_own(lexicon):
    owners = {}
    for name, forms in lexicon.forms.items():
        for word, counter, _ in forms:
            assert owners.setdefault((word.lower(), counter), name) == name
    nameless = [name for name, forms in lexicon.forms.items() if not any(not counter for _, counter, _ in forms)]
    assert len(nameless) < 0.08 * len(lexicon.forms), nameless


def test_what_is_said_is_in_the_sentence(lexicon):
    """A thing's word, a learned word's sign, and what the world does not have, which is marked."""
    rng = random.Random(0)
    for _ in range(300):
        thing = lexicon.random_concept(rng)
        meaning = Meaning((Thing(thing.name, thing.kind, rng.choice((1, 2))), Thing("*"), Thing("")),
                          rng.choice(["", *COLOURS]), rng.choice(["", "photo"]))
        text = lexicon.module.write(rng, meaning, partial(lexicon.noun, rng), lambda thing, unit: "X")
        plain, left_out = gaps(text)
        assert plain.count("*") == 1 and len(left_out) == 1 and left_out[0] in plain
        assert OPEN not in plain and CLOSE not in plain and meaning.english.count("*") == 1
        assert said(meaning.english).ground == meaning.ground


def test_the_command_writes_pairs_that_are_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "SENTENCES", 200)
    result = run_main(pairs.main, "--out", tmp_path / "pairs.csv", "--count", 400, "--names", tmp_path)
    assert result.status == 0, result.err
    read = list(stream_pairs(tmp_path / "pairs.csv"))
    assert len(read) == 400 and all(gap in pair.ko for pair in read for gap in pair.gaps)
    assert any(pair.gaps for pair in read) and not any(unseen(pair.ko) for pair in read)
    with open(tmp_path / "pairs.csv", newline="") as file:
        assert next(csv.reader(file)) == ["ko", "en", "gaps"]
    table = names.read_names(tmp_path / names.FILE)
    assert table.find("고양이")[0].english == ("cat",)
    assert_one_line_error(run_main(pairs.main, "--out", tmp_path / "x.csv", "--strange", "xx=none"), "LANGUAGE=FILE")


def test_words_of_several_things_are_told_apart_by_what_they_are_counted_in():
    table = names.Names(all_names([Lexicon("ko"), Lexicon("en")]))

    def first(text, word):
        return next(m.english[0] for m in table.find(text) if text[m.start : m.end] == word)

    for text, word, english in (("차 한 대", "차", "automobile"), ("차 한 잔", "차", "teacup without handle"),
                                ("배 두 척", "배", "ship"), ("배 두 개", "배", "pear"), ("술 한 병", "술", "sake"),
                                ("말 두 마리", "말", "horse"), ("빨간 사과", "빨간 사과", "red apple")):
        assert first(text, word) == english


def test_what_the_world_does_not_have_hides_the_names_in_it():
    table = names.Names(all_names([Lexicon("ko"), Lexicon("en")]))
    for text in ("해파리 두 마리", "a vending machine"):
        match, *others = table.find(text)
        assert match.english == (names.STRANGE,) and match.exact and not [m for m in others if m.start < match.end]
    assert [m.english[0] for m in table.find("파리 두 마리")][:1] == ["fly"]
    assert table.find("a wizardd") == [] or table.find("a wizardd")[0].english != (names.STRANGE,)


def test_plain_words_are_no_names(lexicon):
    plain = {name.word for name in pairs.plain_words(random.Random(0), lexicon, 300)}
    assert len(plain) > 50 and not plain & {"고양이", "cat", "猫", "gato", ""}


def test_no_sentence_names_a_thing_twice():
    for ko, en, nouns, *_ in islice(random_sentences(random.Random(0), [("배", "ship"), ("별", "star")]), 2000):
        assert len(set(nouns)) == len(nouns), (ko, en)


def test_cldr_has_the_languages():
    for language in pairs.LANGUAGES:
        assert len(cldr_names(language)) > 1000
