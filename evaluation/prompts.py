"""Prompts as people type them, with what is right: evaluation/prompts/*.tsv, and how readings of them are judged.

`english` in these files is the sentence of the base model that a prompt should be read as. {cat|cat face} stands for
either; a ~ in front says that any frame is right ("a photo of ..."), or none, because the prompt names no kind of
picture clearly.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ldm.data.emoji import COLOURS, NUMBERS, SIZES
from ldm.util import ROOT

FOLDER = ROOT / "evaluation/prompts"
FRAME = re.compile(r"^(?:a|an) (?:(?:good|close-up|cropped) )?(photo|picture|drawing|emoji|image|rendering) of ")
GROUND = re.compile(rf"(?: on| in front of|,) (?:a|an) ({'|'.join(COLOURS)}) background$")
GROUND_FIRST = re.compile(rf"^(?:a|an) ({'|'.join(COLOURS)}) background with ")


class Prompt(NamedTuple):
    """A prompt, its register or language, and the sentences that are right."""

    register: str
    text: str
    english: tuple[str, ...]
    any_frame: bool


class Said(NamedTuple):
    """What a sentence of the base model says, for comparison: things as (number, adjectives, name)."""

    frame: str
    things: tuple[tuple[str, tuple[str, ...], str], ...]
    ground: str


class Judgement(NamedTuple):
    """How a reading compares with the right sentence that is nearest to it."""

    exact: bool
    things: bool
    numbers: bool
    colours: bool
    words: bool      # learned words are all there
    runs_on: bool
    invented: bool   # something that no right sentence has


def read_rows(name: str) -> list[dict[str, str]]:
    """The rows of evaluation/prompts/NAME.tsv."""
    with open(FOLDER / f"{name}.tsv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def alternatives(text: str) -> Iterator[str]:
    """The sentences that a text with {one|other} stands for, which may be nested."""
    inner = re.search(r"\{([^{}]*)\}", text)
    if not inner:
        yield text
        return
    for choice in inner[1].split("|"):
        yield from alternatives(text[: inner.start()] + choice + text[inner.end() :])


def read_prompts(name: str) -> list[Prompt]:
    """The prompts of evaluation/prompts/NAME.tsv."""
    return [Prompt(row.get("register", row.get("word", "")), row["prompt"],
                   tuple(dict.fromkeys(alternatives(row["english"].removeprefix("~")))), row["english"].startswith("~"))
            for row in read_rows(name)]


def normal(sentence: str) -> str:
    """A sentence in one spelling: lower case, "a" for "an", no full stop, no spaces around hyphens and apostrophes."""
    text = re.sub(r"\s*([-'])\s*", r"\1", sentence.lower().replace("’", "'"))
    text = re.sub(r"\s+", " ", text.replace(" ,", ",")).strip(" .")
    return re.sub(r"\ban\b", "a", text)


def said(sentence: str) -> Said:
    """What a sentence says."""
    text = normal(sentence)
    frame = ""
    if found := GROUND_FIRST.search(text):
        text = f"{text[found.end():]} on a {found[1]} background"
    if found := FRAME.search(text):
        frame, text = found[0].removeprefix("a ").removeprefix("good ").removesuffix(" of "), text[found.end() :]
    ground = ""
    if found := GROUND.search(text):
        ground, text = found[1], text[: found.start()]
    if found := re.fullmatch(rf"a ({'|'.join(COLOURS)}) background", text):
        ground, text = found[1], ""
    things = []
    for phrase in filter(None, text.split(" and ")):
        number, adjectives, words = "a", [], phrase.split()
        if words[0] in ("a", *NUMBERS):
            number, words = words[0], words[1:]
        while len(words) > 1 and (words[0] in COLOURS or words[0] in SIZES):
            adjectives.append(words.pop(0))
        things.append((number, tuple(adjectives), " ".join(words)))
    return Said(frame, tuple(things), ground)


def judge(reading: str, prompt: Prompt) -> Judgement:
    """Compare a reading with the sentences that are right; of these the likest counts."""
    return max((compare(said(reading), said(right), reading, prompt.any_frame) for right in prompt.english),
               key=lambda judgement: (judgement[:5], not judgement.invented))


def compare(read: Said, right: Said, reading: str, any_frame: bool) -> Judgement:
    """Compare what a reading says with what is right."""
    def names(of: Said) -> list[str]:
        return sorted(re.sub(r"(ies|es|s|y)$", "", name) for _, _, name in of.things)

    def colours(of: Said) -> list[str]:
        return sorted([of.ground, *(a for _, adjectives, _ in of.things for a in adjectives if a in COLOURS)])

    def learned(of: Said) -> list[str]:
        return sorted(name for _, _, name in of.things if name in ("*", "&"))

    same = read._replace(frame="") == right._replace(frame="") if any_frame else read == right
    return Judgement(
        same, names(read) == names(right),
        sorted(number for number, _, _ in read.things) == sorted(number for number, _, _ in right.things),
        colours(read) == colours(right), learned(read) == learned(right),
        reading.count("background") > 1 or len(read.things) > max(3, len(right.things)),
        bool(set(names(read)) - set(names(right))))


def shares(judgements: Iterable[Judgement]) -> dict[str, float]:
    """The share of each kind, in [0, 1]."""
    rows = list(judgements)
    return {field: sum(getattr(row, field) for row in rows) / len(rows) for field in Judgement._fields}


def names_it(gaps: Sequence[str], expected: str) -> bool:
    """Whether what is named as not understood has the word in it that should be."""
    word = expected.lower().replace(" ", "")
    return any(word in gap.lower().replace(" ", "") or (len(gap) > 1 and gap.lower().replace(" ", "") in word)
               for gap in gaps)


