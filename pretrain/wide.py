"""The wide world: many drawings of many things, in many styles, on coloured backgrounds, with captions.

A third of what it shows are the emoji world's own drawings, a third icons of other sets (things.tsv), the rest things
that are drawn by code (families.py). What is held out (held_out.yaml) is in no picture and in no caption.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFilter, ImageOps

from ldm.data.emoji import COLOURS, COUNTS, plural, with_article
from pretrain.families import FAMILIES, SYNONYMS, Words, member
from pretrain.held_out import held_out_lists
from pretrain.icons import drawing, member_name
from pretrain.sets import BY_NAME
from pretrain.things import Row, read_list
from pretrain.world import CAPTIONS, CAPTIONS_PLAIN, SEVERAL, Sample, arrange, tinted

# how families are drawn -> how that is said, before a name and as a thing
MANNERS = {"flat": ("flat {}", "flat art"), "outlined": ("outlined {}", "outlined art"), "soft": ("{}", "")}
IN_STYLE = ("a drawing in the style of {a}", "a picture in the style of {a}", "an image in the style of {a}",
            "an illustration in the style of {a}", "a rendering in the style of {a}")  # which name nothing else
MEMBERS = 2**31
MARGIN = 0.08  # around drawings, as a share of their width, which keeps their corners when they are tilted


@dataclass(frozen=True)
class Thing:
    """One drawing of a thing, and what captions can say about it."""

    names: tuple[str, ...]         # the usual one first
    kind: str                      # "fruit"; "" where that is not known
    source: str                    # "noto", an icon set, or "family"
    key: str                       # which of the source's drawings; a member's number
    styles: tuple[str, ...] = ()   # phrases for how it is drawn, {} for the name
    art: str = ""                  # how it is drawn, as a thing: "flat art"
    colour: str = ""               # its colour, where that can be said
    words: Words = ()              # what else can be said: "striped"

    @property
    def monochrome(self) -> bool:
        """Whether it is drawn in one colour, any."""
        return self.source in BY_NAME and BY_NAME[self.source].monochrome


def thing_of(row: Row) -> Thing:
    """The thing that a row of the list shows."""
    icons = BY_NAME.get(row.source)
    styles, art = (icons.style, icons.art) if icons else (("{} emoji",), "emoji art")
    return Thing(row.names, row.kind, row.source, member_name(row), styles, art)


def family_thing(family: str, number: int) -> Thing:
    """A member of a family."""
    _, colour, words, manner = member(family, number)
    said, art = MANNERS[manner]
    return Thing((family, *SYNONYMS[family]), "", "family", f"{family}/{number}", (said,), art, colour, words)


@dataclass(frozen=True)
class View:
    """What a picture shows."""

    things: tuple[Thing, ...]
    colour: str              # of the background
    count: int = 1           # of a single thing
    size: str = ""
    tint: str = ""           # what a single thing is painted with
    sticker: bool = False    # whether it has a white border


def bordered(image: Image.Image) -> Image.Image:
    """The RGBA square with a white border around what is drawn, as stickers have."""
    reach = max(2, round(image.width * 0.045))
    wide = Image.new("RGBA", (image.width + 2 * reach + 2,) * 2)
    wide.paste(image, (reach + 1, reach + 1))
    alpha = wide.getchannel("A").filter(ImageFilter.MaxFilter(2 * reach + 1)).filter(ImageFilter.GaussianBlur(0.8))
    white = Image.new("RGBA", wide.size, (252, 252, 252, 255))
    white.putalpha(alpha)
    white.alpha_composite(wide)
    return white


def several(noun: str) -> str:
    """The plural of a name, which may be one already."""
    return noun if noun.endswith("s") and not noun.endswith(("ss", "us")) else plural(noun)


class WideWorld:
    """Pictures and captions of the wide world, drawn from random generators."""

    def __init__(self, archive: Path | None, noto: float = 0.35, families: float = 0.25, sealed: bool = True,
                 rows: Sequence[Row] = (), pairs: float = 0.28) -> None:
        """archive: what pretrain.icons wrote; None leaves icons out, and Noto's drawings come from the font. noto and
        families: the shares of the font's drawings and of things drawn by code; the others are icons. Not sealed, it
        shows what is held out too: for a judge. pairs: the share of pictures of two things."""
        self.pairs = pairs
        self.archive, self.sealed, self.lists = archive, sealed, held_out_lists()
        rows = [r for r in rows or read_list() if not (sealed and r.held_out)]
        self.noto = [thing_of(r) for r in rows if r.source == "noto"]
        self.icons = [thing_of(r) for r in rows if r.source != "noto" and archive]
        self.families = [f for f in FAMILIES if not (sealed and f in self.lists.families)]
        self.shares = (noto, families, max(0.0, 1 - noto - families) if self.icons else 0.0)
        listed = dict.fromkeys(t.names[0] for t in [*self.noto, *self.icons])
        self.names = {name: i for i, name in enumerate(dict.fromkeys([*listed, *self.families]))}

    def thing(self, rng: random.Random) -> Thing:
        """Any thing."""
        part = rng.choices(("noto", "family", "icons"), self.shares)[0]
        if part == "family":
            return family_thing(rng.choice(self.families), rng.randrange(MEMBERS))
        return rng.choice(self.noto if part == "noto" else self.icons)

    def view(self, rng: random.Random, thing: Thing | None = None) -> View:
        """What a picture shows: the thing, or any, mostly alone, now and then several of it or another beside it."""
        thing, layout = thing or self.thing(rng), rng.random()
        single = (layout - self.pairs) / max(1 - self.pairs, 1e-9)  # below 0 for two things
        colour, tint = rng.choice([c for c in COLOURS if c != thing.colour]), ""
        if thing.monochrome or 0.125 <= single < 0.21 and thing.source != "family":
            tints = [c for c in COLOURS if c != colour and not self.makes_held_out(thing, c)]
            tint = rng.choice(tints)
        if single < 0:
            return View((thing, self.beside(rng)), colour, tint=tint)
        if single < 0.125 and self.can_be_counted(thing):
            return View((thing,), colour, count=rng.choice((2, 3, 4)), tint=tint)
        return View((thing,), colour, size=rng.choices(("", "small", "big"), (0.8, 0.1, 0.1))[0], tint=tint,
                    sticker=rng.random() < 0.08)

    @functools.lru_cache(maxsize=20_000)  # noqa: B019  # one world lives as long as the program
    def can_be_counted(self, thing: Thing) -> bool:
        """Whether several of the thing can be named: swords are held out, a sword is not."""
        names = [name for name in (*thing.names, thing.kind) if name]
        return not (self.sealed and any(self.lists.in_text(several(name)) for name in names))

    def beside(self, rng: random.Random) -> Thing:
        """A second thing; those in one colour stand alone, since a picture has one tint."""
        while (thing := self.thing(rng)).monochrome:
            pass
        return thing

    @functools.lru_cache(maxsize=20_000)  # noqa: B019  # one world lives as long as the program
    def makes_held_out(self, thing: Thing, colour: str) -> bool:
        """Whether the thing in the colour is something held out: a heart in white, an apple in green."""
        nouns = {word for name in thing.names for word in (name, name.split()[-1])}
        return self.sealed and any(self.lists.in_text(f"{colour} {noun}") for noun in nouns
                                   if not self.lists.in_text(noun))  # "monkey", of a name that is allowed as a whole

    def image(self, thing: Thing, tint: str = "") -> Image.Image:
        """The thing's drawing, RGBA, painted with a colour if one is named."""
        if thing.source == "family":
            family, number = thing.key.rsplit("/", 1)
            image = member(family, int(number))[0]
        elif self.archive is None:
            from pretrain.world import glyph

            image = glyph(thing.key.removeprefix("noto/").removesuffix(".webp"))
        else:
            image = drawing(self.archive, thing.key)
        if thing.monochrome:
            painted = Image.new("RGBA", image.size, (*COLOURS[tint or "black"][0], 255))
            painted.putalpha(image.getchannel("A"))
            return painted
        return tinted(image, tint) if tint else image

    def render(self, view: View, rng: random.Random, pixels: int) -> Image.Image:
        """The view as an RGB picture of pixels x pixels."""
        first, *rest = view.things * (view.count if len(view.things) == 1 else 1)
        tint = view.tint if len(view.things) == 1 else ""  # of two, only the first is painted
        images = [self.image(first, view.tint), *(self.image(thing, tint) for thing in rest)]
        if view.sticker:
            images = [bordered(image) for image in images]
        # premultiplied, as Pillow would make of them twice; they are shrunk after they are tilted, so linear will do
        images = [ImageOps.expand(image.convert("RGBa"), round(MARGIN * image.width)) for image in images]
        return arrange(images, view.colour, view.size, rng, pixels, MARGIN, Image.Resampling.BILINEAR)

    def noun(self, thing: Thing, rng: random.Random, styled: bool) -> str:
        """What a caption calls the thing."""
        draw = rng.random()
        if draw < 0.06 and thing.kind:
            noun = thing.kind
        else:
            noun = rng.choice(thing.names[1:]) if draw < 0.36 and thing.names[1:] else thing.names[0]
        if thing.words and rng.random() < 0.6:
            noun = f"{thing.words[0]} {noun}"
        if thing.colour and rng.random() < 0.7:
            noun = f"{thing.colour} {noun}"
        if not styled or not thing.styles:
            return noun
        style = rng.choice(thing.styles)
        return style.format(with_article(noun) if " of {}" in style else noun)

    def caption(self, view: View, rng: random.Random) -> str:
        """An English caption of the view; none names anything held out."""
        for _ in range(100):
            text = self.draw_caption(view, rng)
            if not self.sealed or not self.lists.in_text(text):
                return text
        raise ValueError(f"no caption of {view} is without something held out")

    def draw_caption(self, view: View, rng: random.Random) -> str:
        """A caption, whatever it names."""
        style, art = rng.random(), view.things[0].art if len(view.things) == 1 and not view.tint else ""
        first = self.noun(view.things[0], rng, style < 0.1 and len(view.things) == view.count == 1)
        painted = view.tint and (not view.things[0].monochrome or rng.random() < 0.8)
        first = " ".join(filter(None, (view.size, view.tint if painted else "", first)))
        if len(view.things) > 1:
            x = f"{with_article(first)} and {with_article(self.noun(view.things[1], rng, False))}"
        elif view.count > 1:
            x = f"{COUNTS[view.count][0]} {several(first)}"
        elif view.sticker and rng.random() < 0.85:
            x = f"a sticker of {with_article(first)}"
        else:
            x = with_article(first)
        if art and 0.1 <= style < 0.18:
            x = f"{x} in the style of {art}"
        elif art and 0.18 <= style < 0.2:
            return rng.choice(IN_STYLE).format(a=art)
        others = any(t.source != "noto" for t in view.things)
        if rng.random() < 0.75:
            return said(CAPTIONS, others, rng).format(x=x, c=with_article(view.colour))
        return said(CAPTIONS_PLAIN, others, rng).format(x=x)

    def sample(self, rng: random.Random, pixels: int, captions: int, place: float | None = None) -> Sample:
        """As a World has it (pretrain/stream.py): neighbours in the order of the list are alike."""
        listed = [*self.noto, *self.icons] if place is not None else []
        view = self.view(rng, listed[int((place or 0) * len(listed))] if listed else None)
        texts = [self.caption(view, rng) for _ in range(captions)]
        shown = self.names[view.things[0].names[0]] if len(view.things) == 1 else SEVERAL
        return Sample(self.render(view, rng, pixels), texts, shown)

    def words(self) -> Iterable[str]:
        """Every text that captions are made of, {} and {x} aside."""
        for thing in [*self.noto, *self.icons]:
            yield from (*thing.names, thing.kind, *(several(n) for n in (*thing.names, thing.kind) if n), *thing.styles,
                        thing.art)
        for family in self.families:
            for name in (family, *SYNONYMS[family]):
                yield from (name, several(name))
            for number in range(200):
                yield from member(family, number)[2]
        yield from (text for manner in MANNERS.values() for text in manner)
        yield from (*COLOURS, *CAPTIONS, *CAPTIONS_PLAIN, *IN_STYLE, "sticker of an and", "small big")
        yield from (count for count, _ in COUNTS.values())


def said(templates: Sequence[str], others: bool, rng: random.Random) -> str:
    """A template; one that speaks of an emoji where none but the emoji world's own drawings are shown."""
    while "emoji" in (text := rng.choice(templates)) and others:
        pass
    return text
