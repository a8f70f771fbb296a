"""The wide world's pictures: drawings by code, the archive of icons, scenes."""

import io
import random
import zipfile

import numpy as np
import pytest
from PIL import Image

from ldm.errors import UserError
from ldm.modules.encoders.known_words import FILE
from ldm.modules.encoders.modules import BERTTokenizer
from pretrain import icons, sets, things, tokenizer, wide, world
from pretrain.families import FAMILIES, member
from tests.conftest import assert_one_line_error, run_main

needs_font = pytest.mark.skipif(not (world.FONT.exists() and world.EMOJI_TEST.exists()),
                                reason="apt install fonts-noto-color-emoji unicode-cldr-core unicode-data")
SOME = [r for r in things.read_list() if r.source == "noto" and not r.held_out][:12]


@pytest.mark.parametrize("family", FAMILIES)
def test_members_differ_and_each_is_the_same_at_every_call(family):
    drawings = [np.asarray(member(family, n)[0].resize((48, 48))) for n in range(6)]
    assert len({d.tobytes() for d in drawings}) == 6
    member.cache_clear()
    assert (np.asarray(member(family, 3)[0].resize((48, 48))) == drawings[3]).all()
    for n in range(6):
        image, colour, _, manner = member(family, n)
        alpha = np.asarray(image)[..., 3]
        assert image.mode == "RGBA" and image.width == image.height > 60 and colour and manner in wide.MANNERS
        assert 0.08 < (alpha > 128).mean() < 0.95 and (alpha % 255 != 0).any()  # antialiased


@needs_font
def test_pictures_are_reproducible_and_on_their_background():
    small = wide.WideWorld(None, noto=0.5, families=0.5, rows=SOME)
    for seed in range(12):
        rng = random.Random(seed)
        view = small.view(rng)
        picture = np.asarray(small.render(view, rng, 96), int)
        assert picture.shape == (96, 96, 3)
        assert np.abs(picture[0, 0] - world.COLOURS[view.colour][0]).max() <= 8
        rng = random.Random(seed)
        assert (np.asarray(small.render(small.view(rng), rng, 96)) == picture).all()


@pytest.mark.parametrize("pairs", [0, 0.6, 1])
def test_so_many_pictures_show_two_things(pairs):
    small = wide.WideWorld(None, noto=0, families=1, rows=SOME, pairs=pairs)
    shown = [len(small.view(random.Random(seed)).things) for seed in range(300)]
    assert abs(shown.count(2) / 300 - pairs) < 0.08 and set(shown) <= {1, 2}


@needs_font
def test_a_sticker_has_a_white_border():
    small = wide.WideWorld(None, families=0, rows=SOME)
    thing = small.noto[0]
    plain, sticker = (np.asarray(small.render(wide.View((thing,), "blue", sticker=s), random.Random(0), 96), int)
                      for s in (False, True))
    white = [(p.min(axis=2) > 235).sum() for p in (plain, sticker)]
    assert white[1] > white[0] + 150


@needs_font
def test_the_archive_gives_back_what_was_drawn(tmp_path):
    data = icons.draw_all(tuple(SOME), tmp_path)
    assert data == icons.draw_all(tuple(SOME), tmp_path)
    (tmp_path / "world.zip").write_bytes(data)
    archived = wide.WideWorld(tmp_path / "world.zip", families=0, rows=SOME)
    for thing, row in zip(archived.noto, SOME, strict=True):
        drawn = icons.squared(world.glyph(row.emoji))
        difference = np.abs(np.asarray(archived.image(thing), int) - np.asarray(drawn, int))
        assert difference[np.asarray(drawn)[..., 3] > 250].mean() < 3


def test_an_archive_that_is_missing_or_old_is_named(tmp_path):
    row = SOME[0]
    with pytest.raises(UserError, match=r"is no archive of drawings; make it with"):
        icons.drawing(tmp_path / "none.zip", icons.member_name(row))
    (tmp_path / "empty.zip").write_bytes(icons.draw_all((), tmp_path))
    with pytest.raises(UserError, match=r"older than pretrain/things.tsv"):
        icons.drawing(tmp_path / "empty.zip", icons.member_name(row))


def test_a_package_with_another_hash_is_refused(tmp_path):
    (tmp_path / sets.SETS[0].file).write_bytes(b"something else")
    with pytest.raises(UserError, match=r"its SHA-256 is .* delete the file"):
        sets.fetch(sets.SETS[0], tmp_path)
    assert_one_line_error(run_main(things.main, "--packages", tmp_path, "--out", tmp_path / "list.tsv"), "SHA-256")
    assert not (tmp_path / "list.tsv").exists()


def test_without_npm_the_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"npm is not installed"):
        sets.fetch(sets.SETS[0], tmp_path)


@needs_font
@pytest.mark.parametrize("icon, name", [
    ("apple", "apple"), ("bread-one", "bread"), ("big-diamond-ring", "big diamond ring"), ("arrow-up", None),
    ("file-lock", None), ("number-circle-four", None), ("x", None), ("one-two-three-boats-here", None),
])
def test_icons_of_things_have_names_and_signs_do_not(icon, name):
    assert things.thing_name(icon) == name


def test_an_icon_is_a_picture_of_its_own_box():
    pack = {"width": 24, "height": 24, "icons": {"a": {"body": '<path fill="currentColor"/>', "width": 48}}}
    assert sets.svg(pack, "a").startswith("<svg") and 'viewBox="0 0 48 24"' in sets.svg(pack, "a")
    assert "currentColor" not in sets.svg(pack, "a")


def test_a_drawing_in_one_colour_is_painted(tmp_path):
    row = things.Row("game-icons", "sword", "", ("sword",), "", "")
    with zipfile.ZipFile(tmp_path / "world.zip", "w") as file:
        data = io.BytesIO()
        Image.new("RGBA", (20, 20), (0, 0, 0, 255)).save(data, "WEBP", lossless=True)
        file.writestr(icons.member_name(row), data.getvalue())
    small = wide.WideWorld(tmp_path / "world.zip", families=0, noto=0, rows=[row])
    view = small.view(random.Random(0), small.icons[0])
    assert view.tint and view.tint != view.colour
    assert small.image(small.icons[0], "red").getpixel((10, 10)) == (*world.COLOURS["red"][0], 255)


@needs_font
def test_the_vocabulary_has_every_word_of_a_caption(tmp_path):
    assert run_main(tokenizer.main, "--world", "wide", "--out", tmp_path).status == 0
    vocabulary = set((tmp_path / "vocab.txt").read_text(encoding="utf-8").splitlines())
    read = BERTTokenizer(str(tmp_path), 77).tokenizer
    drawn, rng = wide.WideWorld(tmp_path / "none.zip", families=0.1), random.Random(0)
    for _ in range(500):
        text = drawn.caption(drawn.view(rng), rng)
        pieces = read.tokenize(text)
        assert "[UNK]" not in pieces and not any(p.startswith("##") for p in pieces), text
        assert set(pieces) <= vocabulary
    known = [line.split("\t")[0] for line in (tmp_path / FILE).read_text(encoding="utf-8").splitlines()[1:]]
    for word in ("flamingo", "bagel", "robot", "mug", "crutch", "skateboard", "puzzle"):
        assert word in vocabulary and word not in known, "readable, but not among what captions have taught"
    assert {"cupcake", "kitten", "sword", "pictogram", "striped", "sticker"} <= set(known)
    assert not {"mug", "robot", "flamingo"} & set((tmp_path / "nouns.txt").read_text(encoding="utf-8").splitlines())
