"""Which words a text encoder was trained on, where its tokenizer's folder says so; other words it spells, silently."""

from __future__ import annotations

import csv
import difflib
import functools
import re
from pathlib import Path

from ldm.errors import UserError
from ldm.util import ROOT

FILE = "known_words.tsv"  # columns word and instead: empty for a word that is known, else a known one to try


class KnownWords:
    """The words of a list, and what to write in place of some others."""

    def __init__(self, words: dict[str, str]) -> None:
        self.words = words

    def knows(self, text: str) -> bool:
        """Whether every word of a text, but for numbers and signs, is known."""
        return all(self.words.get(word) == "" for word in parts(text))

    def instead(self, text: str) -> str:
        """A known word for the first one of a text that is not known: what the list has, its plural or singular,
        or, of a word that is not English, the one that is spelled most like it."""
        for word in parts(text):
            if other := self.words.get(word):
                return other
            if word not in self.words:
                listed = [w for w in (f"{word}s", word.removesuffix("s")) if w in self.words]
                if not listed and word not in english():  # a king is no misspelled hiking
                    listed = difflib.get_close_matches(word, [w for w in self.words if len(w) > 2], 1, 0.8)
                if listed:
                    return self.words[listed[0]] or listed[0]
        return ""


@functools.cache
def english() -> frozenset[str]:
    """Words that are spelled right: BERT's."""
    return frozenset((ROOT / "models/bert-base-uncased/vocab.txt").read_text(encoding="utf-8").split())


def parts(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"[^\W\d_]+", text.lower().replace("’", "'"))


def read_known_words(folder: str | Path) -> KnownWords | None:
    """The list of a tokenizer's folder, if it has one. Raises UserError for a file that is no such list."""
    file = Path(folder, FILE)
    if not file.is_file():
        return None
    try:
        with open(file, encoding="utf-8", newline="") as rows:
            return KnownWords({row["word"]: row["instead"] for row in csv.DictReader(rows, delimiter="\t")})
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise UserError(f"{file}: not a list of words, columns word and instead ({error})") from error
