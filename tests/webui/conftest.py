"""What the tests of the page share: a page on folders of its own."""

import shutil

import pytest

pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[web]'")

from ldm.embedding_files import read_words, write_words
from ldm.provenance import Provenance
from tests.conftest import ROOT
from webui.flags import get_parser
from webui.page import Page


def example(logdir):
    """The example's run in a folder of runs, with what is known of it: its word is called <green_apple> there."""
    run = shutil.copytree(ROOT / "logs/example_green_apple", logdir / "2026-01-01T00-00-00_green_apple")
    file = run / "checkpoints/embeddings.pt"
    words = read_words(file)
    words.provenance = {"*": Provenance(init_word="fruit", step=300)}
    write_words(file, words)
    return run


@pytest.fixture
def options(tmp_path):
    """The flags of a page on folders of its own, with one word in them."""
    (tmp_path / "logs").mkdir()
    example(tmp_path / "logs")
    return get_parser().parse_args(["--logdir", str(tmp_path / "logs"), "--outdir", str(tmp_path / "out")])


@pytest.fixture
def page(options):
    return Page(options)


@pytest.fixture
def apple(page):
    """The word of the example."""
    (word,) = page.words()
    return word
