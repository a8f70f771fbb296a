"""What no training may see: concepts, families of drawings and styles, frozen in held_out.yaml."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("held_out.yaml")
SELECTORS = ("\ufe0f", "\ufe0e")  # say how an emoji is shown, not which


def plain(text: str) -> str:
    """A name as words: letters and digits in lower case, one space between them, "o'clock" as one word."""
    text = re.sub(r"['’]", "", text.lower())
    return " ".join("".join(c if c.isalnum() else " " for c in text).split())


def pattern(phrases: Iterable[str]) -> re.Pattern[str]:
    """Finds any of the phrases in plain text, in the singular or plural, in one word or several; a number behind it,
    as icons have it, does not matter."""
    def spelt(phrase: str) -> str:
        words = plain(phrase).split()
        last = words[-1]
        ending = rf"(?:{last[:-1]}(?:y|ies))" if last.endswith("y") else rf"{last}(?:s|es)?"
        return " ?".join([*words[:-1], ending])

    longest_first = sorted({spelt(p) for p in phrases}, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(longest_first)})[0-9]*\b") if longest_first else re.compile(r"(?!)")


class HeldOut:
    """The frozen lists, and whether something is on them."""

    def __init__(self) -> None:
        lists = yaml.safe_load(FILE.read_text(encoding="utf-8"))
        self.names: dict[str, str] = {c["emoji"]: c["name"] for c in lists["concepts"]}
        self.families: dict[str, list[str]] = lists["families"]
        self.styles: frozenset[str] = frozenset(lists["styles"])
        words = [w for c in lists["concepts"] for w in (c["name"], *c["words"])]
        self._words = pattern(words)
        self._elsewhere = pattern([*words, *(w for c in lists["concepts"] for w in c.get("elsewhere", ()))])
        self._families = pattern([w for words in self.families.values() for w in words])
        self._allowed = pattern(lists["allowed"])

    def covers(self, emoji: str, name: str = "") -> bool:
        """Whether an emoji is held out, or one of a sequence is, or its name is that of a held-out family."""
        return any(sign in self.names for sign in emoji if sign not in SELECTORS) or bool(
            self._families.search(plain(name)))

    def in_text(self, text: str, elsewhere: bool = False) -> str | None:
        """The word for something held out that a caption or a name has in it, if any; with `elsewhere`, of a set that
        does not tell code points: there no longer name excuses it, and doubtful words count."""
        text = plain(text)
        if found := self._families.search(text) or (self._elsewhere if elsewhere else self._words).search(
                text if elsewhere else self._allowed.sub("|", text)):
            return found.group()
        return None


@functools.cache
def held_out_lists() -> HeldOut:
    """The lists, read once."""
    return HeldOut()
