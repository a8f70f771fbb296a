"""What a picture was made with, as the text that its file carries, and read back from it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ldm.errors import UserError

CHUNK = "parameters"  # name of the text chunk in a PNG
NEGATIVE = "Negative prompt: "
_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LONG = {escaped: char for char, escaped in _SHORT.items()}


class Parameters(NamedTuple):
    """Prompt, negative prompt and settings of a picture; settings are text, by their names in the file."""

    prompt: str
    negative_prompt: str
    settings: dict[str, str]


def _breaks(char: str) -> bool:
    """Whether a character may not stand in a line as it is: line breaks, control characters, half surrogates."""
    return unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs")


def escape(text: str) -> str:
    """A text as one line: line breaks and control characters as \\n, \\r, \\t or \\uXXXX, a backslash doubled where it
    could be read as the beginning of one of these; the \\( of a prompt stays what other programs read."""
    def one(c: str, following: str) -> str:
        if c == "\\" and not (following and (following in "\\nrtu" or _breaks(following))):
            return c
        return _SHORT.get(c) or (f"\\u{ord(c):04x}" if _breaks(c) else c)

    return "".join(map(one, text, [*text[1:], ""]))


def unescape(text: str) -> str:
    """Undo `escape`; a backslash before anything else stays, as other programs write it."""
    return re.sub(r"\\([\\nrt]|u[0-9a-f]{4})",
                  lambda m: _LONG.get(m[0]) or chr(int(m[1][1:], 16)), text)


def _value(value: Any) -> str:
    """A setting as text: in JSON's quotes where it would be read as more than one otherwise."""
    text = str(value)
    if text and text == text.strip() and not any(c in ',:"\\' or _breaks(c) for c in text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(f"\\u{ord(c):04x}" if _breaks(c) else c for c in quoted)


def write_parameters(prompt: str, settings: Mapping[str, Any], negative_prompt: str = "") -> str:
    """The text of the chunk, in the layout of other programs: the prompt in one line (`escape`), the negative prompt
    in another if there is one, and `name: value, name: value...` in the last."""
    lines = [escape(prompt)]
    if negative_prompt:
        lines.append(NEGATIVE + escape(negative_prompt))
    return "\n".join([*lines, ", ".join(f"{name}: {_value(value)}" for name, value in settings.items())])


def read_parameters(text: str) -> Parameters:
    """What `write_parameters` wrote; of other programs' text too, whose prompts may have several lines."""
    *lines, last = text.split("\n")
    if not lines:
        lines, last = [last], ""
    negative = next((i for i, line in enumerate(lines) if i and line.startswith(NEGATIVE)), len(lines))
    rest = "\n".join(lines[negative:])
    settings = {}
    for name, quoted, plain in re.findall(r'([^,:]+): (?:("(?:[^"\\]|\\.)*")|([^,]*))(?:, |$)', last):
        settings[name] = json.loads(quoted) if quoted else plain
    return Parameters(unescape("\n".join(lines[:negative])), unescape(rest.removeprefix(NEGATIVE)), settings)


def picture_parameters(path: str | Path) -> Parameters:
    """What a picture file says it was made with. Raises UserError for one that says nothing."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            text = image.info.get(CHUNK)
    except Exception as error:  # whatever a decoder makes of a stranger's file
        raise UserError(f"{path}: not a readable PNG") from error
    if not isinstance(text, str):
        raise UserError(f"{path}: does not say what it was made with (no text chunk `{CHUNK}`)")
    return read_parameters(text)
