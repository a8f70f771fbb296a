"""Two learned words in one prompt: which words they are, learned apart or in one run, and what is counted."""

import json

import pytest

from evaluation import emoji_suite, pairs
from evaluation.suite import Suite, suite_flags
from ldm.cli import CommandParser
from ldm.embedding_files import read_embeddings
from ldm.errors import UserError
from tests.conftest import ROOT

FOLDERS = ROOT / "dataset/beer_mug", ROOT / "dataset/flamingo"
QUICK = ["--ddim_steps", "4", "--quick", "--override", "lightning.trainer.max_steps=2", "data.params.batch_size=4"]


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return Suite(suite_flags(CommandParser(), "x").parse_args(["--out", str(tmp_path_factory.mktemp("pairs")), *QUICK]))


@pytest.mark.slow
def test_words_learned_apart_are_each_ones_own_in_one_file(suite):
    words = read_embeddings(pairs.in_one_file(suite, FOLDERS))
    alone = [read_embeddings(suite.learn(folder))["*"] for folder in FOLDERS]
    assert set(words) == {"*", "&"} and all((words[s] == v).all() for s, v in zip("*&", alone, strict=True))


@pytest.mark.slow
def test_words_learned_together_both_move_and_each_is_named_where_it_is_seen(suite):
    words = read_embeddings(pairs.learn_together(suite, FOLDERS))
    kinds = [suite.by_slug[f.name]["kind"] for f in FOLDERS]
    manager = suite.model.embedding_manager
    table = suite.model.cond_stage_model.token_embeddings.weight
    start = [table[manager.init_word_ids(kind)].mean(dim=0) for kind in kinds]
    assert set(words) == {"*", "&"}
    for sign, begun in zip("*&", start, strict=True):
        assert 0 < (words[sign][0] - begun).norm() < 1, "it has moved, from its own kind"
    folder = suite.opt.out / "pairs/beer_mug+flamingo"
    assert len(list(folder.glob("*.png"))) == len(list(folder.glob("*.txt"))) == 10
    for sign, name in zip("*&", ("beer_mug", "flamingo"), strict=True):
        lines = (folder / f"{name}-1.txt").read_text().splitlines()
        assert len(lines) == 10 and all(line.count(sign) == 1 and "{}" not in line for line in lines)


@pytest.mark.slow
def test_a_report_has_both_ways_and_their_difference(tmp_path):
    emoji_suite.main(["--parts", "two_words", "together", "--concepts", "beer_mug", "flamingo", "ram", "--json",
                      str(tmp_path / "report.json"), "--out", str(tmp_path), *QUICK])
    report = json.loads((tmp_path / "report.json").read_text())
    assert {name: r["n"] for name, r in report.items()} == {"two_words/both": 1} | {
        f"{way}/{measure}": 1 for way in ("together", "together_minus_apart") for measure in ("both", "top1", "top5")}
    assert (tmp_path / "pairs/beer_mug+flamingo.png").is_file()


@pytest.mark.parametrize("more", [("--concepts", "ram"), ("--variant", "v1")])
def test_two_words_that_cannot_be_are_refused_where_they_are_asked_for(more):
    with pytest.raises(UserError, match="--parts two_words: two words in a prompt need two concepts"):
        emoji_suite.main(["--parts", "two_words", *more])
