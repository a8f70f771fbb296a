"""Pictures as people have them, and the order in which training sees them."""

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.data import personalized, personalized_style
from ldm.data.data_module import DataModuleFromConfig, PositionSampler
from ldm.data.personalized import PersonalizedBase
from ldm.data.pictures import open_image
from ldm.errors import UserError
from ldm.modules.embedding_manager import PER_IMAGE_TOKENS


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        Image.new("RGB", (40, 30), (80 * i, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path


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


def test_items(folder):
    data = PersonalizedBase(folder, size=16, repeats=5, placeholder_token="&", flip_p=1.0)
    assert len(data) == 15
    item = data[7]
    assert item["image"].shape == (16, 16, 3) and item["image"].dtype == torch.float32
    assert item["image"].min() >= -1 and item["image"].max() <= 1
    assert "&" in item["caption"] and item["key"].endswith("|mirrored") and item["position"] == 7


def test_mirroring(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255
    Image.fromarray(pixels).save(tmp_path / "half.png")
    plain = PersonalizedBase(tmp_path, flip_p=0.0)[0]["image"]
    mirrored = PersonalizedBase(tmp_path, flip_p=1.0)[0]["image"]
    assert plain[0, 0, 0] == 1 and mirrored[0, 0, 0] == -1
    assert torch.equal(plain.flip(1), mirrored)


def test_every_round_shows_each_picture_once_in_an_order_of_the_seed(folder):
    def order(seed):
        data = PersonalizedBase(folder, size=8, flip_p=0.0, seed=seed)
        return [data[p]["key"] for p in range(30)]

    keys = order(0)
    assert all(len(set(keys[i:i + 3])) == 3 for i in range(0, 30, 3))
    assert len({tuple(keys[i:i + 3]) for i in range(0, 30, 3)}) > 1
    assert keys == order(0) != order(1)


def test_templates_have_their_roles():
    for template in personalized.TEMPLATES + personalized_style.TEMPLATES:
        assert template.count("{}") == 1
    for template in personalized.DUAL_TEMPLATES + personalized_style.DUAL_TEMPLATES:
        assert template.count("{}") == 2
    assert all("style of" in t for t in personalized_style.TEMPLATES)


def test_single_pictures_are_named(folder):
    data = PersonalizedBase(folder, size=8, per_image_tokens=True, mixing_prob=1.0)
    names = {data[p]["key"].split("|")[0]: [t for t in PER_IMAGE_TOKENS if t in data[p]["caption"]] for p in range(9)}
    assert sorted(names.values()) == [[t] for t in sorted(PER_IMAGE_TOKENS[:3])]


def test_class_word_and_centre_crop(tmp_path):
    wide = Image.new("RGB", (60, 20), "black")
    wide.paste("white", (20, 0, 40, 20))
    wide.save(tmp_path / "wide.png")
    item = PersonalizedBase(tmp_path, size=16, center_crop=True, coarse_class_text="dog")[0]
    assert float(item["image"].min()) == 1.0
    assert "dog *" in item["caption"]


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="no such image folder"):
        PersonalizedBase(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match="no pictures in it"):
        PersonalizedBase(tmp_path)
    Image.new("RGB", (50, 50), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(UserError, match="b.png: not a readable picture"):
        PersonalizedBase(tmp_path)
    assert PersonalizedBase(tmp_path, skip_bad_images=True).num_images == 1


class At:
    """A trainer at some step."""

    accumulate_grad_batches = 1

    def __init__(self, global_step=0, global_rank=0, world_size=1):
        self.global_step, self.global_rank, self.world_size = global_step, global_rank, world_size


def test_positions_go_on_where_training_stands():
    whole = list(PositionSampler(At(0), 20, 4)) + list(PositionSampler(At(5), 20, 4))
    assert whole == list(range(40))
    assert list(PositionSampler(At(3), 20, 4)) == list(range(12, 20))
    assert list(PositionSampler(At(8), 20, 4)) == list(range(32, 40))


def test_positions_are_dealt_to_processes():
    first, second = (list(PositionSampler(At(1, rank, 2), 16, 2)) for rank in (0, 1))
    assert first == [4, 6, 8, 10, 12, 14] and second == [5, 7, 9, 11, 13, 15]


def test_data_module(folder):
    target = {"target": "ldm.data.personalized.PersonalizedBase", "params": {"data_root": str(folder), "size": 8}}
    data = DataModuleFromConfig(2, train=target, validation=target)
    data.setup()
    data.trainer = At()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 8, 8, 3) and batch["position"].tolist() == [0, 1]
    assert len(data.val_dataloader()) == 150 and data.test_dataloader() == []


def test_templates_of_the_config(folder):
    data = PersonalizedBase(folder, size=16, templates=["the {} here", "{}"])
    assert {data[p]["caption"] for p in range(40)} == {"the * here", "*"}
    with pytest.raises(UserError, match="no word"):
        PersonalizedBase(folder, size=16, templates=["no word"])
