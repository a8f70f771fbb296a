"""Captions beside pictures: which file belongs to which picture, what is in it, left and right."""

import os
import unicodedata

import pytest
from PIL import Image

from ldm.data.captions import MOST_BYTES, names, read_captions, side_in
from ldm.data.personalized import PersonalizedBase
from ldm.errors import UserError


def captions_of(data, name, count=60):
    """What the picture of a name is shown with."""
    items = [data[p] for p in range(count)]
    return {item["caption"] for item in items if item["key"].split("|")[0].endswith(name)}


def test_each_line_is_a_caption_and_the_word_goes_where_it_says(folder):
    (folder / "0.txt").write_bytes(b"\xef\xbb\xbfa {} on a red table\r\n\r\n  the *,  asleep \n")
    (folder / "1.caption").write_text("a {} beside a {}")
    data = PersonalizedBase(folder, size=8, placeholder_token="*", coarse_class_text="dog")
    assert captions_of(data, "0.png") == {"a dog * on a red table", "the *, asleep"}
    assert captions_of(data, "1.png") == {"a dog * beside a dog *"}
    assert captions_of(data, "2.png", 300) == {t.format("dog *") for t in data.templates}
    assert "captions beside 2 of 3 pictures, 23 templates for 2.png" in data.summary
    assert [data[p]["caption"] for p in range(9)] == [
        PersonalizedBase(folder, size=8, placeholder_token="*", coarse_class_text="dog")[p]["caption"]
        for p in range(9)], "a function of seed and position"


def test_pictures_without_captions_draw_as_they_did(folder):
    """A caption changes nothing for the other pictures."""
    before = [(i["key"], i["caption"]) for i in map(PersonalizedBase(folder, size=8).__getitem__, range(30))]
    (folder / "0.txt").write_text("a {} here")
    after = [(i["key"], i["caption"]) for i in map(PersonalizedBase(folder, size=8).__getitem__, range(30))]
    assert [b == a for b, a in zip(before, after, strict=True)] == ["0.png" not in key for key, _ in before]


def test_the_right_file_is_taken(tmp_path):
    for name in ("a.png", "b.PNG", "c.d.jpg", "\u1112\u1161\u11ab.png"):  # the last one as macOS writes 한.png
        Image.new("RGB", (9, 9)).save(tmp_path / name, "PNG")
    for name in ("a.txt", "a.caption", "b.TXT", "c.d.txt", unicodedata.normalize("NFC", "\u1112\u1161\u11ab") + ".txt",
                 "c.txt", "notes.txt"):
        (tmp_path / name).write_text(f"{{}} of {name}")
    data = PersonalizedBase(tmp_path)
    assert {path.name: lines for path, lines in data.captions.items()} == {
        "a.png": ("{} of a.txt",), "b.PNG": ("{} of b.TXT",), "c.d.jpg": ("{} of c.d.txt",),
        "\u1112\u1161\u11ab.png": ("{} of 한.txt",)}
    assert data.summary.splitlines()[0].endswith(
        "left out: a.caption (unused text), c.txt (unused text), notes.txt (unused text)")
    assert "sentences: captions beside the pictures" in data.summary
    unused = PersonalizedBase(tmp_path, captions=False)
    assert not unused.captions and "23 templates" in unused.summary and "a.txt (unused text)" in unused.summary


@pytest.mark.parametrize("content, words", [
    (b"a red table", ["'a red table' does not name the word", "write {} or *"]),
    (b"a {} here\na table", ["'a table' does not name"]), (b"", ["is empty"]), (b" \n\r\n", ["is empty"]),
    ("{} 사진".encode("cp949"), ["not UTF-8"]), ("a {}".encode("utf-16"), ["not UTF-8"]),
    (b"a {} \0 b", ["no text"]), (b"a {} \x1b[2J", ["no text"]), (b"a {} " * MOST_BYTES, ["longer than 65536 bytes"])])
def test_what_is_no_caption_is_refused_by_name(folder, content, words):
    (folder / "1.txt").write_bytes(content)
    with pytest.raises(UserError) as error:
        PersonalizedBase(folder)
    assert all(w in str(error.value) for w in [str(folder / "1.txt"), *words]), error.value
    assert PersonalizedBase(folder, captions=False).num_images == 3


def test_nothing_waits_on_a_pipe(folder):
    os.mkfifo(folder / "1.txt")
    with pytest.raises(UserError, match="1.txt: not a file"):
        PersonalizedBase(folder)


@pytest.mark.parametrize("caption, word, there", [
    ("a * here", "*", True), ("a cat here", "cat", True), ("a Cat", "cat", True), ("a category", "cat", False),
    ("concat", "cat", False), ("cat's", "cat", True), ("my-cat", "cat", True), ("a <cat-toy>는", "<cat-toy>", True),
    ("인형이 앉아 있다", "인형", True), ("새인형", "인형", False), ("S*", "S*", True), ("a cat는", "cat", True),
    ("(*:1.2)", "*", True)])
def test_a_word_stands_there_itself(tmp_path, caption, word, there):
    assert names(caption, word) is there
    (tmp_path / "a.txt").write_text(caption, encoding="utf-8")
    if there:
        assert read_captions(tmp_path / "a.txt", [word]) == (caption,)


@pytest.mark.parametrize("sentence, side", [
    ("a {} facing left", "left"), ("the RIGHT shoe {}", "RIGHT"), ("the leftmost {}", "leftmost"),
    ("a {}, right-handed", "right"), ("copyright {}", None), ("a bright {} with leftovers", None), ("a {}", None),
    ("왼쪽을 보는 {}", "왼쪽을"), ("{}의 오른손", "오른손"), ("산에 오른 {}", None), ("좌측의 {}", "좌측"),
    ("우측에 {}", "우측"), ("좌우로 긴 {}", "좌우"), ("우산을 든 {}", None), ("좌석에 앉은 {}", None),
    ("우로 굽은 {}", "우로"), ("{} 우", "우"), ("우편함 옆의 {}", None), ("우유와 {}", None)])
def test_words_for_sides(sentence, side):
    assert side_in(sentence) == side


@pytest.mark.parametrize("parameters, said", [
    ({"templates": ["a {}", "a {} seen from the left"]}, "a template says 'left'"),
    ({}, "the caption of 1.png says '오른쪽'")])
def test_what_has_sides_is_not_mirrored(folder, parameters, said):
    (folder / "1.txt").write_text("오른쪽에 있는 {}" if not parameters else "a {}", encoding="utf-8")
    data = PersonalizedBase(folder, size=8, flip_p=1.0, **parameters)
    assert not any(data[p]["key"].endswith("mirrored") for p in range(9))
    assert f"not mirrored, since {said}" in data.summary
    assert "mirrored 100% of the time" in PersonalizedBase(folder, size=8, flip_p=1.0, captions=False).summary


def test_templates_that_nobody_is_shown_with_do_not_count(folder):
    for i in range(3):
        (folder / f"{i}.txt").write_text("a {}")
    data = PersonalizedBase(folder, size=8, flip_p=1.0, templates=["a {} on the left"])
    assert data[0]["key"].endswith("mirrored")
