"""Pictures of strangers: read right, or refused in one line, whatever is in the folder."""

import contextlib
import io
import os
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

import train_new
import training.learn
from benchmarks.faults.pictures import bad_files, damaged, encoded, good_files, read_picture, reference
from ldm.data import pictures
from ldm.data.data_module import DataModuleFromConfig
from ldm.data.personalized import PersonalizedBase
from ldm.data.pictures import find_images, list_images, open_image, open_images
from ldm.errors import UserError
from tests.conftest import assert_one_line_error, run_main
from tests.runs import flags

GOOD, BAD = list(good_files()), list(bad_files())


def refused(path) -> str:
    with pytest.raises(UserError) as error:
        open_image(path)
    (line,) = str(error.value).splitlines()
    return line


@pytest.mark.parametrize("file", GOOD, ids=[name for name, *_ in GOOD])
def test_every_format_and_mode_is_read_right(file):
    assert read_picture("good", *file) == ""


@pytest.mark.parametrize("file", BAD, ids=[ascii(name) for name, _ in BAD])
def test_what_is_no_picture_is_refused_in_one_line(file):
    assert read_picture("bad", *file, None, 0) == ""


def test_formats_that_people_have_are_among_them():
    suffixes = {name.rpartition(".")[2] for name, *_ in GOOD}
    assert {"jpg", "JPEG", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "jp2", "avif", "heic"} <= suffixes


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from(GOOD))
def test_damage_is_one_line_or_a_picture(seed, file):
    name, content, pixels, off = file
    kind, content = damaged(random.Random(seed), content)
    assert read_picture(kind, name, content, pixels, off) == ""


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(["F", "I", "I;16"]), st.lists(st.floats(width=32), min_size=1, max_size=9))
def test_numbers_are_scaled_or_refused(tmp_path_factory, mode, numbers):
    """Never a picture that is black, white or wrapped where the file's is not."""
    with np.errstate(all="ignore"):
        kind = {"F": np.float32, "I": np.int32, "I;16": np.uint16}[mode]
        values = np.nan_to_num(np.array([numbers]), nan=np.nan if mode == "F" else 0).astype(kind)
    file = tmp_path_factory.mktemp("numbers") / "a.tif"
    file.write_bytes(encoded(Image.fromarray(values), "TIFF"))
    low, high = values.min(), values.max()
    top = {"F": 1, "I;16": 65535}.get(mode, 255 if high <= 255 else 65535)
    if 0 <= low <= high <= top:
        expected = np.asarray(values, np.float64) / top * 255
        assert np.abs(np.asarray(open_image(file))[..., 0] - expected).max() <= 0.5001
    else:
        assert "its numbers go from" in refused(file)


def test_twelve_bits(tmp_path):
    """As scanners and microscopes write them, two pixels in three bytes; Pillow does not."""
    entries = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    table = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in entries)
    pixels = bytes([0xFF, 0xF8, 0x00])  # 4095, 2048
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHI", b"II", 42, 12) + pixels + b"\0" + struct.pack(
        "<H", len(entries)) + table + bytes(4))
    assert np.asarray(open_image(tmp_path / "a.tif"))[0, :, 0].tolist() == [255, 128]


def test_whoever_has_no_reader_for_heic_is_told(tmp_path, monkeypatch):
    rgb = io.BytesIO()
    assert pictures._has_heif()
    reference().save(rgb, "HEIF")
    (tmp_path / "a.heic").write_bytes(rgb.getvalue())
    assert open_image(tmp_path / "a.heic").size == reference().size
    monkeypatch.setattr(pictures, "_has_heif", lambda: False)
    assert refused(tmp_path / "a.heic") == f"{tmp_path / 'a.heic'}: HEIC; pip install pillow-heif, or save it as JPEG"
    with pytest.raises(UserError, match="pillow-heif.* or go on without it"):
        PersonalizedBase(tmp_path)


def test_what_is_left_out_is_named(tmp_path, capsys):
    for name in ("1.jfif", "2.JPE", "3", "4.data"):
        (tmp_path / name).write_bytes(encoded(reference(), "JPEG"))
    for name in ("notes.txt", "BM.txt", "eps.eps", "raw.nef", ".hidden"):
        (tmp_path / name).write_bytes({"BM.txt": b"BMW " * 99, "raw.nef": encoded(reference(), "TIFF")}.get(
            name, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"))
    (tmp_path / "sub.png").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "nowhere.png").symlink_to("none")
    (tmp_path / "5 link.png").symlink_to("3")
    paths, left_out = list_images(tmp_path)
    assert [p.name for p in paths] == ["1.jfif", "2.JPE", "3", "4.data", "5 link.png"]
    assert find_images(tmp_path) == paths
    assert left_out == ["BM.txt", "device.png", "eps.eps", "loop.png", "notes.txt", "nowhere.png", "pipe.jpg",
                        "raw.nef (camera raw: save it as JPEG)", "sub.png/"]
    said = ", ".join(f"{name} (unused text)" if name.endswith(".txt") else name for name in left_out)
    assert PersonalizedBase(tmp_path).summary.splitlines()[0] == f"5 pictures from {tmp_path}; left out: {said}"
    assert len(open_images(tmp_path)) == 5 and "left out: BM.txt, device.png" in capsys.readouterr().err
    for name in ("pipe.jpg", "device.png", "loop.png", "sub.png", "none.png"):
        assert name in refused(tmp_path / name)


def test_the_number_is_said_once_when_learning_starts(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.png").write_bytes(encoded(reference(), "PNG"))
    (tmp_path / "data/b\nc.txt").write_text("")
    arguments = flags(tmp_path / "logs")
    arguments = [tmp_path / "data" if before == "--data_root" else a
                 for before, a in zip(["", *arguments], arguments, strict=False)]
    result = run_main(train_new.main, *arguments)
    assert result.status == 0, result.err
    assert result.err.count(f"1 picture from {tmp_path / 'data'}; left out: b\\nc.txt (unused text)\n") == 1, result.err


@pytest.mark.parametrize("error", [RuntimeError("decoder"), MemoryError(), AssertionError(), RecursionError("deep"),
                                   ZeroDivisionError("x"), ValueError("two\nlines"), OSError(5, "Input/output error"),
                                   PermissionError(13, "Permission denied"), KeyError(3)])
def test_whatever_a_decoder_raises_is_one_line_and_can_be_left_out(folder, monkeypatch, error, capsys):
    load = ImageFile.ImageFile.load

    def broken(image, *args):
        if getattr(image, "filename", "").endswith("1.png"):
            raise error
        return load(image, *args)

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", broken)
    assert "1.png: not a readable picture (" in refused(folder / "1.png")
    data = PersonalizedBase(folder, skip_bad_images=True)
    assert [p.name for p in data.image_paths] == ["0.png", "2.png"]
    assert data.summary.splitlines()[0].endswith("left out: 1.png")
    assert "left out: " in capsys.readouterr().err


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.iterdir", forbidden)
    with pytest.raises(UserError, match="Permission denied"):
        find_images(tmp_path)


def test_several_pictures_in_a_file_are_said(tmp_path, capsys):
    black = Image.new("RGB", (32, 32))
    (tmp_path / "a.gif").write_bytes(encoded(reference(), "GIF", save_all=True, append_images=[black]))
    open_image(tmp_path / "a.gif")
    open_image(tmp_path / "a.gif")
    assert capsys.readouterr().err == f"{tmp_path / 'a.gif'}: holds several pictures; the first is taken\n"


def test_metadata_that_cannot_be_read_does_not_cost_the_picture(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(reference(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\x12" * 40))
    assert open_image(tmp_path / "a.jpg").size == reference().size


@pytest.mark.parametrize("sizes, batch, words", [
    ([(32, 32), (64, 32)], 4, ["0.png has 32 x 32 pixels and", "1.png has 64 x 32", "params.size"]),
    ([(40, 32)], 1, ["0.png comes to 40 x 32 pixels", "multiples of 16"]), ([(16, 1)], 4, ["16 x 1"]),
    ([(32, 32), (64, 32)], 1, []), ([(32, 64)] * 3, 4, [])])
def test_sizes_that_a_batch_or_the_network_cannot_take(tmp_path, sizes, batch, words):
    for i, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{i}.png")
    data = DataModuleFromConfig(batch, train={"target": "ldm.data.personalized.PersonalizedBase",
                                              "params": {"data_root": str(tmp_path)}})
    data.setup()
    with pytest.raises(UserError) if words else contextlib.nullcontext() as error:
        data.check_sizes(16)
    assert all(word in str(error.value) for word in words) if words else True


def test_sizes_are_looked_at_before_the_model_is_loaded(tmp_path, monkeypatch):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(training.learn, "load_model_from_config", None)
    arguments = flags(tmp_path / "logs")
    arguments = [tmp_path if before == "--data_root" else a
                 for before, a in zip(["", *arguments], arguments, strict=False)]
    result = run_main(train_new.main, *arguments, "data.params.train.params.size=null")
    assert_one_line_error(result, "a.png comes to 40 x 40 pixels")
    assert not (tmp_path / "logs").exists()


def test_the_key_of_a_picture_knows_all_that_made_it(folder):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(folder / "0.png")

    def keys(**changes):
        data = PersonalizedBase(folder, **{"size": 16, "flip_p": 0.0} | changes)
        return {item["key"] for item in map(data.__getitem__, range(3))}

    made = [keys(), keys(interpolation="lanczos"), keys(interpolation="linear"), keys(size=32), keys(center_crop=True),
            keys(flip_p=1.0)]
    (folder / "0.png").write_bytes((folder / "1.png").read_bytes())
    made.append(keys())
    first = [{key for key in k if "0.png" in key} for k in made]
    assert len(set.union(*first)) == len(made)
    assert keys() == keys(seed=3)
