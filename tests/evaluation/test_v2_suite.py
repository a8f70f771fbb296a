"""What the comparison of Korean with English counts."""

import random

import pytest
from PIL import Image

from evaluation.measures import ratio
from evaluation.v2_suite import one_thing
from improvement.v2.sentences import PAIRS, random_sentence, random_sentences, read_pairs, unseen


def test_a_ratio_is_of_means_and_paired():
    halved = ratio([1, 0, 1, 0], [1, 1, 1, 1])
    assert halved["value"] == 0.5 and halved["low"] < 0.5 < halved["high"] and halved["n"] == 4
    same = ratio([1, 0, 1, 1], [1, 0, 1, 1])
    assert same["value"] == same["low"] == same["high"] == 1


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_first_thing_is_cut_out(count):
    picture = Image.new("RGB", (64, 64), "white")
    left, top = {1: (16, 16), 2: (8, 24)}.get(count, (8, 8))
    picture.paste("red", (left, top, left + (32 if count == 1 else 16), top + (32 if count == 1 else 16)))
    cut = one_thing(picture, count)
    assert cut.size == (64, 64)
    assert cut.getpixel((32, 32)) == (255, 0, 0) and cut.getpixel((2, 2)) == (255, 255, 255)


def test_no_file_of_pairs_has_the_sentences_to_measure_with():
    assert not [ko for ko, _ in read_pairs(PAIRS) if unseen(ko)]
    sentences = random_sentences(random.Random(0), [("나침반", "compass"), ("사과", "apple")])
    share = sum(unseen(next(sentences).ko) for _ in range(2000)) / 2000
    assert 0.07 < share < 0.13


def test_a_sentence_says_what_it_says_it_says():
    rng = random.Random(3)
    for _ in range(200):
        sentence = random_sentence(rng, [("사과", "apple")], ("나침반", "compass"))
        assert "나침반" in sentence.ko and sentence.nouns[0] == "compass" and "compass" in sentence.en
        assert not sentence.colour or f"{sentence.colour} background" in sentence.en
        assert sentence.number == 1 or sentence.en.count({2: "two ", 3: "three ", 4: "four "}[sentence.number]) == 1
