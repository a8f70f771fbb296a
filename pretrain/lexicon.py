"""The words for the emoji world's things in one language: Unicode CLDR's names and keywords, and a language's own."""

from __future__ import annotations

import functools
import json
import random
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from improvement.v2.names import ADJECTIVES, STRANGE, Name
from improvement.v2.sentences import HYPERNYMS
from ldm.data.emoji import COLOURS, plural
from pretrain.languages import CLOSE, OPEN, Thing, words
from pretrain.world import CLDR, Concept, all_concepts, cldr_names

SHARED = {"ko": 2, "ja": 2}  # letters that a keyword must share with the name, to be another name; 4 elsewhere


@functools.cache
def cldr_keywords(language: str) -> dict[str, list[str]]:
    """Emoji -> what CLDR says beside the short name."""
    root = ElementTree.parse(CLDR / f"{language}.xml").getroot()
    return {a.attrib["cp"]: words((a.text or "").replace("|", ",")) for a in root.iter("annotation")
            if a.get("type") != "tts"}


def share_letters(one: str, other: str, count: int) -> bool:
    """Whether two words have a run of letters in common."""
    return any(one[i : i + count] in other for i in range(len(one) - count + 1))


def adjectives(module: ModuleType) -> dict[str, str]:
    """The words for colours and sizes in a language's grammar -> the English one; colours that the world does not have
    among them."""
    found: dict[str, str] = {}
    for english, tables in (module.COLOURS | module.SIZES).items():
        for table in [tables] if isinstance(tables, str) else tables:
            found |= {word.strip(OPEN + CLOSE).lower(): english for word in words(table)}
    return {english: english for english in sorted(ADJECTIVES)} | found


class Lexicon:
    """What a language calls things. A word of several things is the first one's in the language's own table, then that
    of the thing whose CLDR name it is; a keyword counts where it is one thing's, and like its name without being a part
    of it."""

    def __init__(self, language: str, concepts: Sequence[Concept] = (), strange: Sequence[Path] = ()) -> None:
        self.language, self.concepts = language, {c.name: c for c in concepts or all_concepts()}
        self.module: ModuleType = import_module(f"pretrain.languages.{language}")
        own: dict[str, str] = self.module.NOUNS
        if unknown := sorted(own.keys() - self.concepts.keys()):
            raise ValueError(f"pretrain/languages/{language}.yaml: the world has no {', '.join(unknown)}")
        self.forms: dict[str, list[tuple[str, str, float]]] = {name: [] for name in self.concepts}  # word, counter
        taken: set[tuple[str, str]] = set()

        def add(name: str, entry: str, weight: float) -> None:
            word, _, counter = entry.partition("@")
            if (word.lower(), counter) not in taken:
                taken.add((word.lower(), counter))
                self.forms[name].append((word, counter, weight))

        names = cldr_names(language)
        for name, entries in own.items():
            for i, entry in enumerate(words(entries)):
                add(name, entry, 1.5 if "@" in entry else max(1.0, 4.0 - i))
        taken |= {(word, "") for word in adjectives(self.module)}  # those are no other things
        for concept in self.concepts.values():
            if called := names.get(concept.emoji):
                add(concept.name, called.replace("’", "'"), 3.0)
        keywords = cldr_keywords(language)
        owners = Counter(k for c in self.concepts.values() for k in set(keywords.get(c.emoji, ())))
        for concept in self.concepts.values():
            for keyword in keywords.get(concept.emoji, ()):
                called = names.get(concept.emoji, "")
                alike = share_letters(keyword, called, SHARED.get(language, 4))
                if owners[keyword] == 1 and alike and keyword.lower() not in called.lower() and len(keyword) > 1:
                    add(concept.name, keyword, 0.5)
        # things of daily life come more often than what only CLDR names
        self.weights = [1.0 if name in own else 0.25 if c.group.startswith("Smileys") else 0.5
                        for name, c in self.concepts.items()]
        self.strange = self.read_strange(language, names, strange)
        known = {word for word, _ in taken}
        self.missing = [word for word in self.module.STRANGE if word.lower() not in known]  # those that people ask for

    def read_strange(self, language: str, names: dict[str, str], files: Sequence[Path]) -> list[str]:
        """Words for what the world does not have: CLDR's names of other signs, and the lines of files; none of them has
        a word in it that means something here."""
        here = {c.emoji for c in self.concepts.values()}
        candidates = {name for sign, name in names.items() if sign not in here and sign[0] > "\u2100"}
        for file in files:
            candidates |= set(file.read_text(encoding="utf-8").split("\n"))
        tables = [table for name, table in vars(self.module).items()
                  if name.isupper() and name not in ("V", "NOUNS", "STRANGE") and not isinstance(table, str)]
        source = json.dumps(tables, ensure_ascii=False, default=vars).lower()
        known = {word.lower() for forms in self.forms.values() for word, *_ in forms if len(word) > 1}
        known |= {c.lower() for c in COLOURS}
        if language in ("ko", "ja"):
            table = {w for w in source.replace(",", " ").replace('"', " ").split() if len(w) > 1}
            return sorted(w for w in candidates if 1 < len(w) < 14 and w not in table
                          and not any(w[i:j] in known for i in range(len(w)) for j in range(i + 2, len(w) + 1)))
        parts = {part for word in known for part in word.replace("-", " ").split()}
        table = set("".join(c if c.isalpha() else " " for c in source).split())
        return sorted(w for w in candidates if 2 < len(w) < 26 and w.lower().rstrip("s") not in parts
                      and not {*w.lower().replace("-", " ").split()} & (parts | table))

    def names(self) -> Iterator[Name]:
        """The table that v2 copies English names from; plurals too, where the language writes them apart."""
        many = getattr(self.module, "many", None)
        for name, forms in self.forms.items():
            for word, counter, _ in forms:
                yield Name(word, counter, name)
                if many and not counter:
                    yield Name(many(word), "", name)
        agree = getattr(self.module, "agree", None)
        for word, english in adjectives(self.module).items():
            spelt = {agree(word, several, gender) for several in (False, True) for gender in (False, True)
                     } if agree else set()
            things = any(word == form for forms in self.forms.values() for form, *_ in forms)
            ground = getattr(self.module, "GROUND", "") if things else ""  # rosa: a rose, but pink beside "fondo"
            yield from (Name(form, ground, english) for form in sorted({word, *spelt}) if english in ADJECTIVES)
            if ground:
                yield Name(word, "", english)
        for word in self.missing:
            yield from (Name(form, "", STRANGE) for form in sorted({word, many(word) if many else word}))

    def random_concept(self, rng: random.Random) -> Concept:
        """A concept, those of daily life more often."""
        return rng.choices(list(self.concepts.values()), self.weights)[0]

    def noun(self, rng: random.Random, thing: Thing, counter: str = "") -> str:
        """A word for a thing; what the world does not have is marked as such."""
        if not thing.name:
            word = rng.choice(self.missing if rng.random() < 0.5 else self.strange)
            return f"{OPEN}{word if rng.random() < 0.9 else word + ' ' + rng.choice(self.strange)}{CLOSE}"
        if thing.name not in self.forms:
            return thing.name  # a learned word
        draw = rng.random()
        if draw < 0.015:
            return self.concepts[thing.name].emoji
        if draw < 0.03:
            return thing.name
        forms = [(word, weight) for word, unit, weight in self.forms[thing.name] if not unit or unit == counter]
        if not forms:
            return thing.name
        word = rng.choices([word for word, _ in forms], [weight for _, weight in forms])[0]
        return self.module.misspelt(rng, word) if len(word) > 1 and rng.random() < 0.1 else word


def all_names(lexicons: Iterable[Lexicon]) -> list[Name]:
    """The tables of several languages as one, with the emoji themselves and the words for kinds of things."""
    concepts = all_concepts()
    rows = [Name(word, "", c.name) for c in concepts for word in (c.name, plural(c.name), c.emoji)]
    rows += [row for lexicon in lexicons for row in lexicon.names()]
    rows += [Name(word, "", english) for word, english in HYPERNYMS.items()]
    rows = [Name(row.word.lower().replace("’", "'"), row.counter, row.english) for row in rows if row.word]
    known = {row.word for row in rows if row.english != STRANGE}
    return [row for row in dict.fromkeys(rows) if row.english != STRANGE or row.word not in known]
