"""The words of the page: what they are called, that ids are no paths, and what is done with them."""

import shutil

import pytest
import torch

from ldm.embedding_files import FORMATS, read_words
from ldm.errors import UserError
from ldm.runs import find_resumed
from tests.conftest import EMBEDDING, ROOT
from tests.webui.conftest import example
from webui.jobs import LEARNING, Job
from webui.words import describe, further, in_use


def test_a_word_is_called_by_its_run_and_found_by_its_id(page, apple):
    assert apple.names == ("<green_apple>",) and apple.own == ("*",)
    assert page.shelf.find(apple.id) == apple
    assert list(apple.steps) == [50, 100, 150, 200, 250, 300]


@pytest.mark.parametrize("id", ["", None, "..", "../logs", "/etc/passwd", "logs/example_green_apple", ".", "webui"])
def test_what_the_browser_sends_never_names_a_path(page, apple, id):
    with pytest.raises(UserError, match="choose"):
        page.shelf.find(id)
    assert page.shelf.find(apple.id).file.is_relative_to(page.logdir)


def test_two_words_never_have_one_name_and_the_older_keeps_its_own(page, apple):
    again = shutil.copytree(apple.run, page.logdir / "project/2026-01-02T00-00-00_green_apple")
    (again / "configs").rename(again / "other")
    for path in (again / "other").iterdir():
        path.rename(path.with_name("2030" + path.name[4:]))
    (again / "other").rename(again / "configs")
    assert {word.id: word.name for word in page.words()} == {
        apple.id: "<green_apple>", "project/2026-01-02T00-00-00_green_apple": "<green_apple-2>"}
    assert page.shelf.free_name("<green_apple>") == "<green_apple-3>"
    with pytest.raises(UserError, match="another word's name"):
        page.shelf.check_name("<Green_Apple>")


@pytest.mark.parametrize("format", FORMATS)
def test_a_word_goes_out_in_every_format_and_comes_back(page, apple, tmp_path, format):
    (tmp_path / "exported").mkdir()
    (file,) = page.shelf.export([apple], format, tmp_path / "exported", page.studio.encoder)
    vectors = next(iter(read_words(EMBEDDING).vectors.values()))
    assert torch.equal(next(iter(read_words(file).vectors.values())), vectors)
    path = page.shelf.add(file.read_bytes(), "somebody's/apple 2.pt", page.studio.width)
    assert path.parent == page.shelf.files and path.name == "apple-2.pt"
    brought = next(word for word in page.words() if word.file == path)
    assert brought.name in ("<green_apple-2>", "<apple-2>"), "its own name is taken, and a file of kohya has none"


def test_what_is_no_word_for_this_model_is_refused_and_nothing_stays(page, tmp_path):
    for data, words in ((b"", "empty"), (b"no words at all", "neither|no |not"), (EMBEDDING.read_bytes(), "wide")):
        with pytest.raises(UserError, match=words):
            page.shelf.add(data, "x.pt", 1280)
    assert not page.shelf.files.exists() or not list(page.shelf.files.iterdir())


def test_a_file_and_a_run_are_renamed_in_all_that_belongs_to_them(page, apple):
    path = page.shelf.add(EMBEDDING.read_bytes(), "fruit.pt", page.studio.width)
    page.shelf.rename(next(word for word in page.words() if word.file == path), "<my-fruit>")
    assert list(read_words(path).vectors) == ["<my-fruit>"]

    before = read_words(apple.file)
    page.shelf.rename(apple, "<pomme>")
    assert page.shelf.find(apple.id).own == ("<pomme>",)
    after = read_words(apple.file)
    assert torch.equal(after.vectors["<pomme>"], before.vectors["*"])
    assert after.provenance["<pomme>"] == before.provenance["*"]
    run = find_resumed(str(apple.run), "now")
    assert [name.rpartition(".")[2] for name in run.state["state_dict"]] == ["<pomme>"]
    with pytest.raises(UserError, match="another word's name"):
        page.shelf.rename(page.shelf.find(apple.id), "<my-fruit>")


@pytest.mark.slow
def test_a_renamed_run_learns_on_under_its_new_name(page, apple):
    import train_new
    from tests.conftest import run_main

    page.shelf.rename(apple, "a.b <pomme>")
    result = run_main(train_new.main, "-t", "--resume", apple.run, "--data_root", ROOT / "dataset/green_apple",
                      "--stop", "off", "--judge", "off", "lightning.trainer.max_steps=301")
    assert result.status == 0, result.err
    assert list(read_words(apple.file).vectors) == ["a.b <pomme>"]


def test_words_are_put_together_under_the_names_they_have_here(page, apple):
    page.shelf.add(EMBEDDING.read_bytes(), "other.pt", page.studio.width)
    path = page.shelf.merge(page.words())
    assert set(read_words(path).vectors) == {"<green_apple>", "<other>"}
    with pytest.raises(UserError, match="at least two"):
        page.shelf.merge([apple])
    merged = next(word for word in page.words() if word.file == path)
    with pytest.raises(UserError, match="several words"):
        page.shelf.rename(merged, "<x>")


def test_a_word_is_deleted_with_its_run_but_not_the_example_of_the_project(page, apple):
    page.shelf.delete(apple)
    assert not apple.run.exists() and page.words() == []
    from webui.shelf import Shelf

    with pytest.raises(UserError, match="example"):
        shelf = Shelf(ROOT / "logs")
        shelf.delete(shelf.find("example_green_apple"))
    assert EMBEDDING.is_file()


def test_a_word_that_is_being_learned_is_left_alone(page, apple):
    page.jobs.folder.mkdir(parents=True)
    page.jobs._write(Job("1", "<green_apple>", (), run=str(apple.run), state=LEARNING))
    with pytest.raises(UserError, match="being learned"):
        in_use(page, apple)
    with pytest.raises(UserError, match="being learned"):
        further(page, apple, 10)


def test_what_a_word_is_stands_in_its_description(page, apple):
    text = describe(page, apple)
    assert "&lt;green_apple&gt;" in text and "300 steps" in text and "fruit" in text and "learned from" in text
    page.shelf.rename(apple, "<script>alert(1)</script>")
    assert "<script" not in describe(page, page.shelf.find(apple.id))


def test_damaged_files_are_passed_over(page, apple):
    broken = example(page.logdir / "p")
    (broken / "checkpoints/embeddings.pt").write_bytes(b"x")
    (page.shelf.files).mkdir(parents=True)
    (page.shelf.files / "broken.pt").write_bytes(b"y")
    assert [word.id for word in page.words()] == [apple.id]
