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


def test_folders_are_made_and_everybody_may_read_the_file(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "file.pt", b"new")
    assert (tmp_path / "a" / "b" / "file.pt").read_bytes() == b"new"
    assert (tmp_path / "a" / "b" / "file.pt").stat().st_mode & 0o777 == 0o644
    write_bytes(str(tmp_path / "a" / "b" / "file.pt"), b"newer")
    assert os.listdir(tmp_path / "a" / "b") == ["file.pt"]


def test_a_file_gets_its_name_when_all_of_it_is_on_disk(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(("on disk", os.fstat(fd).st_size)), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(("named", os.stat(a).st_size)), replace(a, b)))
    write_bytes(tmp_path / "file", b"12345")
    assert events == [("on disk", 5), ("named", 5)]


def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="taken/file.pt: could not be written"):
        write_bytes(tmp_path / "taken" / "file.pt", b"")
