"""Prompts on the command line: weights, the negative prompt, prompts from a file, shared by processes, strength."""

import io
import os
import subprocess
import sys

import pytest
import torch

import load
import txt2img
import txt2img_v1
from ldm.embedding_files import read_words, write_words
from ldm.modules.embedding_manager import initial_vectors
from ldm.parameters import picture_parameters
from ldm.processes import agree, processes
from ldm.provenance import Provenance
from tests.conftest import EMBEDDING, EMOJI, ROOT, assert_one_line_error, pixels, run_main

QUICK = ("--ddim_steps", 2, "--n_samples", 1, "--H", 32, "--W", 32)


def draw(folder, *arguments, main=txt2img.main):
    """(its pictures by name, stderr) of a command."""
    result = run_main(main, *arguments, *QUICK, "--outdir", folder)
    assert result.status == 0, result.err
    return {p.name: p for p in sorted((folder / "samples").glob("*.png"))}, result.err


def picture(folder, *arguments, **options):
    (file,) = draw(folder, *arguments, **options)[0].values()
    return pixels(file)


def test_weights_and_negative_prompt_are_in_the_picture(tmp_path):
    prompt, negative = "a (red:2) apple, a \\(b\\)", "(blue:1.5) background, *"
    drawn, _ = draw(tmp_path / "a", "--prompt", prompt, "--negative_prompt", negative)
    (file,) = drawn.values()
    found = picture_parameters(file)
    assert found.prompt == prompt and found.negative_prompt == negative and found.settings["Seed"] == "42"


def test_warnings_read_the_text_without_weights(tmp_path):
    _, err = draw(tmp_path, "--prompt", "a (cat:1.2)", "--embedding_path", EMBEDDING, "--negative_prompt", "(*:0.5)")
    assert "warning:" not in err, "the word is in the negative prompt"
    _, err = draw(tmp_path, "--prompt", "a (cat:1.2)", "--negative_prompt", "사과", "--scale", 1)
    assert "cannot read '사과'" in err and "--negative_prompt has no part" in err
    _, err = draw(tmp_path, "--prompt", "a (cat:1.2)", "--embedding_path", EMBEDDING)
    assert "the prompt 'a cat' does not contain *" in err
    _, err = draw(tmp_path, "--prompt", "a (red:1,3) cat", "--negative_prompt", "a (red:1,3) cat")
    assert err.count("warning: '(red:1,3)' in 'a (red:1,3) cat' is no weight; write a point") == 1
    _, err = draw(tmp_path, "--prompt", "a cat", "--negative_prompt", "a *")
    assert "* is read as 'thing'" in err


def test_prompts_from_a_file_are_those_of_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "prompts.txt").write_bytes("\ufeffa (red:1.5) cat\r\n\r\n# not this\r\n  빨간 사과\r\n".encode())
    given, _ = draw(tmp_path / "a", "--prompt", "a (red:1.5) cat", "빨간 사과")
    read, err = draw(tmp_path / "b", "--from_file", tmp_path / "prompts.txt")
    assert list(given) == list(read) and "2 prompts; 1 line with # in front left out" in err
    assert all(torch.equal(pixels(given[name]), pixels(read[name])) for name in given)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a cat\n")))
    assert list(draw(tmp_path / "c", "--from_file", "-")[0]) == ["00000_a-cat_seed42.png"]


@pytest.mark.parametrize("arguments, words", [
    (("--prompt", "a cat", "a (red:nan) cat"), ["weight nan", "0 to 10"]), (("--prompt", "(red:1e9)"), ["weight 1e9"]),
    (("--prompt", "(red:-1)"), ["weight -1", "--negative_prompt"]), (("--negative_prompt", "(a:11)"), ["weight 11"]),
    (("--from_file", "none.txt"), ["none.txt", "no such file"]), (("--from_file", "tests"), ["tests", "folder"]),
    (("--from_file", EMOJI), ["larger than"]), (("--from_file", os.devnull), [os.devnull]),
    (("--prompt", "a", "--from_file", "README.md"), ["--from_file", "--prompt"]),
    (("--strength", "0.5"), ["--strength", "--embedding_path"]),
    (("--strength", "2.1", "--embedding_path", EMBEDDING), ["--strength", "2.1", "0 to 2"]),
    (("--strength", "nan", "--embedding_path", EMBEDDING), ["--strength", "nan"]),
    (("--strength", "0.5", "--embedding_path", "BARE"), ["'*'", "--init_word"]),
    (("--strength", "0.5", "1", "--embedding_path", EMBEDDING), ["2 of them for 1 word (*)"]),
    (("--strength", "0.5", "--init_word", "a", "b", "--embedding_path", "BARE"), ["2 words for 1 word"]),
    (("--init_word", "fruit", "--embedding_path", EMBEDDING), ["--init_word", "--strength"]),
    (("--strength", "0.5", "--init_word", "빨간", "--embedding_path", "BARE"), ["'빨간'", "no tokens"]),
])
def test_bad_input_is_one_line(tmp_path, arguments, words):
    """BARE is a word of which nobody knows what it started from."""
    if "BARE" in arguments:
        bare = word_file(tmp_path / "bare.pt")
        arguments = [bare if argument == "BARE" else argument for argument in arguments]
    assert_one_line_error(run_main(txt2img.main, *arguments, *QUICK, "--outdir", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


# Strength ------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def start():
    """The vector that the embedded word's learning would have started from, `fruit`."""
    model = load.load_model_from_config(load.load_config(EMOJI.parent / "config.yaml"), EMOJI)
    table = model.cond_stage_model.token_embeddings.weight.detach()
    return initial_vectors(table[model.embedding_manager.init_word_ids("fruit")], 1).clone()


def word_file(path, start=None, init_word=None, name="*", vectors=None):
    words = read_words(EMBEDDING)
    words.vectors = {name: words.vectors["*"] if vectors is None else vectors}
    words.token_ids, words.provenance = {}, {name: Provenance(start=start, init_word=init_word)}
    write_words(path, words)
    return path


def test_strength_1_is_the_word_bit_for_bit(tmp_path, start):
    file = word_file(tmp_path / "word.pt", start=start)
    prompt = ("--prompt", "a * on a white background", "--embedding_path")
    word = picture(tmp_path / "word", *prompt, file)
    assert torch.equal(word, picture(tmp_path / "one", *prompt, file, "--strength", 1))
    assert not torch.equal(picture(tmp_path / "half", *prompt, file, "--strength", 0.5), word)
    (drawn,) = (tmp_path / "half/samples").glob("*.png")
    assert picture_parameters(drawn).settings["Strength"] == "0.5"
    (drawn,) = (tmp_path / "one/samples").glob("*.png")
    assert "Strength" not in picture_parameters(drawn).settings


@pytest.mark.slow
def test_what_a_word_started_from_may_be_told(tmp_path, start):
    half = ("--prompt", "a *", "--strength", 0.5, "--embedding_path")
    expected = picture(tmp_path / "a", *half, word_file(tmp_path / "a.pt", start=start))
    assert torch.equal(expected, picture(tmp_path / "b", *half, word_file(tmp_path / "b.pt", init_word="fruit")))
    told, err = draw(tmp_path / "c", *half, word_file(tmp_path / "bare.pt"), "--init_word", "fruit")
    assert torch.equal(expected, pixels(*told.values())) and "not needed" not in err
    assert picture_parameters(*told.values()).settings["Initial words"] == '["fruit"]'
    _, err = draw(tmp_path / "d", *half, tmp_path / "a.pt", "--init_word", "cat")
    assert "--init_word is not needed: the file says what * started from" in err


def test_each_word_may_have_its_strength(tmp_path, start):
    files = [word_file(tmp_path / f"{n}.pt", start=start, name=n, vectors=start * f) for n, f in (("<a>", 3),
                                                                                                  ("<b>", -2))]
    model = load.load_model_from_config(load.load_config(EMOJI.parent / "config.yaml"), EMOJI)
    from ldm.strength import set_strength

    manager = model.embedding_manager
    manager.load(files)
    set_strength(manager, [0.5, 1])
    assert torch.allclose(manager.string_to_param_dict["<a>"], start * 2)
    assert torch.equal(manager.string_to_param_dict["<b>"], start * -2)
    assert manager.strengths == {"<a>": 0.5}
    manager.load(files)
    assert manager.strengths == {}
    set_strength(manager, [0])
    assert all(torch.equal(v, start) for v in manager.string_to_param_dict.values())


@pytest.mark.slow
def test_v1s_layers_have_the_words_strength(tmp_path, start):
    """At 0 it is the base model with the start in it."""
    model = load.load_model_from_config(load.model_config(EMOJI, variant="v1"), EMOJI)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.embedding_manager.post_bert.parameters():
            p.normal_(std=0.05)
    model.embedding_manager.string_to_param_dict["*"].data = start * 2
    model.embedding_manager.provenance = {"*": Provenance(start=start)}
    model.embedding_manager.save(tmp_path / "v1.pt")
    prompt = ("--prompt", "a * on a white background", "--embedding_path")
    zero = picture(tmp_path / "zero", *prompt, tmp_path / "v1.pt", "--strength", 0, main=txt2img_v1.main)
    base = picture(tmp_path / "base", *prompt, word_file(tmp_path / "start.pt", vectors=start))
    assert torch.equal(zero, base)
    one, half, whole = (picture(tmp_path / f"{s}", *prompt, tmp_path / "v1.pt", *flag, main=txt2img_v1.main) for s, flag
                        in (("one", ("--strength", 1)), ("half", ("--strength", 0.5)), ("whole", ())))
    assert torch.equal(one, whole) and not torch.equal(half, one) and not torch.equal(half, zero)


# Processes -----------------------------------------------------------------------------------------------------------

def test_one_process_is_the_rule(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert processes() == (0, 1, 0) and agree(lambda: "so") == "so"


@pytest.mark.parametrize("environment, words", [
    ({"WORLD_SIZE": "2"}, "RANK is ''"), ({"WORLD_SIZE": "x", "RANK": "0", "LOCAL_RANK": "0"}, "WORLD_SIZE is 'x'"),
    ({"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"}, "RANK is 2")])
def test_processes_that_make_no_sense(tmp_path, monkeypatch, environment, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert_one_line_error(run_main(txt2img.main, *QUICK, "--outdir", tmp_path / "out"), words, "torchrun")


@pytest.mark.slow
def test_processes_share_prompts_and_draw_what_one_draws(tmp_path):
    """The same pictures under the same names, from a file, then from standard input into a folder that has some."""
    prompts = "a cat\na (dog:1.2)\n\na cat\nan apple on a blue background\na red car\n"
    (tmp_path / "prompts.txt").write_text(prompts)
    flags = ("--n_samples", 2, "--n_iter", 2, "--ddim_steps", 2, "--H", 32, "--W", 32, "--negative_prompt", "a bird")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, command in (("one", [sys.executable]), ("two", [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"])):
        for file in (tmp_path / "prompts.txt", "-"):
            arguments = map(str, ("txt2img.py", "--from_file", file, *flags, "--outdir", tmp_path / name))
            result = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, input=prompts,
                                    timeout=300, env=environment)
            assert result.returncode == 0, result.stderr
    one, two = ({p.relative_to(tmp_path / n): p for p in (tmp_path / n).rglob("*.png")} for n in ("one", "two"))
    assert set(one) == set(two) and len(one) == 2 * (5 * 4 + 5)
    assert all(torch.equal(pixels(one[name]), pixels(two[name])) for name in one)
    assert picture_parameters(tmp_path / "two/samples/00005_a-dog-1-2_seed43.png").prompt == "a (dog:1.2)"


@pytest.mark.slow
def test_an_error_ends_all_processes(tmp_path):
    result = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
                             "txt2img.py", "--from_file", "none.txt", "--outdir", str(tmp_path / "out")], cwd=ROOT,
                            capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode != 0 and result.stderr.count("error: none.txt: no such file") == 1
