"""Parallel sentences of the emoji world: python -m pretrain.pairs --out improvement/v2/pairs.csv

Names are Unicode CLDR's in Korean and English, the sentences around them this file's own. Learned words appear under
the signs * and &.
"""

import argparse
import csv
import io
import random
from pathlib import Path

from ldm.cli import CommandParser, run_command
from ldm.serialization import write_bytes
from pretrain.world import COLOURS, COUNTS, SIZES, all_concepts, plural, with_article

SIGNS = ("*", "&")  # of learned words

# Kinds of things that init words name.
KINDS = {
    "과일": "fruit", "채소": "vegetable", "새": "bird", "동물": "mammal", "꽃": "flower", "벌레": "bug",
    "음식": "prepared", "음료": "drink", "간식": "sweet", "얼굴": "face", "건물": "building",
    "도구": "tool", "악기": "instrument", "옷": "clothing", "시계": "time", "날씨": "weather", "파충류": "reptile",
}

# (Korean, English); {x} is a thing, {xga} the thing with its subject particle, {c} a colour. No Korean sentence has two
# English ones. English articles come with things and colours.
WITH_COLOUR = (
    ("{c} 배경 위의 {x}", "{x} on {c} background"), ("{c} 배경의 {x}", "{x} on {c} background"),
    ("{c} 배경에 {xga} 있다", "{x} on {c} background"), ("{c} 배경의 {x} 사진", "a photo of {x} on {c} background"),
    ("{c} 배경 위의 {x}의 사진", "a photo of {x} on {c} background"),
    ("{c} 배경의 {x} 그림", "a picture of {x} on {c} background"),
    ("{c} 배경의 {x} 스케치", "a drawing of {x} on {c} background"),
    ("{c} 배경의 {x} 이모지", "an emoji of {x} on {c} background"), ("{x}, {c} 배경", "{x}, {c} background"),
    ("{xga} 있는 {c} 배경", "{c} background with {x}"), ("{c} 배경 앞의 {x}", "{x} in front of {c} background"),
)
PLAIN = (
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


def random_noun(rng: random.Random) -> tuple[str, str]:
    """A thing's name in Korean and English; now and then a kind of thing, or the sign of a learned word."""
    draw = rng.random()
    if draw < 0.2:
        return (rng.choices(SIGNS, (2, 1))[0],) * 2
    if draw < 0.25:
        return rng.choice(list(KINDS.items()))
    concept = rng.choice(all_concepts())
    return concept.name_ko, concept.name


def random_pair(rng: random.Random) -> tuple[str, str]:
    """A Korean sentence and its English one."""
    (ko, en), layout = random_noun(rng), rng.random()
    colour = rng.choice(list(COLOURS))
    template = rng.choice(WITH_COLOUR if rng.random() < 0.7 else PLAIN)
    if rng.random() < 0.08:  # a Korean word in an English sentence
        return (template[1].format(x=ko, c=with_article(colour)),
                template[1].format(x=with_article(en), c=with_article(colour)))
    if layout < 0.25:
        ko2, en2 = random_noun(rng)
        things = f"{ko}{'과' if ends_in_consonant(ko) else rng.choice(('와', '랑'))} {ko2}"
        ko, en = things, f"{with_article(en)} and {with_article(en2)}"
    elif layout < 0.40:
        count = rng.choice((2, 3, 4))
        ko, en = ko + COUNTS[count][1], f"{COUNTS[count][0]} {en if en in SIGNS else plural(en)}"
    else:
        size = rng.choices(list(SIZES), (0.1, 0.8, 0.1))[0]
        ko, en = f"{SIZES[size][2]} {ko}".strip(), with_article(f"{size} {en}".strip())
    subject = ko + ("이" if ends_in_consonant(ko) else "가")
    fill = {"x": ko, "xga": subject, "c": COLOURS[colour][1]}
    return template[0].format(**fill), template[1].format(x=en, c=with_article(colour))


def main() -> None:
    parser = CommandParser(description="Write parallel Korean and English sentences of the emoji world.",
                           formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="CSV")
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    opt = parser.parse_args()
    rng, pairs = random.Random(opt.seed), {}
    while len(pairs) < opt.count:
        ko, en = random_pair(rng)
        pairs[ko] = en
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("ko", "en"))
    writer.writerows(pairs.items())
    write_bytes(opt.out, text.getvalue().encode())
    print(f"{opt.out}: {len(pairs)} pairs")


if __name__ == "__main__":
    run_command(main)
