"""Files are written whole or not at all."""

import os
import resource
import signal

import pytest

from ldm.errors import UserError
from ldm.files import write_bytes


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "kept.pt"
    write_bytes(file, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as if the disk were full
    try:
        with pytest.raises(UserError, match="could not be written"):
            write_bytes(file, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["kept.pt"]
