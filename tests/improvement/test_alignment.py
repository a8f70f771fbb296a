"""v2: the weights of words go where the words went in translation."""

import json
import random
from itertools import islice

import pytest
import torch

from evaluation.measures import JUDGE
from improvement.v2.alignment import hide_each, weighed_words
from improvement.v2.sentences import random_sentences
from ldm.data.emoji import COLOURS
from ldm.generate import sample_prompt
from ldm.prompts import parse_prompt


def weighted(model, prompt):
    placeholders = model.embedding_manager.placeholder_ids()
    read = parse_prompt(prompt, placeholders)
    ids = model.cond_stage_model.tokenize(read.text, placeholders)[0].tolist()
    found = model.cond_stage_model.token_weights(read, placeholders)
    assert len(found) == len(ids)
    pieces = zip(model.cond_stage_model.tknz_fn.pieces(ids, placeholders), found, strict=True)
    return {piece: round(w, 3) for piece, w in pieces if w != 1 and piece not in ("a", "an")}


@pytest.mark.parametrize("prompt, expected", [
    ("파란 배경 위의 (빨간:1.3) 사과", {"red": 1.3}), ("(파란:2) 배경 위의 빨간 사과", {"blue": 2}),
    ("파란 배경 위의 빨간 (사과:0.5)", {"apple": 0.5}), ("(*:1.5)와 노란 바나나", {"*": 1.5}),
    ("(*:1.5)의 사진", {"*": 1.5}), ("*와 (노란 바나나:0.5)", {"yellow": 0.5, "banana": 0.5}),
    ("a (red:1.4) apple on a (blue:0.3) background", {"red": 1.4, "blue": 0.3}),
    ("(:2)", {}), ("(빨간:1) 사과", {}),
])
def test_weights_go_with_their_words(v2_model, prompt, expected):
    assert weighted(v2_model, prompt) == expected


def test_two_copies_of_a_word_have_their_own_weights(v2_model):
    placeholders = v2_model.embedding_manager.placeholder_ids()
    read = parse_prompt("(*:2)와 (*:0.5)", placeholders)
    ids = v2_model.cond_stage_model.tokenize(read.text, placeholders)[0].tolist()
    found = v2_model.cond_stage_model.token_weights(read, placeholders)
    assert [w for i, w in zip(ids, found, strict=True) if i == int(placeholders["*"])] == [2, 0.5]


def test_a_plain_prompt_stays_what_it_was(v2_model):
    one, other = (sample_prompt(v2_model, p, [0], "dpm_solver", 2) for p in ("빨간 사과", "(빨간:1) 사과"))
    assert torch.equal(one, other)
    assert not torch.equal(sample_prompt(v2_model, "(빨간:2) 사과", [0], "dpm_solver", 2), one)


def test_what_is_hidden_is_not_read(v2_model):
    encoder = v2_model.cond_stage_model.translator[0]
    words = [-1, *[0] * 4, -1, 1, 1, -1]  # letters of a syllable that is no token of its own are tokens
    with torch.no_grad():
        hidden = encoder(["빨간 나비"] * 2, hidden=hide_each(words))
        for row, other in enumerate(("간빨 나비", "빨간 비나")):
            same = encoder([other] * 2, hidden=hide_each(words))
            read = hidden.mask[row]
            assert torch.equal(same.mask[row], read) and read.tolist() == [word != row for word in words]
            assert torch.allclose(hidden.memory[row][read], same.memory[row][read], atol=1e-5)


def test_a_word_ends_at_a_space_and_where_the_weight_changes():
    text, weights = "빨간 사과를", [1.5, 1.5, 1, 2, 2, 1]
    assert weighed_words(text, weights, [(0, 0), (0, 2), (2, 4), (4, 5), (5, 6), (2, 3)]) == (
        [-1, 0, 1, 1, 2, -1], [1.5, 2, 1])
    assert weighed_words("", [], [(0, 0)]) == ([-1], [])


@pytest.mark.slow
def test_how_often_weights_reach_their_words(v2_model):
    """The figures of docs/words.md: -s prints them."""
    lexicon = {c["name"]: c["name_ko"] for c in json.loads((JUDGE / "concepts.json").read_text())}
    encoder, names = v2_model.cond_stage_model, v2_model.embedding_manager.placeholder_ids()
    tokenizer, function_words = encoder.tknz_fn, {"a", "an", "of", "on", "in", "with", "and", "front", ",", "photo"}
    reached, alone = {"colour": [], "noun": [], "background": []}, {"colour": [], "noun": [], "background": []}
    for s in islice(random_sentences(random.Random(1), [(ko, en) for en, ko in lexicon.items()]), 200):
        ids = encoder.tokenize(s.ko, names)[0].tolist()
        if s.number > 1 or not s.colour or tokenizer.ids(s.en) != [i for i in ids if i not in tokenizer.special_ids]:
            continue
        words = [("colour", c, COLOURS[c][1]) for c in {s.colour, s.tint} - {""}]
        words += [("background", "background", "배경"), *(("noun", n, lexicon[n]) for n in s.nouns if n in lexicon)]
        pieces = tokenizer.pieces(ids, names)
        for kind, en, ko in words:
            own = tokenizer.ids(en)
            places = [n for n in range(len(ids)) if ids[n : n + len(own)] == own]
            if s.ko.count(ko) != 1 or len(places) != 1:
                continue
            goal = {n for n in range(places[0], places[0] + len(own)) if pieces[n] not in function_words}
            found = encoder.token_weights(parse_prompt(s.ko.replace(ko, f"({ko}:1.5)"), names), names)
            weighed = {n for n, w in enumerate(found) if w != 1 and pieces[n] not in function_words}
            reached[kind].append(goal <= weighed)
            alone[kind].append(goal == weighed)
    shares = {kind: [round(sum(x[kind]) / len(x[kind]), 2) for x in (reached, alone)] for kind in reached}
    print({kind: (*shares[kind], len(reached[kind])) for kind in shares})
    assert all(len(x) >= 50 for x in reached.values())
    assert shares["colour"][0] >= 0.95 and shares["noun"][0] >= 0.85
    assert min(share for pair in shares.values() for share in pair) >= 0.7
