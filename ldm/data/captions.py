"""Captions: sentences in a text file beside a picture, which name what in it must not be learned."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from ldm.data.pictures import is_regular
from ldm.errors import UserError
from ldm.placeholders import split_prompt
from ldm.util import quoted

SUFFIXES = (".txt", ".caption")
MOST_BYTES = 2**16  # of a file

# What only one of a picture and its mirror image shows. Hangul goes on behind a word, as particles do.
SIDES = re.compile(r"""
    \b (?:left|right) (?:most|wards?)? \b
    | (?<!\w) 왼\w*
    | (?<!\w) 오른 (?:쪽|편|손|발|팔|다리|눈|귀|뺨|어깨|무릎|날개)
    | (?<!\w) (?:좌우 | [좌우](?:측|회전|향) | [좌우]로?(?!\w))
    """, re.VERBOSE | re.IGNORECASE)


def beside(pictures: Sequence[Path], others: Iterable[str], suffixes: Sequence[str]) -> dict[Path, Path]:
    """For each picture the file in its folder, of those names, that is called as it is but for one of the suffixes: of
    several the one whose suffix comes first. Upper and lower case of suffixes and ways to write accents are one."""
    found = {(unicodedata.normalize("NFC", name[: -len(suffix)]), suffix): name for name in others
             for suffix in suffixes if name.lower().endswith(suffix)}
    pairs = {}
    for picture in pictures:
        stem = unicodedata.normalize("NFC", picture.stem)
        if name := next((found[stem, suffix] for suffix in suffixes if (stem, suffix) in found), None):
            pairs[picture] = picture.parent / name
    return pairs


def read_captions(path: Path, words: Sequence[str]) -> tuple[str, ...]:
    """The captions of a file, one a line. Raises UserError for one in which neither {} nor one of the learned words
    stands, and for a file that is no text, or too long."""
    remedy = "or leave captions out: --captions false"
    try:
        if not is_regular(path):
            raise UserError(f"{path}: not a file; remove it, {remedy}")
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8; save it as UTF-8, {remedy}") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {remedy}") from error
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: longer than {MOST_BYTES} bytes; a caption is a sentence; shorten it, {remedy}")
    if any(unicodedata.category(c) == "Cc" and not c.isspace() for c in text):
        raise UserError(f"{path}: holds characters that are no text; write it anew, {remedy}")
    captions = tuple(line for line in (" ".join(line.split()) for line in text.splitlines()) if line)
    if not captions:
        raise UserError(f"{path}: is empty; write what the picture shows, with {{}} where the word goes, or remove it")
    for caption in captions:
        if not any(names(caption, word) for word in ("{}", *words)):
            raise UserError(f"{path}: {quoted(caption)} does not name the word; write {{}} or "
                            f"{' or '.join(dict.fromkeys(words))} where it goes, {remedy}")
    return captions


def names(caption: str, word: str) -> bool:
    """Whether a word stands in a caption, not as a part of a longer one."""
    return any(part.placeholder for part in split_prompt(caption, [word], ignore_case=True))


def side_in(sentence: str) -> str | None:
    """The word that says left or right in an English or Korean sentence, if one does."""
    found = SIDES.search(sentence)
    return found and found[0]
