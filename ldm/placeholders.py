"""Placeholders, the names of learned words: which text can be one, and where one stands in a prompt."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ldm.errors import UserError
from ldm.filetypes import shown

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
