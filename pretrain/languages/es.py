"""Spanish as people type it."""

from __future__ import annotations

import random
from typing import Any

from pretrain.languages import CLOSE, OPEN, Meaning, Noun, Thing, vocabulary, weighted, words
from pretrain.languages.en import misspelt

V = vocabulary("es")
NOUNS = V["nouns"]
COLOURS: dict[str, Any] = dict(V["colours"])
STRANGE_COLOURS = words(V["strange_colours"])
COLOURS["odd"] = (", ".join(f"{OPEN}{word}{CLOSE}" for word in STRANGE_COLOURS),) * 2
SIZES = V["sizes"]
FRAMES = V["frames"]
GROUND = "fondo"
NUMBERS = V["numbers"]
ASKS = words(V["asks"])
AFTER = words(V["after"])
FILLERS = words(V["fillers"])
TALK = words(V["talk"])
LIKES = words(V["likes"])
STRANGE = words(V["strange"])


def many(word: str) -> str:
    """The plural of a noun: the first word's, and those of adjectives behind it are left to who types them."""
    head, _, rest = word.partition(" ")
    accents = str.maketrans("áéíóú", "aeiou")
    if head.endswith("s"):
        new = head if head[-2:-1] not in "áéíóú" else head.translate(accents) + "es"
    elif head[-1:] in "aeiouéáó":
        new = head + "s"
    elif head.endswith("z"):
        new = head[:-1] + "ces"
    else:
        new = (head[:-2] + head[-2:].translate(accents)) + "es"
    return f"{new} {rest}".strip()


def feminine(word: str) -> bool:
    """Whether a noun is feminine, by its ending."""
    head = word.strip(OPEN + CLOSE).split(" ")[0]
    return head.endswith(("a", "as", "ción", "dad")) or head in ("flor", "nube", "llave", "moto", "foto", "leche",
        "nave", "nieve")


def agree(adjective: str, several: bool, gender: bool) -> str:
    """An adjective in the form that a noun asks for."""
    if OPEN in adjective:
        return adjective
    if gender and adjective.endswith("o"):
        adjective = adjective[:-1] + "a"
    if several and adjective not in ("naranja", "rosa", "turquesa", "violeta", "lila", "café", "mini", "gran"):
        adjective = adjective + ("s" if adjective[-1] in "aeiou" else "es").replace("ó", "o")
    return adjective


def noun_phrase(rng: random.Random, thing: Thing, noun: Noun) -> str:
    """A thing with its article or number; adjectives follow it."""
    word = noun(thing, "")
    several, gender = thing.number > 1, feminine(word)
    learned = bool(thing.name) and thing.name in "*&"
    if several and not learned and rng.random() < 0.95:
        word = word.replace(word.strip(OPEN + CLOSE), many(word.strip(OPEN + CLOSE)))
    before, after = [], []
    if thing.size:
        late, early = SIZES[thing.size]
        if rng.random() < 0.8:
            after.append(agree(rng.choice(words(late)), several, gender))
        else:
            before.append(agree(rng.choice(words(early)), several, gender))
    if thing.tint:
        after.append(agree(rng.choice(words(COLOURS[thing.tint][0])), several, gender) if rng.random() < 0.85
                     else "de color " + rng.choice(words(COLOURS[thing.tint][0])))
    if rng.random() < 0.07:
        after.insert(0, agree(rng.choice(FILLERS), several, gender))
    rng.random() < 0.2 and rng.shuffle(after)
    if several:
        article = NUMBERS[thing.number] if rng.random() < 0.8 else str(thing.number)
    else:
        article = weighted(rng, (("una" if gender else "un", 72), ("", 16), ("la" if gender else "el", 7), ("mi", 2),
            ("1", 1), ("una" if not gender else "un", 2)))
    return " ".join(filter(None, [article, *before, word, *after]))


def write(rng: random.Random, meaning: Meaning, noun: Noun, other: Noun) -> str:
    """The meaning in Spanish, with noun(thing, "") for its things and other(...) for some that are not meant."""
    link = weighted(rng, ((" y ", 75), (" con ", 10), (" junto a ", 4), (", ", 4), (" al lado de ", 3),
        (" y también ", 2), (" más ", 1), (" + ", 1)))
    text = link.join(noun_phrase(rng, thing, noun) for thing in meaning.things)
    if len(meaning.things) == 1 and rng.random() < 0.015:
        wrong = other(Thing("dog"), "")
        text = f"no {wrong} sino {text}" if rng.random() < 0.5 else f"{text} en vez de {wrong}"
    if meaning.frame:
        word = rng.choice(words(FRAMES[meaning.frame]))
        text = weighted(rng, ((f"{'una' if feminine(word) or word == 'imagen' else 'un'} {word} de {text}", 60),
            (f"{word} de {text}", 35), (f"{word}: {text}", 3), (f"la {word} de {text}", 2)))
    if meaning.ground:
        masculine, _ = COLOURS[meaning.ground]
        tone = rng.choice(words(masculine))
        feminine_tone = agree(tone, False, True)
        place = weighted(rng, ((f"fondo {tone}", 70), (f"fondo de color {tone}", 5), (f"pared {feminine_tone}", 2),
            (f"mesa {feminine_tone}", 2), (f"alfombra {feminine_tone}", 2), (f"papel {tone}", 1), (f"mantel {tone}",
            1), (f"tela {feminine_tone}", 1), (f"cielo {tone}", 1)))
        article = "una" if place.split()[0] in ("pared", "mesa", "alfombra", "tela") else "un"
        tail = weighted(rng, ((f" sobre {article} {place}", 18), (f" sobre {place}", 18), (f" en {article} {place}",
            18), (f" en {place}", 8), (f" con {place}", 12), (f" con {article} {place}", 6), (f", {place}", 10),
            (f" {place}", 5), (f" con el {place}", 3),
                              (f" delante de {article} {place}", 3), (f" encima de {article} {place}", 2),
                              (f" ({place})", 1), (f" - {place}", 1), (f" frente a {article} {place}", 1),
                              (f", y el fondo {tone}", 1), (f" y {place}", 1), (f" está en {article} {place}", 2)))
        text = rng.choice((f"{place} y {text}", f"{place}, {text}", f"{place} con {text}",
            f"en {article} {place}, {text}", f"con {place}, {text}",
            f"sobre {place} {text}")) if rng.random() < 0.12 else text + tail
    if rng.random() < 0.45:
        text = rng.choice(ASKS) + rng.choice((" ", " ", " ", ", ")) + text
        text += "?" if text.startswith("¿") else ""
    if rng.random() < 0.25:
        mark = rng.choice(AFTER)
        text += rng.choice((" ", ", ")) + mark if mark[0].isalpha() else mark
    return text[:1].upper() + text[1:] if rng.random() < 0.3 else text


def noisy(rng: random.Random, text: str) -> str:
    """The text with the accents, spaces and letters that people leave out or get wrong."""
    if rng.random() < 0.2:
        text = text.translate(str.maketrans("áéíóúüñ", "aeiouun"))
    if rng.random() < 0.03:
        text = "".join(c for c in text if c != " " or rng.random() > 0.25)
    if rng.random() < 0.08:
        old, new = rng.choice((("z", "s"), ("v", "b"), ("b", "v"), ("ll", "y"), ("h", ""), ("c", "s"), ("j", "g"),
            ("qu", "k")))
        text = text.replace(old, new)
    if rng.random() < 0.14:
        text = misspelt(rng, text)
    return text.lower() if rng.random() < 0.4 else text
