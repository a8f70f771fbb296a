"""Writing files: whole or not at all."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ldm.errors import UserError

TEMPORARY = re.compile(r"(?s:\..+\.[a-z0-9_]{8})|\.last\.ckpt")  # the second: of earlier versions
NO_LINKS = (errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file under a temporary name beside it, flush it to disk, then rename it into place."""
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: could not be written ({error.strerror}); free some space or choose another "
                        "folder") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _numbers(folder: Path) -> set[int]:
    return {int(m[1]) for n in os.listdir(folder) if (m := re.match(r"([0-9]+).*\.png$", n))}


def next_number(folder: Path) -> int:
    """One more than the highest number that begins a picture's name in the folder; 0 in an empty one, or in none."""
    return max(_numbers(folder), default=-1) + 1 if folder.is_dir() else 0


def write_numbered(folder: str | Path, data: bytes, digits: int, name: str, wanted: int | None = None) -> Path:
    """Write `<number><name>` into a folder, whole or not at all, under a number that no other process gets: its path.
    The number is the one wanted if it is free, else the next after the highest.

    The temporary file is the claim on a number: it is made exclusively, and becomes the file by a rename.
    """
    folder = Path(folder)
    number = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            if number is None:
                number = next_number(folder) if wanted is None else wanted
            elif number == wanted:
                number, wanted = next_number(folder), None
            else:
                number += 1
            claim = folder / f".{number:0{digits}}.part"
            try:
                descriptor = os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:  # another process writes it at this moment, or was killed there
                continue
            path = None
            try:
                with os.fdopen(descriptor, "wb") as file:
                    if number in _numbers(folder) or wanted is None and next_number(folder) > number:  # taken since
                        continue
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                path = claim.replace(folder / f"{number:0{digits}}{name}")
                return path
            finally:
                if path is None:
                    claim.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: could not be written ({error.strerror}); free some space or "
                        "choose another folder") from error


@contextlib.contextmanager
def output_folder(folder: str | Path) -> Iterator[Path]:
    """Make a folder and try to write into it; where what follows fails, take away again what is still empty of it.

    Raises UserError, before anything else happens, where it cannot be made or written to.
    """
    folder, made = Path(folder), []
    try:
        try:
            for path in (*reversed(folder.parents), folder):
                if not path.is_dir():
                    with contextlib.suppress(FileExistsError):  # another process was faster, or a file is there
                        path.mkdir()
                        made.append(path)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{folder}: cannot be written to ({reason}); choose another folder") from error
        yield folder
    except BaseException:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def file_identity(path: str | Path) -> str:
    """16 hexadecimal digits that tell a file from another one at little cost: of its size, and its first, middle and
    last MB. The last one of a checkpoint holds checksums of all its parts. Of a folder: of all files in it, by name."""
    if os.path.isdir(path):
        files = sorted(file for file in Path(path).rglob("*") if file.is_file())
        listed = "".join(f"{file.relative_to(path).as_posix()} {file_identity(file)}\n" for file in files)
        return hashlib.sha256(listed.encode()).hexdigest()[:16]
    part = 2**20
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.sha256(str(size).encode())
        for start in (0, size // 2 - part // 2, size - part):
            file.seek(max(0, start))
            digest.update(file.read(part))
    return digest.hexdigest()[:16]


def keep_as(path: str | Path, name: str) -> None:
    """Let a file stand under a second name beside it, in place of what stood there. Both names stand for a whole file
    at any moment, and the second one goes on to when the first gets another file."""
    path = Path(path)
    temporary = path.with_name(f".{name}.{secrets.token_hex(4)}")
    try:
        os.link(path, temporary)
        os.replace(temporary, path.with_name(name))
    except OSError as error:
        if error.errno in NO_LINKS:  # of the file system
            write_bytes(path.with_name(name), path.read_bytes())
            return
        raise UserError(f"{path.with_name(name)}: could not be written ({error.strerror}); free some space or choose "
                        "another folder") from error
    finally:
        temporary.unlink(missing_ok=True)  # it is still there when both names stood for the same file


def sweep(folder: str | Path) -> None:
    """Remove what writes that were cut short left in a folder and below."""
    for path in Path(folder).rglob(".*"):
        if TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def check_new(path: str | Path, flag: str, overwrite: bool = False) -> None:
    """Raises UserError for a file that is there already, unless it may be overwritten, and for a folder."""
    if os.path.isdir(path):
        raise UserError(f"{flag} {path}: a folder; name a file in it")
    if not overwrite and os.path.lexists(path):
        raise UserError(f"{flag} {path}: is there already; give another name, or replace it with --overwrite")


def check_writable(folder: str | Path, flag: str) -> None:
    """Raises UserError where a folder can neither be written into nor, if it is not there, be made. Leaves nothing."""
    there = folder = Path(folder)
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        os.rmdir(tempfile.mkdtemp(dir=there, prefix="."))
    except OSError as error:
        raise UserError(f"{flag} {folder}: nothing can be written there ({error.strerror}); give another folder"
                        ) from error
