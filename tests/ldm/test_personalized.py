"""Pictures of a thing with prompts: what an item is, and the order of items."""

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.data import personalized, personalized_style
from ldm.data.personalized import PersonalizedBase
from ldm.errors import UserError
from ldm.modules.embedding_manager import PER_IMAGE_TOKENS


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


def test_templates_of_the_config(folder):
    data = PersonalizedBase(folder, size=16, templates=["the {} here", "{}"])
    assert {data[p]["caption"] for p in range(40)} == {"the * here", "*"}
    with pytest.raises(UserError, match="no word"):
        PersonalizedBase(folder, size=16, templates=["no word"])
