"""What a file is, whatever it is called."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from ldm.errors import UserError
from ldm.filetypes import HEAD, check_regular, shown, tensor_format
from ldm.serialization import read_tensors, write_tensors


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, kind)
    return buffer.getvalue()


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        zipfile.ZipFile(buffer, "w").close()
    else:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


def array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    return buffer.getvalue()


OTHERS = {
    "PNG picture": picture("PNG"), "JPEG picture": picture("JPEG"), "GIF picture": picture("GIF"),
    "WebP picture": picture("WEBP"), "a picture or a film": b"\0\0\0\x1cftypheic" + bytes(20), "PDF": b"%PDF-1.7\n\xff",
    "gzip archive.*unpack": gzip.compress(b"x"), "bzip2 archive.*unpack": bz2.compress(b"x"),
    "xz archive.*unpack": lzma.compress(b"x"), "Zstandard": b"\x28\xb5\x2f\xfd\0\0", "7-Zip": b"7z\xbc\xaf\x27\x1c\0\4",
    "RAR": b"Rar!\x1a\x07\x00", "tar archive.*unpack": archive("tar"), "an empty zip archive": archive("zip"),
    "HDF5": b"\x89HDF\r\n\x1a\n", "NumPy array": array(), "GGUF": b"GGUF\3\0\0\0", "a program": b"\x7fELF\2\1\1",
    "program": b"MZ\x90\0\3", "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "web page": b"<!DOCTYPE html>\n<title>404</title>",
    "a web page": b'\xef\xbb\xbf \n<?xml version="1.0"?>\n<HTML></HTML>',
    "text, not a checkpoint": "안녕, learned words\n".encode(), "an empty file": b"",
    "cut short .content of no known kind": bytes(range(1, 200)), "of no known kind": b"words\x01and more",
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_checkpoint_is_called_by_its_name(tmp_path, what):
    (tmp_path / "model.ckpt").write_bytes(OTHERS[what])
    with pytest.raises(UserError, match=f"model.ckpt: .*{what}"):
        tensor_format(tmp_path / "model.ckpt")


@pytest.mark.parametrize("cut", range(4))
def test_a_letter_cut_in_two_is_no_fault_of_a_text(tmp_path, cut):
    (tmp_path / "a.pt").write_bytes(b"a" * (HEAD - cut) + "한글".encode() * 9)
    with pytest.raises(UserError, match="text, not a checkpoint"):
        tensor_format(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes(b"a" * 20 + b"\xff" + b"a" * HEAD)
    with pytest.raises(UserError, match="of no known kind"):
        tensor_format(tmp_path / "a.pt")


def test_tensors_are_known_by_their_content(tmp_path):
    tensors = {name: torch.ones(3) for name in ("one", "two", "three")}
    torch.save(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "b.safetensors", _use_new_zipfile_serialization=False)
    torch.save(tensors, tmp_path / "c", _use_new_zipfile_serialization=False, pickle_protocol=0)
    (tmp_path / "d.ckpt").write_bytes(safetensors.torch.save(tensors))
    assert [tensor_format(tmp_path / n) for n in ("a.safetensors", "b.safetensors", "c", "d.ckpt")] == [
        "zip", "pickle", "pickle", "safetensors"]
    (tmp_path / "e").write_bytes((2**32).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError):
        tensor_format(tmp_path / "e")


def test_paths_that_lead_to_no_file_are_not_opened(tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, match in (("none", "none: no such file$"), ("file/below", "below: no such file$"), (".", "but a folder"),
                        ("pipe", "a pipe or a"), ("loop", "Too many levels"), ("nul\0", "no file can be")):
        with pytest.raises(UserError, match=match):
            check_regular(f"{tmp_path}/{name}")
    with pytest.raises(UserError, match="a pipe or a device"):
        check_regular("/dev/null")
    for name, match in (("none", "no such file"), (".", "but a folder"), ("pipe", "a pipe or a device")):
        with pytest.raises(UserError, match=match):
            tensor_format(tmp_path / name)
    check_regular(tmp_path / "file")
    (tmp_path / "link").symlink_to("file")
    check_regular(str(tmp_path / "link"))


def test_what_is_shown_of_a_stranger_cannot_move_the_cursor():
    assert shown("빨간 apple") == "빨간 apple" and shown(3) == "3"
    assert shown("a\x1b[2J\n\rb") == r"a\x1b[2J\n\rb"
    assert shown("x" * 80) == "x" * 80 and shown("x" * 81) == "x" * 80 + "..." and shown("abcd", 3) == "abc..."


def test_safetensors_whose_length_begins_as_a_pickle_does_are_safetensors(tmp_path):
    words = {"*": torch.rand(1, 192), "&": torch.rand(1, 192)}
    write_tensors(tmp_path / "words.safetensors", words)
    assert (tmp_path / "words.safetensors").read_bytes().startswith(b"\x80\0")
    assert read_tensors(tmp_path / "words.safetensors").keys() == words.keys()
