"""What a picture was made with comes back from it, whatever was typed."""

import random

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ldm.data.pictures import save_image
from ldm.errors import UserError
from ldm.parameters import escape, picture_parameters, read_parameters, unescape, write_parameters

NASTY = ["", " ", "a photo of *", "빨간 사과", "two\nlines", "\r\n\t", "\\n", "\\\\n", "\\u0041", "a\x00\x1b[2J",
         "\u2028\x85", '"', "a, b: c", 'x: "y", z', "Negative prompt: x", "Steps: 5, Seed: 1", ", : ",
         "trailing ", "\\", "\\\n", "\\\\(", "\\(a\\)", "\\u", "n", "u0041", "\U0001f34e", ":", ","]


@pytest.mark.parametrize("text", NASTY)
def test_a_text_is_one_line_and_comes_back(text):
    line = escape(text)
    assert len(f"{line}x".splitlines()) == 1 and line.isprintable()
    assert unescape(line) == text


def test_a_bracket_that_is_text_is_what_other_programs_read():
    assert escape(r"a \(b\) \[c\] C:\d") == r"a \(b\) \[c\] C:\d"
    assert escape("\\\n") == r"\\\n" and escape(r"\u \\(") == r"\\u \\\(", "where it would be read as another thing"


def test_a_backslash_of_another_program_stays():
    assert unescape(r"C:\pictures \(cat\) \u12") == r"C:\pictures \(cat\) \u12"


@pytest.mark.parametrize("seed", range(200))
def test_all_comes_back(seed):
    rng = random.Random(seed)

    def text() -> str:
        return rng.choice(["", "a", "*"]).join(rng.choices(NASTY, k=rng.randrange(4)))

    prompt, negative = text(), text()
    settings = {name: rng.choice([text(), 7, 0.5, True, "models/a b, c.ckpt"]) for name in
                ("Steps", "CFG scale", "Embedding hash", "Model")[:rng.randrange(5)]}
    found = read_parameters(write_parameters(prompt, settings, negative))
    assert found == (prompt, negative, {name: str(value) for name, value in settings.items()})


def test_what_other_programs_write_is_read():
    found = read_parameters("a cat,\non a mat\nNegative prompt: blurry,\nugly\n"
                            "Steps: 20, Sampler: Euler a, Size: 512x512")
    assert found == ("a cat,\non a mat", "blurry,\nugly", {"Steps": "20", "Sampler": "Euler a", "Size": "512x512"})
    assert read_parameters("only a prompt").prompt == "only a prompt"


def test_a_picture_says_what_it_was_made_with(tmp_path):
    info = PngInfo()
    info.add_itxt("parameters", write_parameters("빨간\n사과", {"Seed": 3}, "blurry"))
    save_image(Image.new("RGB", (4, 4)), tmp_path / "a.png", pnginfo=info)
    assert picture_parameters(tmp_path / "a.png") == ("빨간\n사과", "blurry", {"Seed": "3"})
    save_image(Image.new("RGB", (4, 4)), tmp_path / "b.png")
    with pytest.raises(UserError, match="b.png: does not say"):
        picture_parameters(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("no picture")
    for name in ("c.png", "none.png"):
        with pytest.raises(UserError, match=f"{name}: not a readable PNG"):
            picture_parameters(tmp_path / name)
