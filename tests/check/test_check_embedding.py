"""What is in a file of words, and the same in another format."""

import pytest
import safetensors.torch
import torch

from check import check_embedding
from ldm import embedding_files
from ldm.embedding_files import Words, read_words, write_words
from ldm.provenance import Provenance, weights_identity
from tests.conftest import EMBEDDING, GOLDEN, assert_one_line_error, run_main

SMALL = ("--config", GOLDEN / "config.yaml", "--ckpt_path", GOLDEN / "model.ckpt")


def look(*arguments):
    result = run_main(check_embedding.main, *arguments, *SMALL)
    assert result.status == 0, result.err
    return result


def test_the_formats_are_those_there_are():
    assert tuple(embedding_files.FORMATS) == check_embedding.FORMATS


@torch.no_grad()
def test_what_a_word_is_and_where_it_comes_from(shared_small_model, tmp_path):
    encoder = shared_small_model.cond_stage_model
    table, identity = encoder.transformer.token_emb.weight, weights_identity(encoder)
    start = table[encoder.tknz_fn.ids("dog")].clone()
    known = Provenance(identity, "model.ckpt", "dog", start, 300, 0.005, ("abcdef0123" * 6, "b" * 64), "1.2.3")
    other = Provenance("f" * 16, step=5)
    write_words(tmp_path / "words.pt", Words({"*": 2 * start, "<cat>": torch.stack([table[5], table[6]])},
                                             provenance={"*": known, "<cat>": other}))
    out = look(tmp_path / "words.pt").out
    assert f"{tmp_path / 'words.pt'}: 2 words 16 wide" in out and "format: published\n" in out
    rows = [line.split() for line in out.splitlines()]
    norms = [row[2] for row in rows if row[:2] in (["*", "0"], ["<cat>", "0"], ["<cat>", "1"])]
    assert norms == [f"{v.norm():.3f}" for v in (2 * start[0], table[5], table[6])]
    assert "  dog 1.00, " in out and f"norm {table.norm(dim=1).mean():.3f} on average" in out
    for line in ("*: learned from 'dog', moved by 1.00 of its start's length, cosine 1.00",
                 "*: 300 steps, rate 0.005, 2 pictures (abcdef01 bbbbbbbb)",
                 f"*: through the text encoder {identity} of model.ckpt, this model's",
                 "*: by version 1.2.3 of this project", "<cat>: 5 steps",
                 f"<cat>: through the text encoder {'f' * 16}, not this model's, {identity}"):
        assert f"\n{line}\n" in f"\n{out}", line


def test_words_of_other_models_and_of_no_known_making(tmp_path):
    torch.save({"<big>": torch.ones(768)}, tmp_path / "learned_embeds.bin")
    safetensors.torch.save_file({"emb_params": torch.ones(2, 16)}, tmp_path / "kohya.safetensors")
    out = look(tmp_path / "learned_embeds.bin", tmp_path / "kohya.safetensors").out
    assert "1 word 768 wide, for Stable Diffusion 1.x" in out and "norm\n" in out and "27.713\n" in out
    assert "no nearest tokens: the model's token embeddings are 16 wide" in out
    assert "<big>: nothing is known of its making" in out
    assert "format: kohya, which has no name for its word" in out


def test_the_embedded_models_word():
    result = run_main(check_embedding.main, EMBEDDING)
    assert result.status == 0 and "192 wide, for this project's embedded model" in result.out and "fruit" in result.out


def test_what_a_file_says_is_no_escape_sequence(tmp_path):
    known = Provenance(model="\x1b[2J", init_word="\x1b[2J", text_encoder="\x1b[2J", version="\x1b[2J")
    write_words(tmp_path / "words.pt", Words({"*": torch.ones(1, 16)}, provenance={"*": known}))
    out = look(tmp_path / "words.pt").out
    assert "\x1b" not in out and out.count("x1b[2J") == 4


# Another format ------------------------------------------------------------------------------------------------------

@pytest.fixture
def words(tmp_path):
    write_words(tmp_path / "words.pt", Words({"*": torch.ones(1, 16), "<cat>": torch.zeros(2, 16)},
                                             provenance={"<cat>": Provenance(step=7)}))
    return tmp_path / "words.pt"


def test_to_every_format(words, tmp_path):
    for format, suffix in (("published", ".pt"), ("diffusers", ".bin"), ("diffusers", ".safetensors"), ("a1111", ".pt"),
                           ("kohya", ".safetensors")):
        out = tmp_path / f"out-{format}{suffix}"
        result = look(words, "--convert", out, "--format", format, "--word", "<cat>")
        assert f"{out}: <cat>, format {format}" in result.err
        converted = read_words(out)
        assert converted.format == format and torch.equal(converted.vectors["<cat>"], torch.zeros(2, 16))
        assert list(converted.vectors) == ["<cat>"]
        assert (suffix == ".bin") is not bool(converted.provenance)


def test_a_suffix_is_a_format_and_words_get_other_names(words, tmp_path, shared_small_model):
    result = look(words, "--convert", tmp_path / "out.safetensors", "--rename", "*=<dog>", "<cat>=&")
    assert "warning" in result.err and "--word chooses one" in result.err
    assert set(read_words(tmp_path / "out.safetensors").vectors) == {"<dog>", "&"}
    look(tmp_path / "out.safetensors", "--convert", tmp_path / "out.pt")
    ids = read_words(tmp_path / "out.pt").token_ids
    assert ids["&"] == shared_small_model.cond_stage_model.tknz_fn.ids("&")[0] and ids["<dog>"] > ids["&"]


@pytest.mark.parametrize("arguments, text", [
    (["--convert", "OUT/words.pt"], ["words.pt", "is there already", "--overwrite"]),
    (["--convert", "OUT"], ["a folder"]), (["--format", "kohya"], ["--format", "--convert"]),
    (["--overwrite"], ["--overwrite", "--convert"]),
    (["--convert", "OUT/new.safetensors", "--format", "published"], ["new.safetensors", ".pt"]),
    (["--convert", "OUT/new.xyz"], ["new.xyz", "the suffix .pt, .bin or .safetensors"]),
    (["--convert", "OUT/new.pt", "--format", "a1111"], ["new.pt", "one word", "* <cat>"]),
    (["--convert", "OUT/new.pt", "--word", "<dog>"], ["no word '<dog>'", "* <cat>"]),
    (["--convert", "OUT/new.pt", "--rename", "<dog>=x"], ["no word '<dog>'"]),
    (["--convert", "OUT/new.pt", "--rename", "*=<cat>"], ["--rename", "one name"]),
    (["--convert", "OUT/new.pt", "--rename", "*"], ["--rename *", "OLD=NEW"]),
    (["--convert", "OUT/new.pt", "--rename", "*=" + "x" * 201], ["--rename: ", "201 letters"]),
    (["OUT/words.pt", "--convert", "OUT/new.pt"], ["one FILE", "merge_embeddings.py"])])
def test_what_cannot_be_converted_is_refused_and_nothing_is_written(words, arguments, text):
    before = {p: p.read_bytes() for p in words.parent.iterdir()}
    arguments = [a.replace("OUT", str(words.parent)) for a in arguments]
    assert_one_line_error(run_main(check_embedding.main, words, *arguments, *SMALL), *text)
    assert {p: p.read_bytes() for p in words.parent.iterdir()} == before


def test_a_file_that_may_be_replaced(words):
    look(words, "--convert", words, "--overwrite", "--word", "*")
    assert list(read_words(words).vectors) == ["*"]


def test_a_word_of_v1_stays_what_it_is(words, tmp_path):
    write_words(words, Words({"*": torch.ones(1, 16)}, adapter={"post_BERT": {"w": torch.ones(2)}}))
    assert "with an adapter of v1" in look(words).out
    assert_one_line_error(run_main(check_embedding.main, words, "--convert", tmp_path / "x.bin", *SMALL), "adapter")
    look(words, "--convert", tmp_path / "x.pt", "--rename", "*=&")
    assert torch.equal(read_words(tmp_path / "x.pt").adapter["post_BERT"]["w"], torch.ones(2))
