# PYTHON_ARGCOMPLETE_OK
"""Choose what the wide world shows, and write the list: python -m pretrain.things --packages FOLDER

The list, things.tsv, is in the repository: it says which drawing of which icon set shows what, what captions call it,
and what is held out.
"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import csv
import functools
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ldm.cli import CommandParser, run_command
from ldm.files import write_bytes
from ldm.util import ROOT
from pretrain.held_out import SELECTORS, HeldOut, held_out_lists, plain
from pretrain.sets import SETS, IconSet, fetch, read_package

LIST = Path(__file__).with_name("things.tsv")
COLUMNS = ("source", "key", "emoji", "names", "kind", "held_out")
LEFT_OUT = ("Component", "Flags", "Symbols")  # groups of emoji
SKIN = range(0x1F3FB, 0x1F400)

# Words in the names of icons that are signs for what a program does, not things.
NOT_THINGS = """
abstract add all arrow arrows asterisk at badge block brackets button buttons card caret cast chart check checkbox
circle circles close code color coloured column contrast corner cross crosshair currency cursor data database delete
diamonds dice disabled divided double down edit eight email enter error exclude expand f fail favorite fediverse figma
file fill five flip flow folder format four full git graphic graphics h half handle hash hashtag heat high icons8 id
image images in insert intersect invert kagi left letter light like line link linktree list loading lock locking logo
low markdown match maslow message middle minus more multi multiple nfc nine no normal number off on one open out outline
pattern pause picture play plus print private quote radio reading refresh remove rewind right rotate row save screen
search select send seven shape shapes share sign simple six skip slash small sort split square squares star stop strip
subtract switch symbol symbols table text three times to transform triangle triangles turn two type unite up user users
vector view wave without word x zero
"""
SIGNS = frozenset(NOT_THINGS.split())
UNKIND = frozenset(("bleeding", "bloody", "chewed", "corpse", "cursed", "dead", "decapitation", "dripping", "hanging",
                    "severed", "slavery", "suicide"))  # what nobody should be shown who asked for something else
COUNTERS = re.compile(r"( (\d+|one|two|three|four|five|six|seven|eight|nine))+$")


@dataclass(frozen=True)
class Row:
    """One drawing."""

    source: str              # "noto", or the name of an IconSet
    key: str                 # which of its drawings
    emoji: str               # what it is in Unicode; "" where it is nothing
    names: tuple[str, ...]   # what captions call it, the usual name first
    kind: str                # what it is a kind of: "fruit"; "" where that is not known
    held_out: str            # why it is: "concept", "style", "family"; "" for what may be trained on


@dataclass(frozen=True)
class Emoji:
    """What Unicode says about an emoji."""

    sign: str
    name: str
    group: str
    kind: str


@functools.cache
def emoji_table() -> dict[str, Emoji]:
    """Every emoji without variation selectors -> what Unicode calls it; no flags, symbols or skin tones."""
    from pretrain.world import EMOJI_TEST, check_packages, cldr_names

    check_packages()
    names, table, group, kind = cldr_names("en"), {}, "", ""
    for line in EMOJI_TEST.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.removeprefix("# group:").strip()
        elif line.startswith("# subgroup:"):
            kind = line.removeprefix("# subgroup:").strip().split("-")[-1].split()[0]
        elif "; fully-qualified" in line and group not in LEFT_OUT:
            points = [int(p, 16) for p in line.split(";")[0].split()]
            sign = "".join(chr(p) for p in points if chr(p) not in SELECTORS)
            if not any(p in SKIN for p in points):
                table[sign] = Emoji(sign, names.get(sign, line.split("#")[1].split(maxsplit=2)[2]), group, kind)
    return table


def squeezed(name: str) -> str:
    """A name without its spaces: sets spell them in several ways."""
    return plain(name).replace(" ", "")


@functools.cache
def by_name() -> dict[str, Emoji]:
    """Squeezed name -> emoji, by Unicode's names of today and the one of the emoji list."""
    return {squeezed(e.name): e for e in emoji_table().values()}


def emoji_of(icon_set: IconSet, icon: str, chars: dict[str, str]) -> Emoji | None:
    """The emoji that an icon of a set of emoji is; None for one that is none of ours."""
    if icon in chars:
        sign = "".join(chr(int(p, 16)) for p in chars[icon].split("-"))
        return emoji_table().get("".join(c for c in sign if c not in SELECTORS))
    name = COUNTERS.sub("", plain(icon)) if icon_set.name == "streamline-emojis" else plain(icon)
    found = by_name().get(squeezed(name))
    if found and name != plain(icon) and found.group == "People & Body":
        return None  # its numbers are skin tones
    return found


@functools.cache
def nouns() -> frozenset[str]:
    """Words for things: the nouns that a word may start from, and the last words of emoji's names."""
    listed = (ROOT / "ldm/data/nouns.txt").read_text(encoding="utf-8").split()
    names = [plain(e.name).split() for e in emoji_table().values()
             if e.group in ("Animals & Nature", "Food & Drink", "Objects", "Activities", "Travel & Places")]
    return frozenset(listed) | {name[-1] for name in names if "with" not in name} - SIGNS


def thing_name(icon: str) -> str | None:
    """What an icon without a code point shows, in at most three words; None for what is no thing."""
    name = COUNTERS.sub("", plain(icon))
    words = name.split()
    last = words[-1] if words else ""
    if not 1 <= len(words) <= 3 or set(words) & (SIGNS | UNKIND) or any(w.isdigit() for w in words):
        return None
    return name if nouns() & {last, last.removesuffix("s"), last.removesuffix("es")} else None


@functools.cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """Emoji -> its names in captions: Unicode's name, then words that mean nothing else (pretrain/lexicon.py)."""
    from pretrain.lexicon import Lexicon
    from pretrain.world import all_concepts

    forms = Lexicon("en").forms
    return {c.emoji: tuple(dict.fromkeys([c.name, *(word for word, unit, _ in forms[c.name] if not unit)]))
            for c in all_concepts()}


def reason(lists: HeldOut, source: str, emoji: str, name: str) -> str:
    """Why a drawing is held out; "" for one that is not."""
    if source in lists.styles:
        return "style"
    if lists.covers(emoji, name):
        return "family" if not set(emoji) & set(lists.names) else "concept"
    return "concept" if lists.in_text(name, elsewhere=not emoji) else ""


def emoji_row(lists: HeldOut, source: str, key: str, emoji: Emoji) -> Row:
    """The row of an emoji in one set. No synonym is a word for something held out."""
    names = synonyms().get(emoji.sign, (emoji.name,))
    shown = names if emoji.sign in lists.names else (names[0], *(n for n in names[1:] if not lists.in_text(n)))
    kind = emoji.kind if emoji.kind in nouns() else ""  # "clothing", not "other"
    return Row(source, key, emoji.sign, shown, kind, reason(lists, source, emoji.sign, names[0]))


def rows_of(icon_set: IconSet, packages: Path, lists: HeldOut) -> Iterator[Row]:
    """The drawings of a set that show things."""
    path = fetch(icon_set, packages)
    from pretrain.sets import BY_NAME

    icons, metadata = read_package(path, "icons")["icons"], read_package(path, "metadata")
    chars = read_package(fetch(BY_NAME[icon_set.chars], packages), "chars") if icon_set.chars else {}
    points = {icon: code for code, icon in chars.items()}
    chosen = {icon for c in icon_set.categories for icon in metadata["categories"][c]}
    for icon in sorted(icons):
        if not icon.endswith(icon_set.suffix) or icons[icon].get("hidden") or chosen and icon not in chosen:
            continue
        if icon_set.emoji:
            if emoji := emoji_of(icon_set, icon, points):
                yield emoji_row(lists, icon_set.name, icon, emoji)
        elif name := thing_name(icon.removesuffix(icon_set.suffix)):
            words = name.split()
            yield Row(icon_set.name, icon, "", (name,), words[-1] if len(words) > 1 else "",
                      reason(lists, icon_set.name, "", name))


def noto_rows(lists: HeldOut) -> Iterator[Row]:
    """The concepts of the emoji world, as the font draws them."""
    from pretrain.world import all_concepts

    for c in all_concepts():
        yield emoji_row(lists, "noto", c.emoji, Emoji(c.emoji, c.name, c.group, c.kind))


def read_list(path: Path = LIST) -> tuple[Row, ...]:
    """The rows of the list."""
    with open(path, encoding="utf-8", newline="") as file:
        return tuple(Row(row["source"], row["key"], row["emoji"], tuple(row["names"].split("|")), row["kind"],
                         row["held_out"]) for row in csv.DictReader(file, delimiter="\t"))


def write_list(rows: list[Row], path: Path) -> None:
    """Write the list."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in rows:
        writer.writerow((r.source, r.key, r.emoji, "|".join(r.names), r.kind, r.held_out))
    write_bytes(path, text.getvalue().encode())


def main(arguments: list[str] | None = None) -> None:
    """Choose, and write the list."""
    flags = CommandParser(description="Choose which drawings of which icon sets the wide world shows.",
                          example="python -m pretrain.things --packages pretrain/runs/packages")
    flags.add_argument("--packages", type=Path, required=True, metavar="FOLDER",
                       help="folder for the packages of the npm registry")
    flags.add_argument("--out", type=Path, default=LIST, metavar="TSV", help="where the list goes")
    opt = flags.parse_args(arguments)
    lists = held_out_lists()
    rows = list(noto_rows(lists))
    for icon_set in SETS:
        rows += rows_of(icon_set, opt.packages, lists)
    write_list(rows, opt.out)
    for source in dict.fromkeys(r.source for r in rows):
        own = [r for r in rows if r.source == source]
        print(f"{source}: {len(own)} drawings, {sum(not r.held_out for r in own)} to train on")
    print(f"{len(rows)} drawings of {len({r.names[0] for r in rows})} names in {opt.out}")


if __name__ == "__main__":
    run_command(main)
