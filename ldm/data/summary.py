"""What is said of the pictures before training: what becomes of them, and what is known to go wrong with their like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from PIL import Image

from ldm.data.captions import SUFFIXES
from ldm.data.framing import LONGEST, Picture, border, border_colour
from ldm.data.pictures import MASK_ENDINGS, describe_images, some
from ldm.data.subject import detail, subject_box
from ldm.progress import counted

if TYPE_CHECKING:
    from ldm.data.personalized import PersonalizedBase

SAME = 12     # levels of 256 in which two colours of a background may differ
PLAIN = 0.95  # of a border's pixels that have one colour where a background is plain
FEW = 3       # pictures that are enough
TINY = 0.4    # of a picture's side that a thing should take; one and a half times the thing is good
SMALL = 0.75  # of the side that a picture is shown at, from which enlarging blurs nothing that one sees
BLURRED = 0.04  # detail below which a picture is blurred; that of the pictures in dataset/ is above 0.1


class Fault(NamedTuple):
    """What will mislead about the thing: what it is, in which pictures (of all, where it is of the set), in words."""

    kind: Literal["squeezed", "small", "same", "few", "background", "tiny", "blurred"]
    pictures: tuple[Picture, ...]
    line: str


def note_unused(left_out: Sequence[str], used: Sequence[Path]) -> list[str]:
    """The other entries of a folder, without captions and masks that are used; of text and masks that are not used this
    is said."""
    names = {path.name for path in used}

    def note(name: str) -> str:
        stem = name[: name.rfind(".")].lower()
        if name.lower().endswith(SUFFIXES):
            return f"{name} (unused text)"
        return f"{name} (unused mask)" if stem.endswith(MASK_ENDINGS) and not name.endswith("/") else name

    return [note(name) for name in left_out if name not in names]


def describe_set(data: PersonalizedBase, folder: str | Path, left_out: list[str], mirrored: bool) -> Iterator[str]:
    """Lines that say what pictures there are, how they are shown, and what to think about before they are learned;
    `mirrored`: whether they would be if no sentence spoke against it."""
    yield describe_images(folder, len(data.pictures), left_out)
    mirroring = (f"not mirrored, since {data.sided}" if mirrored and data.sided else
                 f"mirrored {data.flip_p:.0%} of the time" if data.flip_p else "not mirrored")
    size = f"shown at {data.size} x {data.size}" if data.size else "shown at their own size"
    yield "; ".join([size, _framing(data), mirroring, _sentences(data), _masks(data)])
    yield from (fault.line for fault in find_faults(data))


def _of(pictures: Sequence[Picture], n: int) -> str:
    return f"{len(pictures)} of {counted(n, 'picture')} {'is' if len(pictures) == 1 else 'are'}"


def _names(pictures: Sequence[Picture]) -> str:
    return some([picture.path.name for picture in pictures])


def _framing(data: PersonalizedBase) -> str:
    oblong = [p for p in data.pictures if p.given[0] != p.given[1]]
    if data.size is None and data.fit == "squeeze":
        return "nothing cut off"
    if not oblong:
        return "all of them squares"
    done = {"crop": "cut to their middle", "pad": "padded, and the loss leaves out what was added",
            "random": "cut at a random place each time", "squeeze": "squeezed"}[data.fit]
    cut = [p for p in oblong if data.fit in ("pad", "random") and max(p.given) > LONGEST * min(p.given)]
    return f"{done}: {_names(oblong)}" + f"; of {_names(cut)} only the middle, {LONGEST} to 1" * bool(cut)


def _sentences(data: PersonalizedBase) -> str:
    templates = counted(len(data.templates), "template")
    without = [p for p in data.pictures if p.path not in data.captions]
    if not data.captions:
        return f"sentences: {templates}"
    if not without:
        return "sentences: captions beside the pictures"
    return (f"sentences: captions beside {len(data.captions)} of {len(data.pictures)} pictures, {templates} for "
            f"{_names(without)}")


def _masks(data: PersonalizedBase) -> str:
    cut_out = [p for p in data.pictures if p.cut_out]
    masked = cut_out or [p for p in data.pictures if p.masked]
    if not masked:
        return "masks: none"
    kind = "alpha channel, on changing backgrounds" if cut_out else "files"
    whole = [p for p in data.pictures if p not in masked]
    return f"masks: {kind}" + (f"; none, so that all of it counts: {_names(whole)}" if whole else "")


def find_faults(data: PersonalizedBase) -> Iterator[Fault]:
    """What in the pictures will be learned with the thing, or in its place."""
    pictures, n = data.pictures, len(data.pictures)
    if data.size and data.fit == "squeeze" and (oblong := [p for p in pictures if p.given[0] != p.given[1]]):
        shapes = some([f"{p.path.name} ({p.given[0]} x {p.given[1]})" for p in oblong])
        yield Fault("squeezed", (*oblong,), (
            f"warning: {_of(oblong, n)} not square, and squeezed out of shape as the published code does it: {shapes}; "
            "--fit crop cuts to the middle"))
    if data.size and (small := [p for p in pictures if _side(p, data.fit) < SMALL * data.size]):
        shapes = some([f"{p.path.name} ({p.given[0]} x {p.given[1]})" for p in small])
        yield Fault("small", (*small,), (
            f"warning: {_of(small, n)} smaller than {data.size} px, to be enlarged, and what is blurred is learned: "
            f"{shapes}"))
    keys: dict[bytes, Picture] = {}
    for picture in pictures:
        if (first := keys.setdefault(picture.pixels.tobytes(), picture)) is not picture:
            yield Fault("same", (picture, first), (
                f"advice: {picture.path.name} is the same picture as {first.path.name}, and counts twice"))
    if n < FEW:
        yield Fault("few", (*pictures,), (
            f"advice: {counted(n, 'picture')}: what {'they share' if n > 1 else 'is in it'} is learned with the "
            "thing; 3 to 5, each with another background, teach the thing alone"))
    if (colour := _common_background(pictures)) is not None:
        named = "#" + "".join(f"{value:02x}" for value in colour)
        yield Fault("background", (*pictures,), (
            f"advice: all pictures have one background, about {named}, which is learned with the thing; change it "
            "from picture to picture, or cut the thing out and give --mask alpha"))
    if tiny := [p for p in pictures if _is_tiny(p)]:
        yield Fault("tiny", (*tiny,), (
            f"advice: the thing is small in {_names(tiny)}, and the model sees little of it; cut the picture to a "
            "square about one and a half times as wide as the thing"))
    if blurred := [p for p in pictures if data.size and _side(p, data.fit) >= SMALL * data.size
                   and detail(p.pixels) < BLURRED]:
        yield Fault("blurred", (*blurred,), (
            f"advice: blurred, and learned so: {_names(blurred)}; take a sharp picture in its place"))


def _is_tiny(picture: Picture) -> bool:
    box = subject_box(Image.fromarray(picture.pixels))
    return box is not None and max(box[2] - box[0], box[3] - box[1]) < TINY * max(picture.pixels.shape[:2])


def _side(picture: Picture, fit: str) -> int:
    shorter = min(picture.given)
    return min(max(picture.given), LONGEST * shorter) if fit == "pad" else shorter


def _common_background(pictures: Sequence[Picture]) -> tuple[int, ...] | None:
    """The colour that the borders of several pictures have, all the same plain one; not where a mask leaves it out."""
    if len(pictures) < 2 or any(p.masked for p in pictures):
        return None
    colours = []
    for picture in pictures:
        pixels = picture.pixels
        if picture.mask is not None:  # which leaves out padding
            pixels = pixels[picture.mask.any(axis=1)][:, picture.mask.any(axis=0)]
        edge, colour = border(pixels).astype(int), border_colour(pixels)
        if (np.abs(edge - colour).max(axis=1) <= SAME).mean() < PLAIN:
            return None
        colours.append(colour)
    spread = np.ptp(np.array(colours), axis=0).max()
    return colours[0] if spread <= SAME else None
