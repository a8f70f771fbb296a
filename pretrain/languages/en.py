"""English as people type it, for a text encoder that knows the emoji world's names alone."""

from __future__ import annotations

import random
import string
from typing import Any

from ldm.data.emoji import plural, with_article
from pretrain.languages import (
    CLOSE,
    NUMBERS,
    OPEN,
    Chatter,
    Meaning,
    Noun,
    Thing,
    keep_back,
    maybe,
    vocabulary,
    weighted,
    words,
)

V = vocabulary("en")
NOUNS = V["nouns"]
COLOURS: dict[str, Any] = dict(V["colours"])
STRANGE_COLOURS = words(V["strange_colours"])
COLOURS["odd"] = ", ".join(f"{OPEN}{word}{CLOSE}" for word in STRANGE_COLOURS)
SIZES = V["sizes"]
FILLERS = words(V["fillers"])
FRAMES = V["frames"]
PLACES = tuple(V["places"].items())
GROUNDS, GROUNDS_FIRST, FRAMED = (tuple(V[key].items()) for key in ("grounds", "grounds_first", "framed"))
LATER = V["later"]
ASKS = words(V["asks"])
AFTER = words(V["after"])
TALK = words(V["talk"])
DOINGS = words(V["doings"])
CHATTER = Chatter(V)
LIKES = words(V["likes"])
STRANGE = words(V["strange"])
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
BESIDE = {row[i]: row[max(0, i - 1) : i] + row[i + 1 : i + 2] for row in ROWS for i in range(len(row))}  # on a keyboard


def amount(rng: random.Random, n: int) -> str:
    """A number before a noun."""
    if n == 2:
        return weighted(rng, (("two", 60), ("2", 20), ("a pair of", 7), ("a couple of", 7), ("pair of", 3),
            ("couple of", 3)))
    return NUMBERS[n] if rng.random() < 0.75 else str(n)


def many(word: str) -> str:
    """The plural of a noun as people write it."""
    inner = word.strip(OPEN + CLOSE)
    irregular = {"mouse": "mice", "wolf": "wolves", "fish": "fish", "sheep": "sheep", "leaf": "leaves",
        "knife": "knives", "goose": "geese", "foot": "feet", "dice": "dice",
                 "ox": "oxen", "scarf": "scarves", "calf": "calves", "loaf": "loaves", "potato": "potatoes",
                 "tomato": "tomatoes", "mango": "mangoes", "cactus": "cacti"}
    head, _, last = inner.rpartition(" ")
    if " of " in inner or " with " in inner or " in " in inner or " and " in inner:
        first, rest = inner.split(" ", 1)
        new = f"{plural(first)} {rest}"
    elif last in irregular:
        new = f"{head} {irregular[last]}".strip()
    else:
        new = inner if inner.endswith("s") and not inner.endswith("ss") else plural(inner)
    return word.replace(inner, new)


def noun_phrase(rng: random.Random, thing: Thing, noun: Noun) -> str:
    """A thing with its article or number."""
    word = noun(thing, "")
    adjectives = [rng.choice(words(table[key])) for table, key in ((SIZES, thing.size), (COLOURS, thing.tint)) if key]
    if rng.random() < 0.08:
        adjectives.insert(0, rng.choice(FILLERS))
    if thing.number > 1:
        if thing.name and thing.name in "*&":
            word += maybe(rng, 0.4, "s")
        elif rng.random() > 0.09:
            word = many(word)
        return maybe(rng, 0.03, "the ") + " ".join([amount(rng, thing.number), *adjectives, word])
    phrase = " ".join([*adjectives, word])
    plain = phrase.strip(OPEN + CLOSE)
    if plain.startswith(("my ", "our ", "the ")):
        return phrase
    article = weighted(rng, (
        ("a", 68), ("", 14), ("the", 6), ("one", 7), ("some", 1), ("1", 1), ("my", 2), ("this", 1)))
    if article == "a":
        article = with_article(plain).split(" ")[0] if rng.random() < 0.95 else rng.choice(("a", "an"))
        phrase = many(phrase) if rng.random() < 0.01 and thing.name not in "*&" else phrase  # "a noodles"
    return f"{article} {phrase}".strip()


def afterthought(rng: random.Random, thing: Thing, noun: Noun) -> str:
    """A thing, and only then its number, size or colour: "a fox, make it small". "" where it has none of them."""
    last, plain = keep_back(rng, thing)
    if not last:
        return ""
    text = noun_phrase(rng, plain, noun)
    value = getattr(thing, last)
    word = amount(rng, value) if last == "number" else rng.choice(words((SIZES if last == "size" else COLOURS)[value]))
    return text + rng.choice(LATER[last]).format(word, a=with_article(word).split()[0], n=value)


def write(rng: random.Random, meaning: Meaning, noun: Noun, other: Noun) -> str:
    """The meaning in English, with noun(thing, "") for its things and other(...) for some that are not meant."""
    phrases = [noun_phrase(rng, thing, noun) for thing in meaning.things]
    link = weighted(rng, ((" and ", 70), (" with ", 6), (", ", 4), (" & ", 0), (" next to ", 6), (" beside ", 3),
        (" and also ", 2), (" plus ", 3), (" together with ", 2), (" + ", 2), (" near ", 1)))
    text = link.join(phrases)
    if len(meaning.things) == 1 and rng.random() < 0.02:
        wrong = other(Thing("dog"), "")
        text = rng.choice((f"not {with_article(wrong)} but {text}", f"{text} instead of {with_article(wrong)}",
            f"{text}, not {with_article(wrong)}", f"no {wrong}, {text}"))
    elif len(meaning.things) == 1 and rng.random() < 0.15 and (late := afterthought(rng, meaning.things[0], noun)):
        text = late
    elif len(meaning.things) == 1 and meaning.things[0].number > 1 and rng.random() < 0.06:
        thing = meaning.things[0]
        one = noun_phrase(rng, Thing(thing.name, thing.kind, 2, thing.size, thing.tint), noun).split(" ", 1)[1]
        text = rng.choice((f"i love {one}, so draw {NUMBERS[thing.number]} of them",
                           f"{one} are nice, make {NUMBERS[thing.number]} of them",
                           f"{one}, {NUMBERS[thing.number]} of them", f"{one}, {thing.number} please"))
    if meaning.frame:
        word = rng.choice(words(FRAMES[meaning.frame]))
        text = weighted(rng, FRAMED).format(word=word, a=with_article(word), text=text)
    if meaning.ground:
        tone = rng.choice(words(COLOURS[meaning.ground]))
        place = weighted(rng, PLACES)
        place = rng.choice(words({"blue": "sky, water, sea", "green": "grass, field, lawn", "white": "snow",
            "black": "night sky"}.get(meaning.ground, place))) if rng.random() < 0.05 else place
        fields = {"a": with_article(tone).split()[0], "tone": tone, "place": place, "doing": rng.choice(DOINGS)}
        if rng.random() < 0.08:
            text = weighted(rng, GROUNDS_FIRST).format(**fields) + text
        else:
            text += weighted(rng, GROUNDS).format(**fields)
    if rng.random() < 0.45:
        text = rng.choice(ASKS) + rng.choice((" ", " ", " ", ", ", "... ")) + text
    if rng.random() < 0.25:
        mark = rng.choice(AFTER)
        text += (rng.choice((" ", " ", ", ")) if mark[0].isalpha() else maybe(rng, 0.2, " ")) + mark
    return text[:1].upper() + text[1:] if rng.random() < 0.3 else text


def misspelt(rng: random.Random, text: str) -> str:
    """The text with a letter wrong, missing, doubled or swapped with the next."""
    places = [i for i, c in enumerate(text) if c.isascii() and c.isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    draw = rng.random()
    if draw < 0.3:
        return text[:i] + text[i + 1 :]
    if draw < 0.5:
        return text[:i] + text[i] + text[i:]
    if draw < 0.7 and i + 1 < len(text) and text[i + 1].isalpha():
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    vowels = "aeiouy"
    new = rng.choice(vowels) if text[i].lower() in vowels and rng.random() < 0.7 else rng.choice(
        BESIDE[text[i].lower()] if rng.random() < 0.7 else string.ascii_lowercase)
    return text[:i] + (new if draw < 0.85 else text[i] + new) + text[i + 1 :]


def noisy(rng: random.Random, text: str) -> str:
    """The text with the spaces and letters that people leave out or get wrong."""
    if rng.random() < 0.06:
        text = "".join(c for c in text if c != " " or rng.random() > 0.25)
    if rng.random() < 0.28:
        text = misspelt(rng, text)
        while rng.random() < 0.4:
            text = misspelt(rng, text)
    return text.lower() if rng.random() < 0.3 else text
