"""The emoji world: concepts, captions, pictures. Needs the Debian packages that rebuilding the model needs."""

import random

import numpy as np
import pytest

from pretrain import world

pytestmark = pytest.mark.skipif(not (world.FONT.exists() and world.EMOJI_TEST.exists()),
                                reason="apt install fonts-noto-color-emoji unicode-cldr-core unicode-data")


def test_concepts():
    concepts = world.all_concepts()
    assert 900 <= len(concepts) <= 1000
    apple = next(c for c in concepts if c.emoji == "🍎")
    assert (apple.name, apple.name_ko, apple.group, apple.kind) == ("red apple", "빨간 사과", "Food & Drink", "fruit")


def test_held_out_concepts_are_never_seen():
    unseen, seen = set(world.held_out()), world.seen()
    assert 55 <= len(unseen) <= 70 and not unseen & set(seen)
    assert len(seen) + len(unseen) == len(world.all_concepts())
    assert {"flamingo", "hot pepper", "bagel"} <= {c.name for c in unseen}
    rng = random.Random(0)
    assert not any(set(world.random_scene(rng, seen).concepts) & unseen for _ in range(500))


def test_captions_name_what_is_there():
    apple = next(c for c in world.seen() if c.name == "red apple")
    lemon = next(c for c in world.seen() if c.name == "lemon")
    rng = random.Random(0)
    for _ in range(50):
        text = world.caption(world.Scene((apple, lemon), "blue"), rng)
        assert " and " in text and ("apple" in text or "fruit" in text)
    texts = {world.caption(world.Scene((lemon,), "blue", count=2), rng) for _ in range(50)}
    assert any("two lemons" in t and "blue background" in t for t in texts)
    korean = world.caption_ko(world.Scene((lemon, apple), "red"), rng)
    assert "레몬과 빨간 사과" in korean and "빨간 배경" in korean


@pytest.mark.parametrize("noun, expected", [("cherry", "cherries"), ("peach", "peaches"), ("key", "keys")])
def test_plurals(noun, expected):
    assert world.plural(noun) == expected


def test_pictures_are_on_their_background_and_reproducible():
    lemon = next(c for c in world.seen() if c.name == "lemon")
    for colour, (rgb, _) in world.COLOURS.items():
        picture = np.asarray(world.render(world.Scene((lemon,), colour), random.Random(1)), dtype=int)
        assert picture.shape == (64, 64, 3)
        corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert np.abs(corners - rgb).max() <= 8
        again = np.asarray(world.render(world.Scene((lemon,), colour), random.Random(1)))
        assert (picture == again).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_things_stay_in_the_picture(count):
    lemon = next(c for c in world.seen() if c.name == "lemon")
    for seed in range(20):
        rng = random.Random(seed)
        picture = np.asarray(world.render(world.Scene((lemon,), "blue", count=count), rng, 128), dtype=int)
        drawn = np.abs(picture - picture[0, 0]).max(axis=2) > 60
        assert drawn.mean() > 0.02
        assert drawn[1:-1, 1:-1].sum() > 0.97 * drawn.sum()


def test_groups_choose_the_concepts_and_naming_one_twice_doubles_them():
    food, twice = world.seen(("Food & Drink",)), world.seen(("Food & Drink", "Activities", "Food & Drink"))
    assert {c.group for c in food} == {"Food & Drink"}
    assert all(twice.count(c) == (2 if c in set(food) else 1) for c in twice)
    assert len(twice) == 2 * len(food) + len(world.seen(("Activities",)))
