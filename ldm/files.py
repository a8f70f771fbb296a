"""Writing files: whole or not at all."""

import errno
import os
import re
import secrets
import tempfile
from pathlib import Path

from ldm.errors import UserError

TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}|\.last\.ckpt")  # the second: of earlier versions
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
