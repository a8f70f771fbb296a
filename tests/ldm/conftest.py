"""What the tests of the library share."""

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """A folder of three pictures."""
    for i in range(3):
        Image.new("RGB", (40, 30), (80 * i, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path
