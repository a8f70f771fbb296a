"""Writing files: whole or not at all."""

import os
import tempfile
from pathlib import Path

from ldm.errors import UserError


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
