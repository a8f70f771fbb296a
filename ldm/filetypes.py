"""What a file is, told by its content and never by its name."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ldm.errors import UserError

# How files of other kinds begin, and what is said about them.
SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not a checkpoint: the file itself was not "
     "downloaded; run git lfs pull"),
    (0, b"\x89PNG", "a PNG picture, not a checkpoint"),
    (0, b"\xff\xd8\xff", "a JPEG picture, not a checkpoint"),
    (0, b"GIF8", "a GIF picture, not a checkpoint"),
    (8, b"WEBP", "a WebP picture, not a checkpoint"),
    (4, b"ftyp", "a picture or a film (HEIC, AVIF, MP4), not a checkpoint"),
    (0, b"%PDF", "a PDF document, not a checkpoint"),
    (0, b"\x1f\x8b", "a gzip archive, not a checkpoint; unpack it first"),
    (0, b"BZh", "a bzip2 archive, not a checkpoint; unpack it first"),
    (0, b"\xfd7zXZ\x00", "an xz archive, not a checkpoint; unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive, not a checkpoint; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive, not a checkpoint; unpack it first"),
    (0, b"Rar!", "a RAR archive, not a checkpoint; unpack it first"),
    (257, b"ustar", "a tar archive, not a checkpoint; unpack it first"),
    (0, b"PK\x05\x06", "an empty zip archive, not a checkpoint"),
    (0, b"\x89HDF", "an HDF5 file (Keras, TensorFlow), not a checkpoint of PyTorch"),
    (0, b"\x93NUMPY", "a NumPy array, not a checkpoint"),
    (0, b"GGUF", "a GGUF file, not a checkpoint of PyTorch"),
    (0, b"\x7fELF", "a program, not a checkpoint"),
    (0, b"MZ", "a program, not a checkpoint"),
)
PICKLES = (b"\x80", b"L119547037146038801333356L")  # torch.save's older format, in pickle protocols 2 and up, 0 and 1
HEAD = 4096


def check_regular(path: str | Path) -> None:
    """Raises UserError unless a path leads to a regular file. Nothing is opened: a FIFO or a device would hang."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        known: dict[type[Exception], str] = {FileNotFoundError: "no such file", NotADirectoryError: "no such file"}
        reason = known.get(type(error)) or getattr(error, "strerror", None) or "no file can be named so"
        raise UserError(f"{path}: {reason}") from error
    if stat.S_ISDIR(mode):
        raise UserError(f"{path}: no such file, but a folder; name a file in it")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: a pipe or a device, not a file")


def tensor_format(path: str | Path) -> str:
    """`zip` or `pickle`, which torch.save writes, or `safetensors`. Raises UserError that says what the file is
    instead."""
    check_regular(path)
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if not head:
        raise UserError(f"{path}: an empty file, not a checkpoint; fetch it again")
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    # before pickles: the length of a header may begin as they do
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32:
        return "safetensors"
    if head.startswith(PICKLES):
        return "pickle"
    for offset, signature, what in SIGNATURES:
        if head.startswith(signature, offset):
            raise UserError(f"{path}: {what}")
    raise UserError(f"{path}: {_text_kind(head)}")


def _text_kind(head: bytes) -> str:
    """What a text is, from its beginning; all other is unknown."""
    text = head.decode("utf-8-sig", "ignore").strip().lower()
    if text.startswith(("<!doctype html", "<html", "<head")) or "<html" in text:
        return "a web page (HTML), not a checkpoint; download the file itself, not the page about it"
    try:
        head[: len(head) - 3 if len(head) == HEAD else None].decode()
    except UnicodeDecodeError as error:
        # a letter cut at the end is none of the text's faults
        if error.end < len(head) - 4:
            return "not a checkpoint, or cut short (content of no known kind)"
    if any(ord(letter) < 32 and letter not in "\t\n\r\f\x1b" for letter in text):
        return "not a checkpoint, or cut short (content of no known kind)"
    return "text, not a checkpoint"


def shown(text: object, length: int = 80) -> str:
    """Text of a stranger's file for one line on a terminal: control characters escaped, cut to a length."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text)[: length + 1])
    return line if len(line) <= length else f"{line[:length]}..."
