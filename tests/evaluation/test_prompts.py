"""Prompts as people type them, and how readings of them are judged."""

import pytest

from evaluation.prompts import FOLDER, Prompt, alternatives, judge, names_it, normal, read_prompts, read_rows, said

ENOUGH = {"ko_dev": 150, "ko_unseen": 150, "en_dev": 75, "en_unseen": 150, "ja_dev": 20, "ja_unseen": 40,
          "es_dev": 20, "es_unseen": 40, "ko_polysemy": 50, "ko_dev2": 120, "en_dev2": 200, "en_unseen2": 149}


@pytest.mark.parametrize("name, count", ENOUGH.items())
def test_every_prompt_has_a_right_sentence(name, count):
    prompts = read_prompts(name)
    assert len(prompts) >= count
    for prompt in prompts:
        for sentence in prompt.english:
            assert not set("{}|~") & set(sentence), prompt
            assert judge(sentence, prompt).exact and not judge(sentence, prompt).runs_on, prompt
            assert prompt.text.count("*") == sentence.count("*"), prompt


def test_no_prompt_to_measure_with_is_one_to_choose_by():
    for language in ("ko", "en", "ja", "es", "unknown"):
        seen, unseen = ({row["prompt"] for row in read_rows(f"{language}_{kind}")} for kind in ("dev", "unseen"))
        assert not seen & unseen and len(unseen) == len(read_rows(f"{language}_unseen"))
    assert not {row["prompt"] for name in ("en_dev", "en_dev2") for row in read_rows(name)} & {
        row["prompt"] for row in read_rows("en_unseen2")}
    assert len(read_rows("unknown_unseen")) == 60 <= len(read_rows("unknown_dev"))
    assert all(row["not understood"].lower() in row["prompt"].lower() for row in read_rows("unknown_unseen"))
    assert len(list(FOLDER.glob("*.tsv"))) == len(ENOUGH) + 2


def test_what_stands_for_several_sentences():
    assert set(alternatives("{a {red |}cat|two cats}")) == {"a red cat", "a cat", "two cats"}
    assert normal("An  X - ray of a woman ’ s hat.") == "a x-ray of a woman's hat"
    same = ("a cat on a red background", "a cat, a red background", "a red background with a cat",
            "a cat in front of a red background")
    assert len({said(sentence) for sentence in same}) == 1
    assert said("a photo of two big blue cats and a * on an orange background") == (
        "photo", (("two", ("big", "blue"), "cats"), ("a", (), "*")), "orange")


@pytest.mark.parametrize("reading, wrong", [
    ("two cats on a blue background", set()), ("a photo of two cats on a blue background", set()),
    ("a cat on a blue background", {"exact", "numbers"}), ("two cats", {"exact", "colours"}),
    ("two dogs on a blue background", {"exact", "things", "invented"}),
    ("two cats and a * on a blue background", {"exact", "things", "numbers", "words", "invented"}),
    ("two cats on a blue background and a background", {"exact", "things", "numbers", "colours", "invented",
                                                         "runs_on"})])
def test_a_reading_is_judged(reading, wrong):
    judged = judge(reading, Prompt("", "", ("two cats on a blue background",), True))
    faults = ("runs_on", "invented")
    assert {field for field, value in judged._asdict().items() if value == (field in faults)} == wrong


def test_what_is_not_understood_is_named():
    assert names_it(["에펠탑을"], "에펠탑") and names_it(["김연"], "김연아")
    assert names_it(["washing machine"], "washing")
    assert not names_it([], "에펠탑") and not names_it(["고양이"], "에펠탑")
