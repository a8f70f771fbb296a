"""What becomes of pictures that are no squares, and what of them is shown at a position."""

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.data.framing import BACKGROUNDS, PLACES, border_colour, frame, make_picture
from ldm.data.personalized import PersonalizedBase
from ldm.errors import UserError

BICUBIC = Image.Resampling.BICUBIC


def stripes(width=120, height=40):
    """Red, green, blue from left to right, a third each."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for i in range(3):
        pixels[:, i * width // 3 : (i + 1) * width // 3, i] = 255
    return Image.fromarray(pixels)


def shown(data, count=60):
    return [data[p]["image"] for p in range(count)]


@pytest.mark.parametrize("size", [(50, 50), (51, 50), (50, 51), (120, 40), (41, 120)])
def test_crop_is_the_middle_pixel_for_pixel(size):
    """As the published code cuts with center_crop: whole pixels, the odd one lost on the right and below."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8))
    side = min(size)
    top, left = (size[1] - side) // 2, (size[0] - side) // 2
    expected = np.asarray(image)[top : top + side, left : left + side]
    assert np.array_equal(np.asarray(frame(image, None, "crop", BICUBIC)), expected)
    assert np.array_equal(np.asarray(frame(image, 16, "crop", BICUBIC)),
                          np.asarray(Image.fromarray(expected).resize((16, 16), BICUBIC)))


@pytest.mark.parametrize("fit", ["crop", "pad", "random", "squeeze"])
def test_a_square_is_the_same_however_it_is_fitted(fit):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (70, 70, 3), np.uint8))
    picture = make_picture("a.png", image, None, 32, fit, BICUBIC)
    assert np.array_equal(picture.pixels, np.asarray(image.resize((32, 32), BICUBIC)))
    assert picture.places == ((0, 0),) and picture.mask is None


def test_padding_has_the_colour_of_the_border_and_does_not_count(tmp_path):
    image = Image.new("RGB", (64, 32), (10, 200, 30))
    image.paste((250, 0, 0), (20, 8, 44, 24))
    image.save(tmp_path / "a.png")
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "b.png")
    data = PersonalizedBase(tmp_path, size=64, fit="pad", flip_p=0)
    items = {item["key"].split("|")[0][-5:]: item for item in map(data.__getitem__, range(2))}
    pixels = (items["a.png"]["image"] + 1) * 127.5
    assert torch.allclose(pixels[0, 0], torch.tensor([10.0, 200, 30]), atol=1e-3) and pixels.shape == (64, 64, 3)
    assert torch.allclose(pixels[32, 32], torch.tensor([250.0, 0, 0]), atol=1e-3)
    mask = items["a.png"]["mask"]
    assert mask[16:48].min() == 1 and mask[:16].max() == mask[48:].max() == 0
    assert items["b.png"]["mask"].min() == 1, "a square counts wholly"
    assert border_colour(np.asarray(image)) == (10, 200, 30)


def test_random_places_reach_both_ends_and_are_a_function_of_seed_and_position(tmp_path):
    stripes().save(tmp_path / "a.png")

    def made(seed):
        return PersonalizedBase(tmp_path, size=16, fit="random", flip_p=0.0, seed=seed)

    items = [made(0)[p] for p in range(100)]
    views = {item["key"]: item["image"] for item in items}
    assert 4 < len(views) <= PLACES
    assert all(item["image"].shape == (16, 16, 3) and torch.equal(item["image"], views[item["key"]]) for item in items)
    red, blue = (torch.stack([image[:, :, channel] for image in views.values()]).mean(dim=(1, 2)) for channel in (0, 2))
    assert red.max() > 0.9 and blue.max() > 0.9, "from one end to the other"
    assert [made(0)[p]["key"] for p in (70, 3)] == [items[p]["key"] for p in (70, 3)]
    assert [made(1)[p]["key"] for p in range(20)] != [i["key"] for i in items[:20]]


def test_random_and_mirroring_are_drawn_apart(tmp_path):
    stripes().save(tmp_path / "a.png")
    keys = {PersonalizedBase(tmp_path, size=16, fit="random", flip_p=0.5)[p]["key"] for p in range(200)}
    assert PLACES < len(keys) <= 2 * PLACES


@pytest.mark.parametrize("fit", ["pad", "random"])
@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
def test_a_strip_takes_no_more_memory_than_a_picture(fit, size):
    picture = make_picture("a.png", Image.new("RGB", size, "red"), None, 64, fit, BICUBIC)
    assert picture.pixels.size <= 3 * 16 * 64 * 64
    assert picture.view()[0].shape == (64, 64, 3)


def test_masks_go_where_pictures_go(tmp_path):
    """The mask says where the picture is green, and still does when both are cut, mirrored and scaled."""
    image = Image.new("RGB", (120, 40), (255, 0, 0))
    image.paste((0, 255, 0), (30, 8, 66, 32))
    image.save(tmp_path / "a.png")
    image.getchannel("G").save(tmp_path / "a.mask.png")
    for fit in ("crop", "pad", "random", "squeeze"):
        data = PersonalizedBase(tmp_path, size=40, fit=fit, flip_p=0.5, interpolation="linear")
        for p in range(40):
            item = data[p]
            green = (item["image"][..., 1] + 1) / 2
            assert torch.allclose(green, item["mask"], atol=0.02), (fit, p)


def test_places_without_the_thing_are_not_shown(tmp_path):
    image = stripes(200, 20)
    image.save(tmp_path / "a.png")
    mask = Image.new("L", image.size)
    mask.paste(255, (160, 0, 180, 20))
    mask.save(tmp_path / "a.mask.png")
    data = PersonalizedBase(tmp_path, size=20, fit="random")
    assert min(float(data[p]["mask"].sum()) for p in range(100)) > 0.4 * 20 * 20 * 0.5
    with pytest.raises(UserError, match="a.png: its mask leaves nothing of what is shown.*--fit pad"):
        PersonalizedBase(tmp_path, size=20, fit="crop")


def test_backgrounds_vary_under_an_alpha_channel(tmp_path):
    image = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    image.paste((9, 99, 199, 255), (8, 8, 24, 24))
    image.save(tmp_path / "a.png")
    data = PersonalizedBase(tmp_path, size=32, mask="alpha", flip_p=0)
    items = [data[p] for p in range(80)]
    corners = {tuple(((item["image"][0, 0] + 1) * 127.5).round().int().tolist()) for item in items}
    assert corners == set(BACKGROUNDS)
    assert len({item["key"] for item in items}) == len(BACKGROUNDS), "and the cache knows"
    thing = torch.stack([item["image"][16, 16] for item in items])
    assert torch.equal(thing, thing[:1].expand_as(thing))
    assert items[0]["mask"][0, 0] == 0 and items[0]["mask"][16, 16] == 1
    assert torch.equal(data[7]["image"], PersonalizedBase(tmp_path, size=32, mask="alpha", flip_p=0)[7]["image"])
    plain = PersonalizedBase(tmp_path, size=32, flip_p=0)[0]
    assert plain["image"][0, 0].min() == 1 and "mask" not in plain, "by default transparency is white"


def test_without_chance_the_first_view(tmp_path):
    stripes().save(tmp_path / "a.png")
    data = PersonalizedBase(tmp_path, size=16, fit="random")
    assert data.images[0].shape == (16, 16, 3) and data.images[0][:, :, 0].min() > 200
    assert np.array_equal(data.pictures[0].view()[0], data.images[0])


@pytest.mark.parametrize("parameters, fit", [
    ({}, "squeeze"), ({"center_crop": True}, "crop"), ({"center_crop": True, "fit": "pad"}, "pad"),
    ({"fit": "crop"}, "crop"), ({"fit": "random", "size": None}, "squeeze"),
    ({"center_crop": True, "size": None, "fit": "pad"}, "crop")])
def test_which_way_of_fitting_counts(folder, parameters, fit):
    """The published default squeezes; `fit` overrules center_crop; without a size pictures are not scaled."""
    assert PersonalizedBase(folder, **{"size": 16} | parameters).fit == fit
