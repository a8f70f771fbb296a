"""Parallel sentences, Korean and English: read from files, or made of templates and the emoji world's words.

Learned words appear as the placeholders * and &.
"""

from __future__ import annotations

import csv
import random
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ldm.data.emoji import COLOURS, COUNTS, SIZES, plural, with_article
from ldm.errors import UserError
from ldm.util import ROOT

PAIRS = ROOT / "improvement/v2/pairs.csv"  # some of what the embedded aligner was trained on


class Pair(NamedTuple):
    """A sentence in any language, its English one, and the parts of the first that the second leaves out because its
    text encoder has no words for them."""

    ko: str
    en: str
    gaps: tuple[str, ...] = ()


def stream_pairs(*files: str | Path) -> Iterator[Pair]:
    """The pairs of CSV files, or of .tsv files, one by one: columns ko and en, and perhaps gaps, whose parts are
    separated by "|". Raises UserError for other files."""
    for path in files:
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file, delimiter="\t" if Path(path).suffix.lower() == ".tsv" else ",")
                if not {"ko", "en"} <= set(rows.fieldnames or ()):
                    raise UserError(f"{path}: needs columns ko and en, has {', '.join(rows.fieldnames or ['none'])}")
                for row in rows:
                    gaps = tuple(filter(None, (row.get("gaps") or "").split("|")))
                    if row["ko"] and (row["en"] or gaps):
                        yield Pair(row["ko"].strip(), (row["en"] or "").strip(), gaps)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path}: not a readable CSV file ({error})") from error


def read_pairs(*files: str | Path) -> list[tuple[str, str]]:
    """(Korean, English) sentences of files as stream_pairs reads them. Raises UserError for other files."""
    pairs = [(pair.ko, pair.en) for pair in stream_pairs(*files)]
    if len(pairs) < 20:
        raise UserError(f"{' '.join(map(str, files))}: {len(pairs)} pairs are too few")
    return pairs


PLACEHOLDERS = ("*", "&")  # of learned words

# Korean -> English, nouns for kinds of things, such as init words are.
HYPERNYMS = {
    "과일": "fruit", "채소": "vegetable", "새": "bird", "동물": "mammal", "꽃": "flower", "벌레": "bug",
    "음식": "prepared", "음료": "drink", "간식": "sweet", "얼굴": "face", "건물": "building",
    "도구": "tool", "악기": "instrument", "옷": "clothing", "시계": "time", "날씨": "weather", "파충류": "reptile",
}

# Templates (Korean, English); {x} is a noun phrase, {xga} the same with its subject particle, {c} a colour. No Korean
# sentence has two English ones. English articles come with noun phrases and colours.
COLOUR_TEMPLATES = (
    ("{c} 배경 위의 {x}", "{x} on {c} background"), ("{c} 배경의 {x}", "{x} on {c} background"),
    ("{c} 배경에 {xga} 있다", "{x} on {c} background"), ("{c} 배경의 {x} 사진", "a photo of {x} on {c} background"),
    ("{c} 배경 위의 {x}의 사진", "a photo of {x} on {c} background"),
    ("{c} 배경의 {x} 그림", "a picture of {x} on {c} background"),
    ("{c} 배경의 {x} 스케치", "a drawing of {x} on {c} background"),
    ("{c} 배경의 {x} 이모지", "an emoji of {x} on {c} background"), ("{x}, {c} 배경", "{x}, {c} background"),
    ("{xga} 있는 {c} 배경", "{c} background with {x}"), ("{c} 배경 앞의 {x}", "{x} in front of {c} background"),
)
PLAIN_TEMPLATES = (
    ("{x}", "{x}"), ("{xga} 있다", "{x}"), ("{x} 사진", "a photo of {x}"), ("{x}의 사진", "a photo of {x}"),
    ("{x} 그림", "a picture of {x}"), ("{x}의 그림", "a picture of {x}"), ("{x} 렌더링", "a rendering of {x}"),
    ("{x} 스케치", "a drawing of {x}"), ("{x} 이미지", "an image of {x}"), ("{x} 이모지", "an emoji of {x}"),
    ("{x} 클로즈업 사진", "a close-up photo of {x}"), ("{x}의 잘린 사진", "a cropped photo of {x}"),
    ("{x}의 좋은 사진", "a good photo of {x}"),
)


def ends_in_consonant(word: str) -> bool:
    """Whether a Korean word's last syllable is closed, which decides its particles."""
    code = ord(word[-1]) - 0xAC00
    return 0 <= code < 11172 and code % 28 > 0


class Sentence(NamedTuple):
    """A Korean sentence, its English translation, and what they mean."""

    ko: str
    en: str
    nouns: tuple[str, ...]  # in English, singular, without articles
    number: int             # of things that the first noun stands for
    colour: str             # of the background; "" if the sentence has none
    tint: str = ""          # a colour that the things themselves have


def unseen(ko: str) -> bool:
    """Whether a Korean sentence is one of the tenth that no file of pairs has, to measure with."""
    return zlib.crc32(ko.encode()) % 10 == 0


def random_noun(rng: random.Random, lexicon: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """A noun (Korean, English) of the lexicon; now and then a hypernym, or a placeholder in its place."""
    draw = rng.random()
    if draw < 0.2:
        return (rng.choices(PLACEHOLDERS, (2, 1))[0],) * 2
    return rng.choice(list(HYPERNYMS.items()) if draw < 0.25 else lexicon)


def random_sentence(rng: random.Random, lexicon: Sequence[tuple[str, str]], noun: tuple[str, str]) -> Sentence:
    """A template filled with a noun (Korean, English), perhaps coordinated with another of the lexicon."""
    (ko, en), draw = noun, rng.random()
    nouns: tuple[str, ...] = (en,)
    number, tint, colour = 1, "", rng.choice(list(COLOURS))
    with_colour = rng.random() < 0.7
    template = rng.choice(COLOUR_TEMPLATES if with_colour else PLAIN_TEMPLATES)
    background = colour if with_colour else ""
    if rng.random() < 0.08:  # a Korean word in an English sentence: code-switching
        mixed, english = (template[1].format(x=x, c=with_article(colour)) for x in (ko, with_article(en)))
        return Sentence(mixed, english, nouns, number, background)
    if draw < 0.25:
        ko2, en2 = next(other for other in iter(lambda: random_noun(rng, lexicon), None) if other[0] != ko)
        ko = f"{ko}{'과' if ends_in_consonant(ko) else rng.choice(('와', '랑'))} {ko2}"
        nouns, en = (en, en2), f"{with_article(en)} and {with_article(en2)}"
    elif draw < 0.40:
        number = rng.choice((2, 3, 4))
        ko, en = ko + COUNTS[number][1], f"{COUNTS[number][0]} {en if en in PLACEHOLDERS else plural(en)}"
    else:
        size = rng.choices(list(SIZES), (0.1, 0.8, 0.1))[0]
        tint = rng.choice(list(COLOURS)) if rng.random() < 0.15 else ""
        ko = " ".join(filter(None, (SIZES[size][2], tint and COLOURS[tint][1], ko)))
        en = with_article(" ".join(filter(None, (size, tint, en))))
    subject = ko + ("이" if ends_in_consonant(ko) else "가")
    fill = {"x": ko, "xga": subject, "c": COLOURS[colour][1]}
    english = template[1].format(x=en, c=with_article(colour))
    return Sentence(template[0].format(**fill), english, nouns, number, background, tint)


def random_sentences(rng: random.Random, lexicon: Sequence[tuple[str, str]]) -> Iterator[Sentence]:
    """Sentences without end, in which every noun of the lexicon (Korean, English) has its turn as often as any
    other."""
    while True:
        for noun in rng.sample(lexicon, len(lexicon)):
            yield random_sentence(rng, lexicon, random_noun(rng, [noun]))
