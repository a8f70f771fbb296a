"""The emoji world: pictures of emoji on coloured backgrounds, with captions in English and Korean.

Pictures come from Noto Color Emoji, names from Unicode CLDR, groups from the Unicode emoji test file (Debian packages
fonts-noto-color-emoji, unicode-cldr-core, unicode-data). They are needed to rebuild the model, never to use it.
"""

import functools
import random
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ldm.data.emoji import COLOURS, COUNTS, SIZES, plural, with_article
from ldm.errors import UserError
from pretrain.held_out import held_out_lists

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
CLDR = Path("/usr/share/unicode/cldr/common/annotations")
EMOJI_TEST = Path("/usr/share/unicode/emoji/emoji-test.txt")
GLYPH_SIZE = 109  # the one size at which the font has bitmaps

SEVERAL = -1  # stands for what a picture shows that shows two things
GROUPS = ("Smileys & Emotion", "Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")


@dataclass(frozen=True)
class Concept:
    """A thing that a picture can show: an emoji with its names."""

    emoji: str
    name: str      # English short name in CLDR: "red apple"
    name_ko: str   # Korean short name in CLDR: "빨간 사과"
    group: str     # "Food & Drink"
    kind: str      # the subgroup's last word, as a thing one can ask for: "fruit"

    @property
    def slug(self) -> str:
        """The name as a folder or file name: letters, digits and underscores."""
        return "_".join("".join(c if c.isalnum() else " " for c in self.name).split())


@dataclass(frozen=True)
class Scene:
    """What a picture shows: one concept `count` times, or two concepts side by side, on a background."""

    concepts: tuple[Concept, ...]
    colour: str
    count: int = 1
    size: str = ""
    tint: str = ""  # a colour that a single thing is painted with


class Sample(NamedTuple):
    """A picture, captions that fit it, and the number of the thing in it, or SEVERAL."""

    picture: Image.Image
    captions: list[str]
    shown: int


def check_packages() -> None:
    """Raises UserError unless the Debian packages are there that the emoji world is made from."""
    for file in (FONT, CLDR / "en.xml", EMOJI_TEST):
        if not file.is_file():
            raise UserError(f"{file}: no such file; apt install fonts-noto-color-emoji unicode-cldr-core unicode-data")


@functools.cache
def cldr_names(language: str) -> dict[str, str]:
    """Emoji -> short name, without variation selectors."""
    check_packages()
    root = ElementTree.parse(CLDR / f"{language}.xml").getroot()
    return {a.attrib["cp"]: a.text or "" for a in root.iter("annotation") if a.get("type") == "tts"}


@functools.cache
def all_concepts() -> tuple[Concept, ...]:
    """Every single-code-point emoji of GROUPS that has a picture and both names, in Unicode's order."""
    english, korean = cldr_names("en"), cldr_names("ko")
    font = ImageFont.truetype(str(FONT), GLYPH_SIZE)
    concepts, group, kind = [], "", ""
    for line in EMOJI_TEST.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.removeprefix("# group:").strip()
        elif line.startswith("# subgroup:"):
            kind = line.removeprefix("# subgroup:").strip().split("-")[-1].split()[0]
        elif "; fully-qualified" in line and group in GROUPS:
            points = [p for p in line.split(";")[0].split() if p != "FE0F"]
            emoji = chr(int(points[0], 16))
            if len(points) == 1 and emoji in english and emoji in korean and font.getbbox(emoji)[2] > 0:
                concepts.append(Concept(emoji, english[emoji], korean[emoji], group, kind))
    return tuple(concepts)


def held_out(concepts: tuple[Concept, ...] = ()) -> list[Concept]:
    """Every fifteenth concept, frozen in held_out.yaml: never in a training picture or caption."""
    return [c for c in concepts or all_concepts() if c.emoji in held_out_lists().names]


def seen(groups: tuple[str, ...] = GROUPS) -> list[Concept]:
    """The concepts a model may be trained on; those of a group named twice appear twice."""
    unseen = set(held_out())
    return [c for group in groups for c in all_concepts() if c not in unseen and c.group == group]


@functools.cache
def glyph(emoji: str) -> Image.Image:
    """The emoji as RGBA, cropped to what is drawn and padded to a square."""
    font = ImageFont.truetype(str(FONT), GLYPH_SIZE)
    canvas = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((12, 12), emoji, font=font, embedded_color=True)
    drawn = canvas.crop(canvas.getbbox())
    side = max(drawn.size)
    square = Image.new("RGBA", (side, side))
    square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return square


def random_scene(rng: random.Random, concepts: Sequence[Concept]) -> Scene:
    """A scene of concepts: mostly one thing, now and then two side by side or several of one."""
    colour = rng.choice(list(COLOURS))
    concept, layout = rng.choice(concepts), rng.random()
    if layout < 0.28:
        return Scene((concept, rng.choice(concepts)), colour)
    if layout < 0.37:
        return Scene((concept,), colour, count=rng.choice((2, 3, 4)))
    if layout < 0.44:
        return Scene((concept,), colour, tint=rng.choice([c for c in COLOURS if c != colour]))
    return Scene((concept,), colour, size=rng.choices(("", "small", "big"), (0.8, 0.1, 0.1))[0])


def tinted(image: Image.Image, colour: str) -> Image.Image:
    """The RGBA picture in shades of a named colour."""
    light, (r, g, b) = image.convert("L"), COLOURS[colour][0]
    painted = ImageOps.colorize(light, (r // 6, g // 6, b // 6), tuple(255 - (255 - c) // 4 for c in (r, g, b)),
                                mid=(r, g, b), midpoint=150)
    painted.putalpha(image.getchannel("A"))
    return painted


def render(scene: Scene, rng: random.Random, pixels: int = 64) -> Image.Image:
    """The scene as an RGB picture of pixels x pixels; place, size and tilt are drawn from rng."""
    things = scene.concepts if len(scene.concepts) > 1 else scene.concepts * scene.count
    images = [tinted(glyph(c.emoji), scene.tint) if scene.tint else glyph(c.emoji) for c in things]
    return arrange(images, scene.colour, scene.size, rng, pixels)


def arrange(images: Sequence[Image.Image], colour: str, size: str, rng: random.Random, pixels: int,
            margin: float = 0.0, tilting: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """One to four squares, RGBA or RGBa, on a background in a named colour; the size counts for a single one. Without a
    margin around what they show, as a share of its width, their corners are lost when they are tilted."""
    base = COLOURS[colour][0]
    picture = Image.new("RGB", (pixels, pixels), tuple(min(255, max(0, c + rng.randint(-7, 7))) for c in base))
    columns = 1 if len(images) == 1 else 2
    rows = (len(images) + columns - 1) // columns
    cell = pixels / columns
    low, high, _ = SIZES[size]
    share = rng.uniform(low, high) if len(images) == 1 else rng.uniform(0.82, 0.98)
    tilt = rng.uniform(-8, 8)
    for i, thing in enumerate(images):
        side = max(8, round(cell * share))
        wide = round(side * (1 + 2 * margin))
        image = thing.rotate(tilt, tilting).resize((wide, wide), Image.Resampling.LANCZOS).convert("RGBA")
        slack = cell - side
        in_row = len(images) - columns if i // columns == rows - 1 and len(images) % columns else columns
        left = (pixels - cell * in_row) / 2 + (i % columns) * cell + slack / 2
        top = (pixels - cell * rows) / 2 + (i // columns) * cell + slack / 2
        wander = slack / 2 if len(images) > 1 else slack * 0.3
        over = (wide - side) // 2
        where = round(left + rng.uniform(-wander, wander)) - over, round(top + rng.uniform(-wander, wander)) - over
        picture.paste(image, where, image)
    return picture


# With a background colour, then without. {x} brings its own article.
CAPTIONS = (
    "{x} on {c} background", "a photo of {x} on {c} background", "a picture of {x} on {c} background",
    "a drawing of {x} on {c} background", "an emoji of {x} on {c} background", "{x}, {c} background",
    "{c} background with {x}", "{x} in front of {c} background",
)
CAPTIONS_PLAIN = (
    "{x}", "a photo of {x}", "a picture of {x}", "a rendering of {x}", "a drawing of {x}", "an image of {x}",
    "an emoji of {x}", "a close-up photo of {x}", "a cropped photo of {x}", "a good photo of {x}",
)


def caption(scene: Scene, rng: random.Random) -> str:
    """An English caption; now and then a thing is called by its kind, or the background goes unsaid."""
    def noun(concept: Concept) -> str:
        return concept.kind if rng.random() < 0.06 else concept.name

    if len(scene.concepts) > 1:
        things = " and ".join(with_article(noun(c)) for c in scene.concepts)
    elif scene.count > 1:
        things = f"{COUNTS[scene.count][0]} {plural(noun(scene.concepts[0]))}"
    else:
        things = with_article(" ".join(filter(None, (scene.size, scene.tint, noun(scene.concepts[0])))))
    if rng.random() < 0.75:
        return rng.choice(CAPTIONS).format(x=things, c=with_article(scene.colour))
    return rng.choice(CAPTIONS_PLAIN).format(x=things)


def caption_ko(scene: Scene, rng: random.Random) -> str:
    """The Korean caption of the scene."""
    if len(scene.concepts) > 1:
        first, second = (c.name_ko for c in scene.concepts)
        code = ord(first[-1]) - 0xAC00
        things = f"{first}{'과' if 0 <= code < 11172 and code % 28 else '와'} {second}"
    else:
        tint = COLOURS[scene.tint][1] if scene.tint else ""
        name = scene.concepts[0].name_ko + COUNTS[scene.count][1]
        things = " ".join(filter(None, (SIZES[scene.size][2], tint, name)))
    colour = COLOURS[scene.colour][1]
    return rng.choice(("{c} 배경 위의 {x}", "{c} 배경의 {x} 사진", "{c} 배경 앞의 {x}")).format(c=colour, x=things)
