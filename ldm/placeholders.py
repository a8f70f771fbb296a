"""Placeholders, the names of learned words: which text can be one, and where one stands in a prompt."""

from __future__ import annotations

import functools
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ldm.errors import UserError
from ldm.filetypes import shown
from ldm.progress import counted

STAR = "*"  # what everybody writes for a word, and so what the only word is called too, whatever its own name
MAX_PLACEHOLDER = 200  # letters of a name

# Letters of the alphabets that write words apart: among them a name of letters does not begin or end.
_LETTER = "0-9A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0370-\u052f"
_HANGUL = "\u1100-\u11ff\uac00-\ud7a3"  # particles follow a word, nothing precedes it
_VARIANT = "\ufe0e\ufe0f"  # selectors of how a sign is drawn, which people do not type
_JOINED = "\u200d\U0001f3fb-\U0001f3ff"  # with what makes another emoji of one


class Part(NamedTuple):
    """A part of a prompt: some of its text, and the placeholder that this is, if it is one."""

    text: str
    placeholder: str | None


def check_placeholder(name: str) -> None:
    """Raises UserError for a text that cannot name a learned word: one that nobody sees, or too long a one."""
    if not any(unicodedata.category(sign)[0] in "LNPS" for sign in name):
        raise UserError(f"placeholder {shown(repr(name))} is empty; take a name such as * or <cat-toy>")
    if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in name):
        raise UserError(f"placeholder {shown(repr(name))} holds a control character; take a name such as * or "
                        "<cat-toy>")
    if len(name) > MAX_PLACEHOLDER:
        raise UserError(f"placeholder {shown(repr(name))} has {len(name)} letters; at most {MAX_PLACEHOLDER} are a "
                        "name")


def same_name(name: str) -> str:
    """What two names have in common that people take for one: their letters, whatever their case and encoding."""
    return unicodedata.normalize("NFC", re.sub(f"[{_VARIANT}]", "", " ".join(name.split()))).casefold()


def placeholder_pattern(name: str) -> str:
    """A regular expression for a name in a prompt.

    Where it begins or ends with a letter it counts only if no letter touches it there, so that `sks` is not found in
    `asks`; behind any name a particle of Korean may follow. Any space stands for any others, and letters may be
    composed or not.
    """
    name = unicodedata.normalize("NFC", re.sub(f"[{_VARIANT}]", "", name))
    forms = dict.fromkeys((name, unicodedata.normalize("NFD", name)))
    optional = "" if name.isascii() else f"[{_VARIANT}]?"
    spelled = ("".join(r"\s+" if sign == " " else re.escape(sign) + optional
                       for sign in " ".join(form.split())) for form in forms)
    before = next((f"(?<![{kind}])" for kind in (_LETTER, _HANGUL) if re.match(f"[{kind}]", name)), "")
    after = f"(?![{_LETTER}])" if re.search(f"[{_LETTER}]$", name) else ""
    if not name[-1].isascii() and unicodedata.category(name[-1])[0] in "SMC":
        before, after = "(?<!\u200d)", f"(?![{_VARIANT}{_JOINED}])"
    return f"{before}(?:{'|'.join(spelled)}){after}"


@functools.lru_cache(64)
def _finder(names: tuple[str, ...], ignore_case: bool) -> re.Pattern[str]:
    return re.compile("|".join(f"({placeholder_pattern(name)})" for name in names), re.IGNORECASE * ignore_case)


def split_prompt(prompt: str, placeholders: Iterable[str], ignore_case: bool = False) -> Iterator[Part]:
    """The parts of a prompt, in order, whose texts together are the prompt. Of two placeholders that begin at the same
    place the longer one counts."""
    names = tuple(sorted(placeholders, key=len, reverse=True))
    end = 0
    for match in _finder(names, ignore_case).finditer(prompt) if names else ():
        if match.start() > end:
            yield Part(prompt[end : match.start()], None)
        assert match.lastindex
        yield Part(match[0], names[match.lastindex - 1])
        end = match.end()
    if end < len(prompt) or not prompt:
        yield Part(prompt[end:], None)


# Names for the words of files ----------------------------------------------------------------------------------------

# Files whose names say nothing about their word; their folder's does.
_ANY_FILE = re.compile(r"(embeddings?|learned_embeds)([_-](gs|steps)-\d+|_best|_final)?", re.IGNORECASE)
_TIME = re.compile(r".*\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d_(?=.)")  # in the name of a run folder: pictures, then when


def name_of_file(path: str | Path) -> str:
    """What a word without a name is called: its file's name, or its run's where all runs have files of that name, in
    angle brackets."""
    path = Path(os.path.abspath(path))
    name = path.stem
    if _ANY_FILE.fullmatch(name):
        folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
        name = _TIME.sub("", folder.name) or name
    name = "-".join(re.sub(r"[^\w.+-]+", " ", name).split())
    return f"<{name[:60] or 'word'}>"


def call_words(found: Sequence[tuple[str | Path, str | None]], names: Sequence[str] = ()) -> list[str]:
    """What the words of files, (file, own name) each, are called in prompts: each by its own name, a word without one
    by the next of `names`, else by its file's.

    A name that an earlier word has is none. `names` beyond that are for a word called *, and as many names as words are
    for all of them. Raises UserError for more names than that, or for one that is taken.
    """
    called: list[str | None] = []
    for _, own in found:
        called.append(None if own is None or same_name(own) in map(same_name, filter(None, called)) else own)
    nameless = [i for i, name in enumerate(called) if name is None]
    if len(names) > len(nameless):
        nameless = [i for i, name in enumerate(called) if name in (None, STAR)]
    if len(names) > len(nameless):
        if len(names) != len(found):
            raise UserError(
                f"--placeholder_string: {counted(len(names), 'name')} for {counted(len(found), 'word')}, "
                f"{len(nameless)} of them without a name of their own; give "
                f"{f'{len(nameless)} or ' * bool(nameless)}{len(found)}")
        nameless = list(range(len(found)))
    for i in nameless:
        called[i] = None
    for i, name in itertools.zip_longest(nameless, names):
        taken = {same_name(other) for other in called if other is not None}
        if name is None:
            name = base = name_of_file(found[i][0])
            for n in itertools.count(2):
                if same_name(name) not in taken:
                    break
                name = f"{base[:-1]}-{n}>"
        elif same_name(name) in taken:
            raise UserError(f"--placeholder_string {name}: another word has that name; take another")
        called[i] = name
    return [name for name in called if name is not None]
