"""What of a prompt is neither the name of something nor a word that says how: that is what may not be understood."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property

from improvement.v2.names import STRANGE, Names, is_latin, letters, without_one

Span = tuple[int, int]

LETTER, SHORT, PIECE = 1.0, 0.45, 0.1  # costs of a letter that no word has, of a word of one letter, of a longer one
PARTICLES = "을를은는의에과와랑도만をはがとのにで"  # that stand behind a noun, and are hardly the end of one
UNKNOWN, NAME, PLAIN = range(3)  # what a part of a prompt is
LONGEST = 16  # letters of a word that is no name
# How probable it has to be by the aligner that something is not understood: of what a table says that the world does
# not have, of what no table has, of what is a letter away from a word that is no name, and of single letters.
LISTED, UNLISTED, ALIKE = 0.01, 0.1, 0.5


class Coverage:
    """Splits prompts into words that a table has and what is left over."""

    def __init__(self, names: Names) -> None:
        self.names = names

    @cached_property
    def alike(self) -> set[str]:
        """Sounds of the plain words, and of these without one letter."""
        return {part for word in self.names.plain for part in without_one(letters(word))}

    def like_plain(self, part: str) -> bool:
        """Whether a part of a prompt is a misspelt plain word."""
        spelt = letters(part)
        return len(spelt) >= 5 and not self.alike.isdisjoint(without_one(spelt))

    def gaps(self, text: str, marks: Sequence[float], spans: Sequence[Sequence[int]], copied: Collection[int],
             nothing: bool) -> list[str]:
        """The parts of a text that are not understood, by the probabilities of that for its tokens, which stand at
        spans, and the tokens whose names were copied; of a text of which nothing was made, names are not known."""
        def tokens(start: int, end: int) -> list[int]:
            return [i for i, (a, b) in enumerate(spans) if b > a and start <= a < end]

        strange, known = set[Span](), list[Span]()
        for match in self.names.find(text):
            span = match.start, match.end
            whole = match.exact and (match.sure or is_latin(text[match.start]))
            if match.english[0] == STRANGE:
                strange.add(span)
            elif (whole and not nothing) or not set(tokens(*span)).isdisjoint(copied):
                known.append(span)
        found = [*strange, *(span for span in self.left_over(text, known)
                             if not any(a <= span[0] and span[1] <= b for a, b in strange))]
        named: list[Span] = []
        for a, b in sorted(found):
            own = [marks[i] for i in tokens(a, b)]
            least = LISTED if (a, b) in strange else ALIKE if b - a < 2 or self.like_plain(text[a:b]) else UNLISTED
            if own and sum(own) / len(own) > least and not any(a < d for _, d in named):
                named.append((a, b))
        joined: list[Span] = []
        for a, b in named:
            beside = joined and not text[joined[-1][1] : a].strip()
            joined[-1:] = [(joined[-1][0], b)] if beside else [*joined[-1:], (a, b)]
        return [text[a:b] for a, b in joined]

    def left_over(self, text: str, known: Iterable[Span]) -> list[Span]:
        """The parts of a text that are neither at known places nor plain words."""
        lower = text.lower() if len(text.lower()) == len(text) else text
        spans = list(known)
        return [(word.start() + a, word.start() + b) for word in re.finditer(r"\S+", lower)
                for a, b in self.unknown(word[0], [(a - word.start(), b - word.start()) for a, b in spans
                                                   if a < word.end() and b > word.start()])]

    def unknown(self, word: str, known: Sequence[Span]) -> list[Span]:
        """The runs of letters in a word without spaces that are outside of its cheapest split into known spans and
        plain words. Words of one letter beside them belong to them, unless they are particles behind."""
        parts = self.split(word, known)
        marks = [kind == UNKNOWN for _, kind in parts]
        for step in (1, -1):
            for i in range(len(parts))[::step]:
                (start, end), kind = parts[i]
                beside = 0 <= i - step < len(parts) and marks[i - step]
                particle = step > 0 and kind == PLAIN and word[start] in PARTICLES
                if beside and end - start < 2 and word[start].isalpha() and not particle:
                    marks[i] = True
        runs: list[Span] = []
        for ((start, end), _), mark in zip(parts, marks, strict=True):
            if mark:
                beside = bool(runs) and runs[-1][1] == start
                runs[-1:] = [(runs[-1][0], end)] if beside else [*runs[-1:], (start, end)]
        return runs

    def split(self, word: str, known: Sequence[Span]) -> list[tuple[Span, int]]:
        """The cheapest split: parts, and what they are."""
        best: list[tuple[float, Span, int]] = [(0.0, (0, 0), PLAIN)]  # cost, the last part, what it is
        for end in range(1, len(word) + 1):
            letter = word[end - 1].isalpha()
            choices = [(best[end - 1][0] + (LETTER if letter else 0.0), (end - 1, end), UNKNOWN if letter else PLAIN)]
            for a, b in known:
                if min(b, len(word)) == end:
                    choices.append((best[max(0, a)][0] + (SHORT if b - a < 2 else 0.0), (max(0, a), end), NAME))
            for start in range(max(0, end - LONGEST), end):
                if word[start:end] in self.names.plain and not within_a_word(word, start, end):
                    choices.append((best[start][0] + (SHORT if end - start < 2 else PIECE), (start, end), PLAIN))
            best.append(min(choices))
        parts, end = list[tuple[Span, int]](), len(word)
        while end:
            _, span, kind = best[end]
            parts, end = [(span, kind), *parts], span[0]
        return parts


def within_a_word(text: str, start: int, end: int) -> bool:
    """Whether Latin letters go on before or behind a part of a text."""
    return (start > 0 and is_latin(text[start - 1]) and is_latin(text[start])) or (
        end < len(text) and is_latin(text[end - 1]) and is_latin(text[end]))
