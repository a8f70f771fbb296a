"""What no training may see is in no picture's list and in no caption."""

import random

import pytest

from pretrain.families import FAMILIES, SYNONYMS
from pretrain.held_out import held_out_lists, plain
from pretrain.sets import SETS
from pretrain.things import read_list
from pretrain.wide import Thing, View, WideWorld, family_thing

LISTS = held_out_lists()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The wide world's things and captions, for which no picture is needed."""
    return WideWorld(tmp_path_factory.mktemp("none") / "world.zip", families=0.1)


@pytest.mark.parametrize("text, found", [
    ("two bagels on a blue background", "bagels"), ("a small Flying-Disc", "flying disc"), ("flipflops", "flipflops"),
    ("a cricket game", None), ("three crickets", "crickets"), ("an oncoming police car", None), ("a car", "car"),
    ("eight o’clock", "eight oclock"), ("a green apple", "green apple"), ("a red apple", None), ("jar2", "jar2"),
    ("clinking beer mugs", "mugs"), ("a robot and a lemon", "robot"), ("a scary monkey face", None), ("ajar", None),
])
def test_a_held_out_word_is_found_however_it_is_written(text, found):
    assert LISTS.in_text(text) == found


def test_where_nobody_says_the_code_point_doubtful_words_count():
    assert LISTS.in_text("mouse", elsewhere=True) and not LISTS.in_text("mouse")
    assert LISTS.in_text("police car", elsewhere=True) and not LISTS.in_text("police car")


def test_emoji_and_sequences_of_held_out_signs_are_covered():
    assert LISTS.covers("🖱️") and LISTS.covers("👨\u200d🎨") and LISTS.covers("🤖", "robot")
    assert not LISTS.covers("🍎", "red apple")


def test_nothing_held_out_is_on_the_list_of_things_to_train_on():
    rows = read_list()
    assert {r.source for r in rows} == {"noto", *(s.name for s in SETS)}
    assert len(rows) == len({(r.source, r.key) for r in rows}) > 10_000
    for row in rows:
        if row.held_out:
            continue
        assert row.source not in LISTS.styles and not set(row.emoji) & set(LISTS.names)
        for name in row.names:
            assert not LISTS.in_text(name, elsewhere=not row.emoji), row
    signs = {r.emoji for r in rows if r.held_out == "concept"}
    assert signs >= set(LISTS.names) and sum(not r.held_out for r in rows) > 8000


def test_every_set_has_the_held_out_things_marked():
    """A set that draws a held-out emoji has it on the list as held out: none slipped through under another name."""
    for source in ("noto", "fluent-emoji-flat", "fluent-emoji", "noto-v1", "emojione"):
        own = [r for r in read_list() if r.source == source and set(r.emoji) & set(LISTS.names)]
        assert len(own) > 30 and all(r.held_out == "concept" for r in own)


def test_families_are_held_out_whole():
    assert set(LISTS.families) <= set(FAMILIES) and len(LISTS.families) == 2
    for family in FAMILIES:
        if family not in LISTS.families:
            assert not any(LISTS.in_text(name) for name in (family, *SYNONYMS[family]))


def test_no_caption_names_anything_held_out(world):
    rng = random.Random(0)
    for _ in range(1500):
        view = world.view(rng)
        text = world.caption(view, rng)
        assert LISTS.in_text(text) is None, text
        assert not any(t.source in LISTS.styles for t in view.things)
        assert not any(t.source == "family" and t.key.split("/")[0] in LISTS.families for t in view.things)
        if view.tint:
            assert not LISTS.in_text(f"a {view.tint} {view.things[0].names[0]}")


def test_no_synonym_style_or_colour_hides_something_held_out(world):
    rng = random.Random(1)
    for thing in rng.sample([*world.noto, *world.icons], 400):
        for _ in range(10):
            assert LISTS.in_text(world.caption(world.view(rng, thing), rng)) is None


def test_no_paint_makes_a_held_out_thing_of_another(world):
    heart = next(t for t in world.noto if t.names[0] == "red heart")
    apple = Thing(("apple",), "fruit", "game-icons", "x")
    assert world.makes_held_out(heart, "white") and not world.makes_held_out(heart, "blue")
    assert world.makes_held_out(apple, "green") and not world.makes_held_out(apple, "red")
    rng = random.Random(2)
    assert "white" not in {world.view(rng, heart).tint for _ in range(400)}
    assert "green" not in {world.view(rng, apple).tint for _ in range(200)}


def test_whatever_a_picture_shows_has_a_caption(world):
    """Even three swords, which are held out where one sword is not."""
    for thing in [*world.noto, *world.icons]:
        if not world.can_be_counted(thing):
            assert LISTS.in_text(world.caption(View((thing,), "blue"), random.Random(0))) is None
    sword = next(t for t in world.noto if "sword" in (*t.names, t.kind))
    rng = random.Random(3)
    assert not world.can_be_counted(sword) and {world.view(rng, sword).count for _ in range(200)} == {1}


def test_a_judge_sees_everything(tmp_path):
    judge = WideWorld(tmp_path / "world.zip", sealed=False)
    assert set(judge.families) == set(FAMILIES)
    assert {"flamingo", "bagel", "robot"} <= set(judge.names)
    assert any(t.source == "twemoji" for t in judge.icons)


def test_a_member_is_known_by_its_number():
    one, again, other = family_thing("fish", 7), family_thing("fish", 7), family_thing("fish", 8)
    assert one == again != other and one.names[0] == "fish" and one.colour


def test_plain_text():
    assert plain("Rescue-Worker’s  helmet") == "rescue workers helmet"
