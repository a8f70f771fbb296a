"""Japanese as people type it."""

from __future__ import annotations

import random
from typing import Any

from pretrain.languages import CLOSE, OPEN, Meaning, Noun, Thing, maybe, vocabulary, weighted, words

V = vocabulary("ja")
NOUNS = V["nouns"]
COLOURS: dict[str, Any] = dict(V["colours"])
STRANGE_COLOURS = words(V["strange_colours"])
COLOURS["odd"] = tuple(", ".join(f"{OPEN}{word[:-1]}{CLOSE}{ending}" for word in STRANGE_COLOURS) for ending in ("の",
    ""))
SIZES = V["sizes"]
COUNTERS = V["counters"]
COUNTERS_OF = V["counters_of"]
KANJI = V["kanji"]
TSU = V["tsu"]
HIRA = V["hira"]
FRAMES = V["frames"]
PLACES = tuple(V["places"].items())
ASKS = words(V["asks"])
BEFORE = words(V["before"])
AFTER = words(V["after"])
FILLERS = words(V["fillers"])
TALK = words(V["talk"])
LIKES = words(V["likes"])
STRANGE = words(V["strange"])


def counted(rng: random.Random, thing: Thing) -> tuple[str, str]:
    """(how many, the counter)."""
    unit = rng.choice(words(COUNTERS_OF.get(thing.name) or COUNTERS.get(thing.kind, "個, つ, こ")))
    n = thing.number
    if unit == "つ" or rng.random() < 0.15:
        return rng.choice((TSU[n], TSU[n], HIRA[n], f"{n}つ")), "つ"
    unit = "個" if rng.random() < 0.1 else unit
    return f"{KANJI[n] if rng.random() < 0.55 else n}{unit}", unit


def colour(rng: random.Random, name: str) -> str:
    """A colour before a noun."""
    adjectives, nouns = COLOURS[name]
    return rng.choice(words(adjectives)) if rng.random() < 0.85 else rng.choice(words(nouns)) + rng.choice(("の",
        "の", ""))


def noun_phrase(rng: random.Random, thing: Thing, noun: Noun) -> tuple[str, str]:
    """(phrase, the number that is said behind its particle)."""
    many = thing.number > 1 or rng.random() < 0.2
    amount, unit = counted(rng, thing) if many else ("", "")
    word = noun(thing, unit)
    before = ([rng.choice(words(SIZES[thing.size][0]))] if thing.size else []) + ([colour(rng, thing.tint)]
        if thing.tint else [])
    if rng.random() < 0.08:
        before.insert(0, rng.choice(FILLERS))
    rng.random() < 0.2 and rng.shuffle(before)
    head = "".join(before) + word
    if not many:
        return head, ""
    return weighted(rng, (((f"{head}{amount}", ""), 30), ((f"{amount}の{head}", ""), 25), ((head, amount), 40),
        ((f"{head} {amount}", ""), 5)))


def write(rng: random.Random, meaning: Meaning, noun: Noun, other: Noun) -> str:
    """The meaning in Japanese, with noun(thing, counter) for its things and other(...) for some that are not meant."""
    parts = [noun_phrase(rng, thing, noun) for thing in meaning.things]
    late = parts[-1][1] if len(parts) == 1 and not meaning.frame else ""
    phrases = [head if i == len(parts) - 1 and late else (f"{amount}の{head}" if amount else head) for i, (head,
        amount) in enumerate(parts)]
    text = phrases[0]
    for phrase in phrases[1:]:
        text += weighted(rng, (("と", 75), ("とか", 1), ("、", 6), ("と一緒に", 2), ("と一緒の", 2), ("の隣の", 2),
            ("とそれから", 1), ("＋", 1), ("に", 1), ("や", 1), ("そして", 1))) + phrase
    if len(parts) == 1 and rng.random() < 0.02:
        text = other(meaning.things[0], "") + rng.choice(("じゃなくて", "ではなく", "の代わりに", "より")) + text
    if meaning.frame:
        text += rng.choice(("の", "の", "の", "")) + rng.choice(words(FRAMES[meaning.frame]))
    link = ""
    if late:
        link = weighted(rng, (("を", 60), ("が", 15), ("", 10), ("は", 5), ("、", 10)))
    spoken = f"{text}{link}{late}"
    if meaning.ground:
        tone, nouns = colour(rng, meaning.ground), words(COLOURS[meaning.ground][1])
        place = weighted(rng, PLACES)
        scene = f"{tone}{place}"
        where = weighted(rng, (("に", 30), ("の", 25), ("の上に", 6), ("の上の", 6), ("で", 12), ("の前に", 4),
            ("の前の", 4), ("、", 8), (" ", 2), ("にいる", 2), ("にある", 2), ("には", 1), ("上の", 1)))
        draw = rng.random()
        if draw < 0.6:
            spoken = f"{scene}{where}{spoken}"
        elif draw < 0.75:
            tint = rng.choice(nouns)
            spoken = rng.choice((f"背景は{tint}で、{spoken}", f"背景は{tint}で{spoken}", f"背景は{tint}、{spoken}",
                f"背景を{tint}にして{spoken}", f"背景が{tint}の{spoken}", f"背景{tint}で{spoken}",
                f"背景は{tint}にして、{spoken}"))
        elif draw < 0.88:
            mark = weighted(rng, (("を", 40), ("、", 25), ("は", 8), ("が", 10), (" ", 5), ("", 3)))
            behind = rng.choice(("に", "で", "の上に", "の前に", "に", ""))
            spoken = f"{text}{mark}{scene}{behind}{late}"
        else:
            spoken = f"{spoken}{rng.choice(('、', '、', ' ', '。', '（'))}{scene}{rng.choice(('', '', 'で', 'です'))}"
    if rng.random() < 0.55:
        ask = rng.choice(ASKS)
        spoken += maybe(rng, 0.55, "を") + ask if not late and ask[0] not in "がでをとはにね" else ask
    if rng.random() < 0.12:
        spoken = rng.choice(BEFORE) + rng.choice(("、", "", " ")) + spoken
    if rng.random() < 0.15:
        spoken += rng.choice(AFTER)
    return spoken


WRONG = dict(zip("いえおうあかきくけこさしすせそたちつてとはひふへほアイウエオカキクケコシツソンク",
    "ぃぇぉぅぁがぎぐげござじずぜぞだぢっでどばびぶべぼァィゥェォガギグゲゴツシンソワ", strict=True))


def misspelt(rng: random.Random, text: str) -> str:
    """The text with a letter that is small, voiced or another's look-alike."""
    places = [i for i, c in enumerate(text) if c in WRONG]
    if not places:
        return text
    i = rng.choice(places)
    return text[:i] + WRONG[text[i]] + text[i + 1 :]


def noisy(rng: random.Random, text: str) -> str:
    """The text with the letters that people get wrong, spaces where there are none, and full-width signs."""
    if rng.random() < 0.08:
        text = "".join(c + maybe(rng, 0.12, " ") for c in text)
    if rng.random() < 0.08:
        text = text.translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    return misspelt(rng, text) if rng.random() < 0.08 else text
