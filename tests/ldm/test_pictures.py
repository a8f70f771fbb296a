"""Pictures as people have them, and as they are arranged and written."""

import io

import pytest
import torch
import torchvision.utils
from PIL import Image

from ldm.data.pictures import (
    contact_sheet,
    find_images,
    grid,
    open_image,
    open_images,
    save_grid,
    save_image,
    titled_columns,
    to_image,
    to_images,
)
from ldm.errors import UserError
from tests.conftest import pixels


def test_phone_pictures_come_out_upright(tmp_path):
    stored = Image.new("RGB", (40, 20), "black")
    stored.paste("white", (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter
    stored.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    image = open_image(tmp_path / "phone.jpg")
    assert image.size == (20, 40)
    assert image.getpixel((10, 2))[0] > 200 > 50 > image.getpixel((10, 37))[0]


@pytest.mark.parametrize("mode, colour, expected", [
    ("RGBA", (255, 0, 0, 0), (255, 255, 255)), ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
    ("LA", (0, 0), (255, 255, 255)), ("L", 100, (100, 100, 100)), ("I;16", 25700, (100, 100, 100)),
    ("1", 1, (255, 255, 255))])
def test_png_modes_become_rgb(tmp_path, mode, colour, expected):
    Image.new(mode, (4, 4), colour).save(tmp_path / "picture.png")
    image = open_image(tmp_path / "picture.png")
    assert image.mode == "RGB" and image.getpixel((1, 1)) == expected


def test_palette_with_transparency_and_cmyk(tmp_path):
    Image.new("P", (4, 4), 0).save(tmp_path / "p.png", transparency=0)
    assert open_image(tmp_path / "p.png").getpixel((1, 1)) == (255, 255, 255)
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=95)
    red, green, blue = open_image(tmp_path / "c.jpg").getpixel((1, 1))
    assert red > 200 and green < 60 and blue < 60


def test_a_grid_holds_the_pictures(tmp_path):
    pictures = torch.stack([torch.full((3, 8, 8), v) for v in (-1.0, 0.0, 1.0, 5.0)])
    save_grid(pictures, tmp_path / "grid.png", columns=2)
    image = Image.open(tmp_path / "grid.png")
    assert image.size == (22, 22)
    assert [image.getpixel(p)[0] for p in ((5, 5), (15, 5), (5, 15), (15, 15))] == [0, 128, 255, 255]
    assert to_image(pictures[0]).size == (8, 8)


@pytest.mark.parametrize("count, columns", [(1, 1), (1, 4), (2, 4), (3, 2), (4, 2), (4, 4), (5, 4), (7, 3), (6, 1)])
def test_a_grid_is_torchvisions(count, columns):
    pictures = torch.rand(count, 3, 6, 9) * 2 - 1
    expected = torchvision.utils.make_grid(pictures, nrow=columns, padding=2, pad_value=1.0)
    if count == 1:  # of one picture torchvision makes no grid
        expected = torch.nn.functional.pad(pictures[0], (2, 2, 2, 2), value=1.0)
    assert torch.equal(grid(pictures, columns), expected)


def test_a_grid_takes_what_a_network_gives():
    pictures = torch.tensor([-3.0, 0.0, 3.0]).reshape(3, 1, 1, 1).expand(3, 3, 4, 4).to(torch.bfloat16)
    result = grid(pictures, 3)
    assert result.dtype == torch.float32 and result.min() == -1 and result.max() == 1


def test_numbers_to_bytes():
    values = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    assert pixels(to_image(values.expand(3, 1, 7)))[0, :, 0].tolist() == [0, 0, 64, 128, 191, 255, 255]
    channels = torch.tensor([1.0, 0.0, -1.0])[:, None, None].expand(3, 2, 5)
    image = to_image(channels)
    assert image.size == (5, 2) and image.getpixel((4, 1)) == (255, 128, 0)
    assert [i.getpixel((0, 0)) for i in to_images(torch.stack([channels, -channels]))] == [(255, 128, 0), (0, 128, 255)]


def test_every_picture_of_a_contact_sheet_is_under_its_title():
    red, blue, tall = (Image.new("RGB", size, colour) for size, colour in
                       (((30, 30), "red"), ((50, 50), "blue"), ((20, 60), "lime")))
    sheet = contact_sheet([("one", [red]), ("two", [blue, tall, red])], side=40)
    assert sheet.size == (3 * 44 + 4, 2 * 66)
    for (x, y), colour in {(4, 22): "red", (43, 61): "red", (4, 88): "blue", (48, 88): "lime", (87, 127): "lime",
                           (92, 88): "red", (48, 40): "white", (44, 22): "white", (3, 22): "white"}.items():
        assert sheet.getpixel((x, y)) == Image.new("RGB", (1, 1), colour).getpixel((0, 0)), (x, y)
    strip = [pixels(sheet)[top + 3 : top + 20].min() for top in (0, 66)]
    assert max(strip) < 100, "a title is written over each row"
    plain = contact_sheet([("", [red]), ("", [blue, tall, red])], side=40)
    assert torch.equal(pixels(plain)[22:62], pixels(sheet)[22:62]), "titles do not reach into pictures"


def test_columns_hold_pictures_or_words():
    red, blue = Image.new("RGB", (10, 10), "red"), Image.new("RGB", (10, 10), "blue")
    sheet = titled_columns(["first", "second"], [[red, "words"], [blue, red]], side=20, head=30)
    assert sheet.size == (2 * 24, 30 + 2 * 24)
    assert sheet.getpixel((0, 30)) == sheet.getpixel((43, 73)) == (255, 0, 0) and sheet.getpixel((0, 54)) == (0, 0, 255)
    assert sheet.getpixel((20, 30)) == (255, 255, 255), "a gap between columns"
    assert pixels(sheet)[30:54, 24:].min() < 100 < pixels(sheet)[30:54, 20:24].min(), "words where a picture would be"


def test_a_picture_is_written_whole_with_what_goes_with_it(tmp_path):
    from PIL.PngImagePlugin import PngInfo
    info = PngInfo()
    info.add_itxt("parameters", "빨간 사과\nSeed: 1")
    save_image(Image.new("RGB", (3, 5), "red"), tmp_path / "new folder" / "a.png", pnginfo=info)
    with Image.open(tmp_path / "new folder" / "a.png") as image:
        assert image.format == "PNG" and image.size == (3, 5) and image.text["parameters"] == "빨간 사과\nSeed: 1"


def test_a_folders_pictures_by_name(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    for name in ("b.PNG", "a.jpg", ".hidden.png", "c.webp"):
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4), "red").save(buffer, "PNG")
        (tmp_path / name).write_bytes(buffer.getvalue())
    assert [p.name for p in find_images(tmp_path)] == ["a.jpg", "b.PNG", "c.webp"]
    assert [i.size for i in open_images(tmp_path)] == [(4, 4)] * 3


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a\x01"])
def test_files_that_are_no_pictures_are_named(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(UserError, match="bad.png: not a readable picture"):
        open_image(tmp_path / "bad.png")
