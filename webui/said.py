"""What the functions of the commands say on stderr, for the page: per thread, so that nobody reads another's lines."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

_local = threading.local()


class _Stderr:
    """stderr, and beside it a list of lines of the thread that listens."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """As a stream does it."""
        if (parts := getattr(_local, "parts", None)) is None:
            return self._stream.write(text)
        parts.append(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def listening() -> Iterator[list[str]]:
    """What this thread prints on stderr meanwhile, as lines, whole when it is over; nothing goes to the terminal."""
    if not isinstance(sys.stderr, _Stderr):
        sys.stderr = _Stderr(sys.stderr)  # type: ignore[assignment]
    lines: list[str] = []
    before, _local.parts = getattr(_local, "parts", None), []
    try:
        yield lines
    finally:
        lines += dict.fromkeys(line for line in "".join(_local.parts).splitlines() if line.strip())
        _local.parts = before
