"""Words of several files in one file."""

import io
import sys

import pytest
import safetensors.torch
import torch
from torch import nn

import merge_embeddings
import txt2img
from ldm.embedding_files import Words, read_words, write_words
from ldm.modules.embedding_manager import EmbeddingManager
from ldm.provenance import Provenance
from tests.conftest import EMBEDDING, GOLDEN, assert_one_line_error, run_main

SMALL = ("--config", GOLDEN / "config.yaml", "--ckpt_path", GOLDEN / "model.ckpt")


def vectors(n, count=1):
    return torch.full((count, 16), float(n))


@pytest.fixture
def files(tmp_path):
    """Three words called *, one in each of three formats, and a word <cat>."""
    write_words(tmp_path / "a.pt", Words({"*": vectors(1)}, provenance={"*": Provenance(step=1)}))
    write_words(tmp_path / "b.bin", Words({"*": vectors(2), "<cat>": vectors(3, 2)}))
    write_words(tmp_path / "c.safetensors", Words({"*": vectors(4)}, provenance={"*": Provenance(step=4)}))
    return [tmp_path / name for name in ("a.pt", "b.bin", "c.safetensors")]


def merge(files, out, *arguments):
    return run_main(merge_embeddings.main, "--manager_ckpts", *files, "--output_path", out, *arguments, *SMALL)


def merged(files, out, *arguments):
    result = merge(files, out, *arguments)
    assert result.status == 0, result.err
    return {name: float(v[0, 0]) for name, v in read_words(out).vectors.items()}


@pytest.mark.parametrize("renames, expected", [
    (["*=<b>", "*=<c>"], {"*": 1, "<b>": 2, "<cat>": 3, "<c>": 4}),
    (["*=<a>", "*=<b>", "*=<c>"], {"<a>": 1, "<b>": 2, "<cat>": 3, "<c>": 4}),
    (["*=&", "*=my doll", "<cat>=고양이"], {"*": 1, "&": 2, "고양이": 3, "my doll": 4}),
    (["A:*=<a>", "*=<b>", "B:<cat>=cat"], {"<a>": 1, "*": 2, "cat": 3, "<b>": 4})])
def test_words_of_one_name_get_others(files, tmp_path, renames, expected):
    for a, b in ((files[0], files[1]), (files[0].name, files[1].name)):
        named = [r.replace("A:", f"{a}:").replace("B:", f"{b}:") for r in renames]
        assert merged(files, tmp_path / "out.pt", "--overwrite", "--rename", *named) == expected
    renames = [r.replace("A:", f"{files[0].parent.name}/a.pt:").replace("B:", "b.bin:") for r in renames]
    assert merged(files, tmp_path / "out.pt", "--overwrite", "--rename", *renames) == expected
    known = read_words(tmp_path / "out.pt").provenance
    assert {p.step for p in known.values()} == {1, 4}, "each takes with it what is known of it"


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
def test_into_every_format(files, tmp_path, suffix):
    assert merged(files[:2], tmp_path / f"out{suffix}", "--rename", "*=<dog>") == {"*": 1, "<dog>": 2, "<cat>": 3}


def test_the_published_code_reads_what_comes_out(files, tmp_path, shared_small_model):
    merged(files[1:], tmp_path / "out.pt", "--rename", "*=&", "--stable_diffusion")
    content = torch.load(tmp_path / "out.pt", weights_only=False)
    ids = shared_small_model.cond_stage_model.tknz_fn.ids
    assert isinstance(content["string_to_param"], nn.ParameterDict)
    assert {n: int(i) for n, i in content["string_to_token"].items() if n != "<cat>"} == {"*": ids("*")[0],
                                                                                        "&": ids("&")[0]}


def test_words_merged_are_used(files, tmp_path, shared_small_model):
    write_words(files[1], Words({"*": vectors(2)}))
    merged(files[:2], tmp_path / "out.pt", "--rename", "*=&")
    manager = EmbeddingManager(shared_small_model.cond_stage_model, ["*"], ["dog"])
    manager.load(tmp_path / "out.pt")
    assert {p: float(v[0, 0]) for p, v in manager.string_to_param_dict.items()} == {"*": 1, "&": 2}


def test_the_same_word_twice_is_one_word_and_one_without_a_name_is_called_as_its_file(files, tmp_path):
    safetensors.torch.save_file({"emb_params": vectors(5)}, tmp_path / "doll.safetensors")
    assert merged([files[0], files[0], tmp_path / "doll.safetensors"], tmp_path / "out.pt") == {"*": 1, "<doll>": 5}
    assert merged([tmp_path / "doll.safetensors"], tmp_path / "x.pt", "--rename", "<doll>=x") == {"x": 5}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_other_names_are_asked_for_until_one_is_free(files, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal("*\n\n<cat>\n<b>\n"))
    assert merged(files[:2], tmp_path / "out.pt") == {"*": 1, "<b>": 2, "<cat>": 3}
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert_one_line_error(merge(files[:2], tmp_path / "new.pt"), "b.bin", "got no other name")
    assert not (tmp_path / "new.pt").exists()


def adapter(path):
    write_words(path, Words({"*": vectors(1)}, adapter={"post_BERT": {"w": torch.ones(1)}}), "published")


def wide(path):
    torch.save({"<x>": torch.ones(768)}, path)


@pytest.mark.parametrize("arguments, change, text", [
    ([], None, ["b.bin: ", "a.pt has a word '*' too", 'b.bin:*=NEW"']),
    ([], adapter, ["b.bin: a word of v1", "adapter"]),
    ([], wide, ["'<x>' is 768 wide, for Stable Diffusion 1.x", "a.pt are 16 wide"]),
    (["--rename", "<dog>=x"], None, ["<dog>=..."]), (["--rename", "*=a", "*=b", "*=c"], None, ["3 new names for 2"]),
    (["--rename", "A:<cat>=x"], None, ["a.pt has no word '<cat>'"]), (["--rename", "x"], None, ["OLD=NEW"]),
    (["--rename", "*=<cat>"], None, ["b.bin has a word '<cat>' too"]),
    (["--rename", "*=a\u0007x"], None, ["--rename: ", "control character"]),
    (["--rename", "*=<CAT>"], None, ["b.bin has a word '<CAT>' too"]), (["--rename", "<cat>=*"], None, ["a.pt has a"])])
def test_what_cannot_be_merged_is_refused_and_nothing_is_written(files, tmp_path, arguments, change, text, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("answer\n"))
    if change:
        change(files[1])
    arguments = [a.replace("A:", f"{files[0]}:") for a in arguments]
    assert_one_line_error(merge(files[:2], tmp_path / "out.pt", *arguments), *text)
    assert not (tmp_path / "out.pt").exists()


def test_a_name_of_two_files_says_neither(files, tmp_path):
    (tmp_path / "other").mkdir()
    write_words(tmp_path / "other/a.pt", Words({"*": vectors(5)}))
    pair = [files[0], tmp_path / "other/a.pt"]
    assert_one_line_error(merge(pair, tmp_path / "out.pt", "--rename", "a.pt:*=<b>"), "--rename a.pt:*=<b>", "other")
    assert merged(pair, tmp_path / "out.pt", "--rename", "other/a.pt:*=<b>") == {"*": 1, "<b>": 5}
    assert_one_line_error(merge(pair, tmp_path / "out.xyz"), "out.xyz", "the suffix .pt, .bin or .safetensors")


def test_no_file_is_replaced_unless_asked_to(files):
    before = files[0].read_bytes()
    assert_one_line_error(merge(files[:1], files[0]), "a.pt", "--overwrite")
    assert_one_line_error(merge(files[:1], files[0].parent), "a folder")
    assert files[0].read_bytes() == before


@pytest.mark.slow
def test_two_words_of_the_embedded_model_in_one_picture(tmp_path):
    result = run_main(merge_embeddings.main, "--manager_ckpts", EMBEDDING, EMBEDDING, "--output_path",
                      tmp_path / "two.pt", "--rename", "*=&")
    assert result.status == 0 and "& (1 vector)" in result.err
    result = run_main(txt2img.main, "--embedding_path", tmp_path / "two.pt", "--prompt", "a * and a &", "--outdir",
                      tmp_path, "--n_samples", 1, "--ddim_steps", 2)
    assert result.status == 0 and "does not contain" not in result.err
