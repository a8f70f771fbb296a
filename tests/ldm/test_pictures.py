"""Pictures as people have them, and as they are arranged and written."""

import pytest
import torch
from PIL import Image

from ldm.data.pictures import open_image, save_grid, to_image


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
