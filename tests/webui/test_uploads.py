"""Pictures that are brought to learn from: their bounds, their squares, and what is said of them."""

import struct
import typing
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from ldm.data.pictures import open_image
from ldm.data.subject import detail, square_around, subject_box
from ldm.data.summary import Fault, find_faults
from ldm.errors import UserError
from tests.conftest import ROOT
from training.config import training_set
from webui.uploads import ADVICE, advice, for_browser, move, squares, take

CONFIG = ROOT / "configs/emoji/finetune.yaml"


def photo(size=(400, 300), box=(240, 40, 320, 120), background="tan"):
    """A red thing before a plain background."""
    image = Image.new("RGB", size, background)
    ImageDraw.Draw(image).ellipse(box, fill="red")
    return image


def test_a_picture_is_turned_upright_and_its_square_is_around_the_thing(tmp_path):
    image = photo()
    exif = image.getexif()
    exif[0x112] = 6  # to be turned by 90 degrees to the right
    image.save(tmp_path / "a.jpg", exif=exif)
    upload = take(tmp_path / "a.jpg", "../../my photo.jpg", tmp_path / "own")
    assert upload.name == "my photo.jpg" and upload.size == (300, 400) and upload.file.parent == tmp_path / "own"
    left, upper, side = upload.square
    assert abs(side - 120) <= 10
    assert abs(left + side / 2 - 220) <= 5 and abs(upper + side / 2 - 280) <= 5
    squares([upload], tmp_path / "cut")
    assert Image.open(tmp_path / "cut/01.png").size == (side, side)


def test_the_square_stays_inside_and_is_the_middle_where_nothing_tells_the_thing():
    assert square_around(photo(box=(0, 0, 200, 200))) == (0, 0, 300)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8))
    assert subject_box(noise) is None and square_around(noise) == (35, 0, 90)
    cut_out = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    cut_out.paste((10, 20, 30, 255), (40, 40, 60, 60))
    assert subject_box(cut_out) == (40, 40, 60, 60) and square_around(cut_out) == (35, 35, 30)


@pytest.mark.parametrize(("asked", "got"), [((-50, -50, 100), (0, 0, 100)), ((390, 290, 50), (350, 250, 50)),
                                            ((0, 0, 1e9), (0, 0, 300)), ((10.4, 9.6, 1), (10, 10, 16))])
def test_a_square_that_is_moved_stays_in_the_picture(tmp_path, asked, got):
    photo().save(tmp_path / "a.png")
    upload = take(tmp_path / "a.png", "a.png", tmp_path / "own")
    assert move(upload, *asked).square == got
    for wrong in ("x", None, float("nan"), float("inf"), [1]):
        with pytest.raises(UserError):
            move(upload, wrong, 0, 10)


def huge_png(width, height):
    """A PNG that says it is large, and holds nothing."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))


def test_what_is_too_large_or_no_picture_is_refused_by_its_own_name(tmp_path, monkeypatch):
    (tmp_path / "1").write_bytes(huge_png(10_000, 10_000))
    (tmp_path / "2").write_bytes(b"<html>")
    photo((8, 8), (2, 2, 4, 4)).save(tmp_path / "3", "PNG")
    for name, words in (("1", "million pixels"), ("2", "not a readable picture"), ("3", "too little")):
        with pytest.raises(UserError, match=words) as error:
            take(tmp_path / name, "mine.png", tmp_path / "own")
        assert str(tmp_path) not in str(error.value) and "mine.png" in str(error.value)
    monkeypatch.setattr("webui.uploads.MOST_BYTES", 10)
    with pytest.raises(UserError, match="larger than"):
        take(tmp_path / "1", "mine.png", tmp_path / "own")


def test_transparency_is_kept(tmp_path):
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((200, 10, 10, 255), (16, 16, 48, 48))
    image.save(tmp_path / "a.png")
    upload = take(tmp_path / "a.png", "a.png", tmp_path / "own")
    squares([upload], tmp_path / "cut")
    assert open_image(tmp_path / "cut/01.png", background=None).mode == "RGBA"
    assert for_browser(upload)["src"].startswith("data:image/jpeg;base64,")


def test_the_page_has_words_for_every_fault_that_the_command_finds(tmp_path):
    kinds = typing.get_args(typing.get_type_hints(Fault)["kind"])
    assert set(ADVICE) == set(kinds)
    images = {"blurred.png": photo((256, 256), (40, 40, 216, 216)).filter(ImageFilter.GaussianBlur(24)),
              "tiny.png": photo((256, 256), (110, 110, 150, 150))}
    uploads = []
    for name, image in images.items():
        image.save(tmp_path / name)
        upload = take(tmp_path / name, name, tmp_path / "own")
        uploads.append(move(upload, 0, 0, 256))
    squares(uploads, tmp_path / "cut")
    faults = list(find_faults(training_set([CONFIG], tmp_path / "cut")))
    assert [fault.kind for fault in faults] == ["few", "background", "tiny", "blurred"]
    lines = advice(faults, uploads)
    assert lines[2].startswith("tiny.png: the thing is small") and lines[3].startswith("blurred.png: blurred")


def test_the_pictures_of_the_project_are_good():
    for concept in ("green_apple", "flamingo", "bagel"):
        assert list(find_faults(training_set([CONFIG], ROOT / "dataset" / concept))) == []


def test_detail_is_high_for_noise_and_low_for_what_was_enlarged():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    small = Image.fromarray(noise[:8, :8]).resize((64, 64), Image.Resampling.BICUBIC)
    assert detail(noise) > 0.5 and detail(np.asarray(small)) < 0.04
    assert detail(np.full((64, 64, 3), 7, np.uint8)) == 1.0
