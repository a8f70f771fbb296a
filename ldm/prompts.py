"""What a prompt says beside its text: weights of words in brackets; and prompts from a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from ldm.errors import UserError
from ldm.filetypes import check_regular
from ldm.placeholders import placeholder_pattern
from ldm.progress import counted, say
from ldm.util import quoted

LEVEL = 1.1       # what a pair of round brackets multiplies by, and square ones divide by
MAX_WEIGHT = 10.0
MAX_DEPTH = 100   # brackets open at once; each costs another pass over what is in it
MAX_FILE = 2**24  # bytes of a file of prompts

# A number ends a span only as float() reads it; what looks like one but is none, (a:1.2.3), is text.
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf|infinity)"
_SIGNS = rf"\\(?P<literal>[()\[\]\\])|(?P<open>[(\[])|:\s*(?P<number>{_NUMBER})\s*(?P<end>\))|(?P<close>[)\]])"
_TEXT = r"brackets that are text are written \( and \)"

# What other programs read in a prompt and this one does not, and what to say of it.
_FOREIGN = [(re.compile(pattern), line) for pattern, line in (
    (r"\([^()\[\]:]*:\s*\d+,\d+\s*\)", "is no weight; write a point, as in (red:1.3)"),
    (r"\)\d+(?:\.\d+)?(?![\w.])|\w\+{1,9}(?![\w+])|\w-{2,9}(?![\w-])", "is no weight; write it as in (red:1.3)"),
    (r"\[[^\[\]:]*:(?:[^\[\]:]*:)?\s*(?:\d+(?:\.\d*)?|\.\d+)\s*\]|\[[^\[\]|]*\|[^\[\]]*\]",
     "is text; words do not change while a picture is drawn"),
    (r"<(?:lora|lyco|hypernet):[^<>]*>", "is text; a model is changed by --ckpt_path alone"),
    (r"\bBREAK\b", "is a word like any other"))]


class Prompt(NamedTuple):
    """A prompt as it is read: pieces of text, each with the weight of its words."""

    spans: tuple[tuple[str, float], ...]

    @property
    def text(self) -> str:
        """What the text encoder reads: the prompt without brackets and weights. Weighted words side by side,
        `(red:1.3)(blue:0.5)`, stay two."""
        return "".join(text for text, _ in self._apart())

    @property
    def weighted(self) -> bool:
        """Whether a weight is another than 1."""
        return any(weight != 1 for _, weight in self.spans)

    @property
    def weights(self) -> list[float]:
        """A weight for each letter of the text."""
        return [weight for text, weight in self._apart() for _ in text]

    def _apart(self) -> Iterator[tuple[str, float]]:
        """The spans, with a space before one that would become one word with that before it, both weighted."""
        last, other = "", 1.0
        for text, weight in self.spans:
            space = weight != 1 != other and last[-1:].isalnum() and text[0].isalnum()
            yield " " * space + text, weight
            last, other = text, weight


def parse_prompt(prompt: str, placeholders: Iterable[str] = ()) -> Prompt:
    r"""Read the weights of a prompt, in the notation of AUTOMATIC1111's web UI.

    `(red)` weighs 1.1, `[red]` 1 / 1.1, `(red:1.3)` 1.3; brackets in brackets multiply. A bracket that nothing closes
    counts to the end, one that closes nothing is text, and `\(`, `\)`, `\[`, `\]` and `\\` are the signs themselves, as
    are brackets in the name of a learned word. Any other backslash is text. Raises UserError for a weight beyond 0 to
    MAX_WEIGHT, and for brackets beyond MAX_DEPTH.
    """
    names = sorted((name for name in placeholders if re.search(r"[()\[\]\\]", name)), key=len, reverse=True)
    signs = re.compile("|".join([*map(placeholder_pattern, names), f"(?a:{_SIGNS})"]), re.IGNORECASE)
    pieces: list[tuple[str, int, float]] = []  # text, levels of brackets, product of the numbers
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def close(bracket: str, levels: int, factor: float = 1.0) -> None:
        start = opened[bracket].pop()
        pieces[start:] = [(text, n + levels, f * factor) for text, n, f in pieces[start:]]

    end = 0
    for sign in signs.finditer(prompt):
        pieces.append((prompt[end : sign.start()], 0, 1.0))
        end = sign.end()
        if sign["open"]:
            opened[sign["open"]].append(len(pieces))
            if len(opened[sign["open"]]) > MAX_DEPTH:
                raise UserError(f"the prompt {quoted(prompt)} has more than {MAX_DEPTH} nested brackets; {_TEXT}")
        elif sign["number"] and opened["("]:
            close("(", 0, _weight(sign["number"], prompt))
        elif sign["close"] and opened[bracket := "(" if sign["close"] == ")" else "["]:
            close(bracket, 1 if bracket == "(" else -1)
        else:  # a literal sign, the name of a word, or a bracket that closes nothing
            pieces.append((sign["literal"] or sign[0], 0, 1.0))
    pieces.append((prompt[end:], 0, 1.0))
    for bracket, levels in (("(", 1), ("[", -1)):
        while opened[bracket]:
            close(bracket, levels)
    weighed = [(text, LEVEL**levels * factor) for text, levels, factor in pieces if text]
    for _, weight in weighed:
        _weight(f"{weight:g}", prompt)
    return Prompt(tuple(("".join(text for text, _ in group), weight)
                        for weight, group in groupby(weighed, key=lambda piece: piece[1])))


def _weight(number: str, prompt: str) -> float:
    """A number as a weight. Raises UserError for one out of range."""
    if not 0 <= float(number) <= MAX_WEIGHT:  # nor for NaN
        raise UserError(f"the prompt {quoted(prompt)} has the weight {number}; weights go from 0 to {MAX_WEIGHT:g}; "
                        f"what a picture shall not show goes into --negative_prompt, and {_TEXT}")
    return float(number)


def find_foreign(prompt: str) -> list[str]:
    """What in a prompt other programs read otherwise, AUTOMATIC1111's web UI and Invoke, each in a line."""
    return [f"{quoted(found[0], 40)} in {quoted(prompt)} {line}" for pattern, line in _FOREIGN
            if (found := pattern.search(prompt))]


def escape_prompt(text: str) -> str:
    """A text as a prompt that means it letter for letter: its brackets are no weights."""
    return re.sub(r"([()\[\]\\])", r"\\\1", text)


def read_prompts(path: str) -> list[str]:
    """The prompts of a text file in UTF-8, one a line, or of standard input (`-`): without spaces around them, empty
    lines and, with a word on stderr, lines that begin with `#`. Raises UserError for another file, or one without
    prompts."""
    name = "standard input" if path == "-" else path
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1) if sys.stdin else b""
        else:
            check_regular(path)
            with open(path, "rb") as file:
                data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); give a text file with a prompt in each line"
                        ) from error
    if len(data) > MAX_FILE:
        raise UserError(f"{name}: larger than {MAX_FILE:,} bytes; give a text file with a prompt in each line")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{name}: line {line} is not valid UTF-8; save it as a text file in UTF-8") from error
    lines = re.split(r"\r\n|\r|\n", text)
    if code := next((number for number, line in enumerate(lines, 1) if "\0" in line), None):
        raise UserError(f"{name}: line {code} holds a character of code 0; save it as a text file in UTF-8")
    prompts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not prompts:
        raise UserError(f"{name}: holds no prompts; write one in each line")
    if comments := sum(line.startswith("#") for line in lines):
        say(f"{name}: {counted(len(prompts), 'prompt')}; {counted(comments, 'line')} with # in front left out")
    return prompts
