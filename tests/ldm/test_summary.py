"""What is said of pictures before they are learned."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ldm.data.personalized import PersonalizedBase
from tests.conftest import ROOT


def advice(folder, **parameters):
    lines = PersonalizedBase(folder, **{"size": 32, "fit": "crop"} | parameters).summary.splitlines()
    return [line for line in lines if line.startswith(("advice: ", "warning: "))]


def photographs(folder, backgrounds, noise=0):
    """A disc, elsewhere and of another size each time, on backgrounds of such colours; "noise" for none that is
    plain."""
    rng = np.random.default_rng(0)
    for i, colour in enumerate(backgrounds):
        pixels = rng.integers(0, 255, (64, 64, 3)) if colour == "noise" else np.full((64, 64, 3), colour)
        pixels = pixels + rng.integers(-noise, noise + 1, pixels.shape)
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        ImageDraw.Draw(image).ellipse((8 + i, 8, 40 + 2 * i, 44), fill="red")
        image.save(folder / f"{i}.png")


@pytest.mark.parametrize("backgrounds, noise, said", [
    ([(250, 250, 250)] * 4, 0, True), ([(120, 160, 90)] * 3, 5, True),
    ([(250, 250, 250), (244, 248, 247)] * 2, 2, True),
    ([(250, 250, 250), (20, 20, 20), (90, 0, 200)], 0, False), ([(250, 250, 250)] * 3 + ["noise"], 0, False),
    (["noise"] * 3, 0, False), ([(100, 100, 100)] * 3, 60, False)])
def test_one_background_for_all(tmp_path, backgrounds, noise, said):
    photographs(tmp_path, backgrounds, noise)
    lines = advice(tmp_path)
    assert bool(lines) is said
    if said:
        (line,) = lines
        assert "all pictures have one background, about #" in line and "--mask alpha" in line


def test_the_embedded_examples_need_no_advice():
    for folder in sorted((ROOT / "dataset").iterdir()):
        assert not advice(folder), folder


def test_a_background_that_a_mask_leaves_out_is_none(tmp_path):
    photographs(tmp_path, [(250, 250, 250)] * 3)
    for i in range(3):
        Image.new("L", (64, 64), 255).save(tmp_path / f"{i}.mask.png")
    assert not advice(tmp_path) and advice(tmp_path, mask="off")


def test_padding_is_no_background(tmp_path):
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (20, 60, 3), np.uint8)).resize((120, 40), 0).save(
            tmp_path / f"{i}.png")
    assert not advice(tmp_path, fit="pad")


def test_few_and_equal_pictures(tmp_path):
    photographs(tmp_path, [(250, 250, 250), (9, 9, 9)])
    assert [line[:20] for line in advice(tmp_path)] == ["advice: 2 pictures: "]
    (tmp_path / "1.png").unlink()
    assert "advice: 1 picture: what is in it" in advice(tmp_path)[0]
    photographs(tmp_path, ["noise", "noise", "noise"])
    (tmp_path / "again.png").write_bytes((tmp_path / "1.png").read_bytes())
    assert advice(tmp_path) == ["advice: again.png is the same picture as 1.png, and counts twice"]


def test_small_pictures_are_named(tmp_path):
    photographs(tmp_path, ["noise"] * 4)
    Image.open(tmp_path / "0.png").resize((300, 180)).save(tmp_path / "big.png")
    (line,) = advice(tmp_path, size=128)
    assert line.startswith("warning: 4 of 5 pictures are smaller than 128 px") and "0.png (64 x 64), 1.png" in line
    assert not advice(tmp_path, size=64) and not advice(tmp_path, size=80), "enlarged by a quarter, which nobody sees"
    (wide,) = [line for line in advice(tmp_path, size=256) if "5 of 5" in line]
    assert "big.png (300 x 180)" in wide
    assert "4 of 5 pictures are smaller" in advice(tmp_path, size=256, fit="pad")[0], "its longer side counts"


def test_what_is_squeezed_is_said(tmp_path):
    photographs(tmp_path, ["noise"] * 3)
    Image.open(tmp_path / "0.png").resize((200, 100)).save(tmp_path / "wide.png")
    assert not [line for line in advice(tmp_path, fit="crop")]
    (line,) = advice(tmp_path, fit=None)
    assert "1 of 4 pictures is not square" in line and "wide.png (200 x 100); --fit crop" in line
    assert not advice(tmp_path, fit=None, size=None), "nothing is scaled"
    for fit, said in (("crop", "cut to their middle: wide.png"), ("pad", "padded"), ("random", "cut at a random place"),
                      ("squeeze", "squeezed: wide.png")):
        assert said in PersonalizedBase(tmp_path, size=32, fit=fit).summary.splitlines()[1]
    Image.new("RGB", (2000, 20), "red").save(tmp_path / "strip.png")
    for fit in ("pad", "random"):
        assert "strip.png, wide.png; of strip.png only the middle, 16 to 1" in PersonalizedBase(
            tmp_path, size=32, fit=fit).summary.splitlines()[1].replace(", and the loss leaves out what was added", "")
    assert any("strip.png (2000 x 20)" in line for line in advice(tmp_path, size=512, fit="pad")), "320 x 20 of it"
