"""Files are written whole or not at all."""

import errno
import os
import resource
import signal
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm.errors import UserError
from ldm.files import check_writable, keep_as, sweep, write_bytes


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


def test_a_second_name_goes_on_to_what_the_first_gets(tmp_path, monkeypatch):
    for links in (True, False):
        if not links:  # as on file systems without them
            monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "not here")))
        write_bytes(tmp_path / "last", b"1")
        keep_as(tmp_path / "last", "before")
        keep_as(tmp_path / "last", "before")  # killed in between: both names stand for the same file
        write_bytes(tmp_path / "last", b"2")
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"last": b"2", "before": b"1"}


def test_leftovers_are_swept_and_nothing_else(tmp_path):
    (tmp_path / "sub").mkdir()
    left = [tmp_path / ".a.pt.abcd1234", tmp_path / "sub/.b.png.x_y0z1w2", tmp_path / ".last.ckpt"]
    kept = [tmp_path / "a.pt", tmp_path / "sub/.hidden", tmp_path / ".a.pt", tmp_path / "sub/b.abcd1234"]
    for path in left + kept:
        path.write_bytes(b"")
    sweep(tmp_path)
    assert not any(p.exists() for p in left) and all(p.exists() for p in kept)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=40))
def test_whatever_a_file_is_called_what_a_killed_write_leaves_is_swept(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("folder")
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    os.close(descriptor)
    sweep(folder)
    assert not os.path.exists(temporary)


def test_a_folder_is_tried_and_left_as_it_was(tmp_path):
    check_writable(tmp_path / "a/b/c", "--logdir")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/logs", "/proc/none"):
        with pytest.raises(UserError, match="--logdir .*nothing can be written there"):
            check_writable(folder, "--logdir")
