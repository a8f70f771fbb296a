"""Korean and English sentences that say the same."""

import random

from improvement.v2.sentences import PAIRS, random_sentence, random_sentences, read_pairs, unseen


def test_no_file_of_pairs_has_the_sentences_to_measure_with():
    assert not [ko for ko, _ in read_pairs(PAIRS) if unseen(ko)]
    sentences = random_sentences(random.Random(0), [("나침반", "compass"), ("사과", "apple")])
    share = sum(unseen(next(sentences).ko) for _ in range(2000)) / 2000
    assert 0.07 < share < 0.13


def test_a_sentence_says_what_it_says_it_says():
    rng, counts, coloured = random.Random(3), set(), 0
    for _ in range(200):
        sentence = random_sentence(rng, [("사과", "apple")], ("나침반", "compass"))
        assert "나침반" in sentence.ko and sentence.nouns[0] == "compass" and "compass" in sentence.en
        assert not sentence.colour or f"{sentence.colour} background" in sentence.en
        assert sentence.number == 1 or sentence.en.count({2: "two ", 3: "three ", 4: "four "}[sentence.number]) == 1
        counts.add(sentence.number)
        coloured += bool(sentence.colour)
    assert counts == {1, 2, 3, 4} and 20 < coloured < 180, "all kinds were among them"
