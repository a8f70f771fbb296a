"""What sentences of the emoji world say, in the English of its captions; each module here says it in one language as
people write it.

A module has `NOUNS`, words for things beside Unicode CLDR's names, and `write`, which says a Meaning. Random choices
come from the generator that is handed on.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import OmegaConf

from ldm.data import emoji
from ldm.data.emoji import COLOURS, plural, with_article

T = TypeVar("T")

NUMBERS = ("", "one", *emoji.NUMBERS)
FRAMES = {
    "": "{}", "photo": "a photo of {}", "picture": "a picture of {}", "drawing": "a drawing of {}",
    "emoji": "an emoji of {}", "image": "an image of {}", "rendering": "a rendering of {}",
    "close-up": "a close-up photo of {}",
}
# Around words that the world has no picture for, until `gaps` reads and removes them.
OPEN, CLOSE = "\x01", "\x02"


@dataclass(frozen=True)
class Thing:
    """Things of one kind: a concept's English name, a learned word's placeholder, or nothing that the world has."""

    name: str
    kind: str = ""        # the concept's (pretrain.world.Concept)
    number: int = 1
    size: str = ""        # a key of ldm.data.emoji.SIZES
    tint: str = ""        # a key of ldm.data.emoji.COLOURS

    @property
    def english(self) -> str:
        """As a caption has it: "two big red cats"."""
        words = " ".join(filter(None, (self.size, self.tint if self.tint in COLOURS else "", self.name)))
        if self.number == 1:
            return with_article(words)
        return f"{NUMBERS[self.number]} {words if self.name in '*&' else plural(words)}"


@dataclass(frozen=True)
class Meaning:
    """What a prompt asks for."""

    things: tuple[Thing, ...]
    ground: str = ""   # a key of COLOURS, or nothing
    frame: str = ""    # a key of FRAMES

    @property
    def english(self) -> str:
        """The base model's own sentence for it, without the things that it has no words for."""
        things = " and ".join(thing.english for thing in self.things if thing.name)
        ground = f"{with_article(self.ground)} background" if self.ground in COLOURS else ""
        if not things:
            return ground
        return FRAMES[self.frame].format(things) + (f" on {ground}" if ground else "")


Noun = Callable[[Thing, str], str]  # a word for a thing, fit for a counter where the language has such


def vocabulary(language: str) -> dict[str, Any]:
    """The words of a language, from its file here."""
    words = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name(f"{language}.yaml")))
    return cast("dict[str, Any]", words)


def maybe(rng: random.Random, share: float, text: str) -> str:
    """The text with probability `share`, else nothing."""
    return text if rng.random() < share else ""


def weighted(rng: random.Random, table: Sequence[tuple[T, float]]) -> T:
    """One of (choice, weight)."""
    return rng.choices([choice for choice, _ in table], [weight for _, weight in table])[0]


def words(text: str) -> list[str]:
    """The words of a table that are separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def keep_back(rng: random.Random, thing: Thing) -> tuple[str, Thing]:
    """What is said of a thing only afterwards, "number", "size" or "tint", and the thing without it; "" where it has
    none of them."""
    plain = {"size": replace(thing, size=""), "tint": replace(thing, tint=""), "number": replace(thing, number=1)}
    said = [name for name, without in plain.items() if without != thing and getattr(thing, name) != "odd"]
    last = rng.choice(said) if said else ""
    return last, plain.get(last, thing)


class Chatter:
    """What is said beside a request and says nothing about the picture: phrases whose slots, {verb}, are filled from
    the lists of that name, `verbs`."""

    def __init__(self, vocabulary: dict[str, Any]) -> None:
        self.phrases = words(vocabulary["chatter"])
        slots = {slot for phrase in self.phrases for _, slot, _, _ in string.Formatter().parse(phrase) if slot}
        self.fill = {slot: words(vocabulary[f"{slot}s"]) for slot in sorted(slots)}

    def __call__(self, rng: random.Random) -> str:
        """One of them."""
        return rng.choice(self.phrases).format(**{slot: rng.choice(table) for slot, table in self.fill.items()})


def gaps(text: str) -> tuple[str, tuple[str, ...]]:
    """A text without its marks, and the parts that were between them."""
    found, plain = [], ""
    for i, part in enumerate(text.replace(CLOSE, OPEN).split(OPEN)):
        plain += part
        if i % 2 and part.strip():
            found.append(part.strip())
    return plain, tuple(found)
