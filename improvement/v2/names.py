"""A table of what things and colours are called, in several languages: where a prompt names one, its English name can
be copied.

Pointer networks copy what they have never seen (See et al., arXiv 1704.04368); a gazetteer tells them what there is to
copy. So a new name is a line in the table, not a training.
"""

from __future__ import annotations

import csv
import functools
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ldm.data.emoji import COLOURS, NUMBERS, SIZES, plural, with_article
from ldm.errors import UserError

if TYPE_CHECKING:
    from ldm.modules.encoders.text_encoder import PromptTokenizer

FILE = "names.tsv"
NEAR = 8  # letters between a word and what it is counted in
SHORTEST, LONGEST = 4, 16  # letters of a name that may be misspelt
# Token types: outside of names; the first token of one and the others, of a thing, of a thing misspelt, of a colour or
# a size, of one misspelt.
OUTSIDE = 0
THING, THING_ALIKE, ADJECTIVE, ADJECTIVE_ALIKE = (1, 2), (3, 4), (5, 6), (7, 8)
TYPES = 9
STRANGE = "-"  # in place of an English name: a thing that the world does not have
ADJECTIVES = {*COLOURS, *filter(None, SIZES)}


class Name(NamedTuple):
    """A word for a thing, what it is counted in where only then it is that thing, and the English name: STRANGE if the
    world does not have it, and none for a word that is no thing, such as "please"."""

    word: str
    counter: str
    english: str


class Match(NamedTuple):
    """Where a text has a name: characters start to end, whether they are spelt as in the table, and the English names,
    the likeliest first."""

    start: int
    end: int
    exact: bool
    english: tuple[str, ...]
    sure: bool = False  # it is hardly anything else

    @property
    def types(self) -> tuple[int, int]:
        """The token types of its first token and of the others."""
        if self.english[0] in ADJECTIVES:
            return ADJECTIVE if self.exact else ADJECTIVE_ALIKE
        return THING if self.exact else THING_ALIKE


# Letters that people confuse, and what stands for both: Korean ones that sound alike, and Latin ones.
CONFUSED = dict(zip("ᄁᄄᄈᄊᄍᄏᄐᄑ체ᅬᅰᅤᅨᅣᅧᅭᅲᅴcqzyvwf", "ᄀᄃᄇᄉᄌᄀᄃᄇ재ᅫᅫᅢᅢᅡᅥᅩᅮᅵkksibup", strict=True)) | {"h": ""}


@functools.lru_cache(16_384)
def sound(character: str) -> str:
    """A character decomposed, in lower case, without accents, with one letter for those that people confuse."""
    return "".join(CONFUSED.get(c, c) for c in unicodedata.normalize("NFD", character.lower())
                   if not unicodedata.combining(c))


def letters(text: str) -> str:
    """What a text sounds like, roughly: its characters' sounds, double ones single."""
    spelt = ""
    for character in text:
        for c in sound(character):
            if c != spelt[-1:]:
                spelt += c
    return spelt


def without_one(text: str) -> set[str]:
    """The text, and the text without each of its letters: two texts that share one of these are an error apart."""
    return {text, *(text[:i] + text[i + 1 :] for i in range(len(text)))}


class Names:
    """The table, and where a text has its words."""

    def __init__(self, names: Iterable[Name]) -> None:
        self.names = list(names)
        self.table: dict[str, list[Name]] = defaultdict(list)
        self.plain = {name.word for name in self.names if not name.english}  # words that are no things
        for name in self.names:
            if name.english:
                self.table[name.word.lower()].append(name)
        lengths: dict[str, set[int]] = defaultdict(set)
        for word in self.table:
            lengths[word[:1]].add(len(word))
        # of words, by their first letter
        self.lengths = {first: sorted(rest, reverse=True) for first, rest in lengths.items()}

    @cached_property
    def alike(self) -> dict[str, set[str]]:
        """Letters of a word, or all but one of them -> words."""
        index: dict[str, set[str]] = defaultdict(set)
        for word in (word for word, names in self.table.items() if names[0].english != STRANGE):
            spelt = letters(word)
            if SHORTEST <= len(spelt) <= LONGEST:
                for part in without_one(spelt):
                    index[part].add(word)
        return dict(index)

    def meanings(self, word: str, text: str, start: int, end: int) -> tuple[str, ...]:
        """What a word of the table means at a place in a text: what is counted so first, and else what needs none."""
        around = text[max(0, start - NEAR) : start] + " " + text[end : end + NEAR]
        found = [name.english for name in self.table[word] if name.counter and name.counter in around]
        found += [name.english for name in self.table[word] if not name.counter]
        return tuple(dict.fromkeys(found))

    def find(self, text: str) -> list[Match]:
        """The longest name that begins at each place of a text, unless it is a part of another thing's, and, where none
        of two letters or more is, one that is alike. In scripts with spaces and no particles a name ends where a word
        does."""
        lower = text.lower()
        if len(lower) != len(text):  # a letter whose small form is two
            lower = text
        found, covered, last = [], 0, 0  # the end of what is named by two letters or more, and of any name
        for start, character in enumerate(lower):
            latin = is_latin(character)
            if latin and start and is_latin(lower[start - 1]):
                continue
            for end in (start + length for length in self.lengths.get(character, ())):
                if end > len(lower) or (latin and end < len(lower) and is_latin(lower[end - 1])
                                        and is_latin(lower[end])):
                    continue
                word = lower[start:end]
                if word in self.table and (english := self.meanings(word, lower, start, end)):
                    sure = end - start >= (4 if latin else 2) or not character.isalnum()
                    found.append(Match(start, end, True, english, sure))
                    if end - start > 1:
                        covered = max(covered, end)
                    break
            else:
                end = start
            begins = start in (0, last) or lower[start - 1] in " >"
            if begins and start >= covered and end - start < 2 and not character.isspace() and (
                    near := self.find_alike(lower, start, latin)):
                found.append(near)
            last = end if end > start else last
        return [part for part in found if not any(
            whole.start <= part.start and part.end <= whole.end and whole.english[0] != part.english[0]
            and (whole.exact or (whole.sure and part.end - part.start < 2 and " " not in text[whole.start : whole.end]))
            for whole in found if part.end - part.start < whole.end - whole.start)]

    def within_plain(self, match: Match, text: str) -> bool:
        """Whether a name is one letter of a longer word that is no thing: 배, a pear or a boat, in 배경, background."""
        if match.sure or match.end - match.start > 1:
            return False
        around = text[max(0, match.start - NEAR) : match.end + NEAR].lower()
        at = match.start - max(0, match.start - NEAR)
        return any(around[start:end] in self.plain for start in range(at + 1)
                   for end in range(max(at + 1, start + 2), len(around) + 1))

    def find_alike(self, text: str, start: int, latin: bool) -> Match | None:
        """A name that begins at a place in a text, with one letter wrong, missing or too many."""
        best: tuple[int, int, Match] | None = None
        if text[start + 1 : start + 2].isspace():
            return None
        for end in range(start + 2, min(len(text), start + LONGEST) + 1):
            if text[end - 1].isspace() or (latin and end < len(text) and is_latin(text[end])):
                continue
            if text[start:end] in self.plain:
                continue
            spelt = letters(text[start:end])
            if not SHORTEST <= len(spelt) <= LONGEST + 1:
                continue
            words = {word for part in without_one(spelt) for word in self.alike.get(part, ())}
            for word in sorted(words):
                rank = (-abs(len(letters(word)) - len(spelt)), len(spelt))
                english = self.meanings(word, text, start, end)
                if english and (best is None or rank > best[:2]):
                    best = (*rank, Match(start, end, False, english, end - start >= (6 if latin else 3)))
        return best[2] if best else None

    def write(self, file: Path) -> None:
        """Write the table."""
        with open(file, "w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, delimiter="\t", lineterminator="\n")
            writer.writerow(Name._fields)
            writer.writerows(self.names)


def is_latin(character: str) -> bool:
    """Whether a character is a letter of a script whose words have spaces between them and no particles behind."""
    return character.isalpha() and ord(character) < 0x250


def read_names(file: Path) -> Names:
    """The table of a file that Names.write wrote. Raises UserError for other files."""
    try:
        with open(file, encoding="utf-8", newline="") as rows:
            reader = csv.DictReader(rows, delimiter="\t")
            if tuple(reader.fieldnames or ()) != Name._fields:
                raise UserError(f"{file}: needs the columns {', '.join(Name._fields)}")
            return Names([Name(row["word"], row["counter"] or "", row["english"] or "") for row in reader])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: not a readable table of names ({error})") from error


class NameTokens:
    """Token ids of English names for a text encoder: of things, plural behind a number, of colours and sizes; "an"
    before a vowel."""

    def __init__(self, tokenizer: PromptTokenizer) -> None:
        self.ids = functools.lru_cache(None)(lambda text: tokenizer.ids(text))
        self.numbers = {i for word in NUMBERS for i in tokenizer.ids(word)}
        self.between = {i for word in (*COLOURS, *SIZES) for i in tokenizer.ids(word)}
        self.articles = tokenizer.ids("a an") if len(tokenizer.ids("a an")) == 2 else []

    def __call__(self, name: str, before: list[int] | None) -> list[int]:
        """The ids of a name behind token ids that end in a number and perhaps adjectives, or not; None is a number."""
        if name in ADJECTIVES:
            return self.ids(name)
        while before and before[-1] in self.between:
            before = before[:-1]
        several = before is None or (bool(before) and before[-1] in self.numbers)
        return self.ids(plural(name) if several else name)

    def put_behind(self, ids: list[int], name: str) -> None:
        """Put a name behind token ids; an article that it follows becomes the one for it."""
        tokens = self(name, ids)
        if ids and ids[-1] in self.articles:
            ids[-1] = self.articles[with_article(name).startswith("an ")]
        ids += tokens
