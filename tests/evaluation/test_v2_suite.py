"""What the comparison of Korean with English counts."""


import pytest
from PIL import Image

from evaluation.v2_suite import one_thing


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_first_thing_is_cut_out(count):
    picture = Image.new("RGB", (64, 64), "white")
    left, top = {1: (16, 16), 2: (8, 24)}.get(count, (8, 8))
    picture.paste("red", (left, top, left + (32 if count == 1 else 16), top + (32 if count == 1 else 16)))
    cut = one_thing(picture, count)
    assert cut.size == (64, 64)
    assert cut.getpixel((32, 32)) == (255, 0, 0) and cut.getpixel((2, 2)) == (255, 255, 255)
