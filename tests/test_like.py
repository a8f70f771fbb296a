"""A picture drawn again from what it says it was made with, and what a call writes and tells scripts."""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import txt2img
import txt2img_v2
from ldm.parameters import CHUNK, Parameters, picture_parameters, write_parameters
from ldm.redraw import changes, flags_of
from tests.conftest import EMBEDDING, EMOJI, GOLDEN, assert_one_line_error, run_main

QUICK = ("--ddim_steps", 2)


def draw(outdir, *arguments, main=txt2img.main):
    result = run_main(main, "--outdir", outdir, "--json", *arguments)
    assert result.status == 0, result.err
    return json.loads(result.out), result


def pictures(written) -> list[np.ndarray]:
    return [np.array(Image.open(p["file"])).astype(int) for p in written["pictures"]]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three pictures in a batch, with much that is not the default."""
    return draw(tmp_path_factory.mktemp("three") / "out", "--embedding_path", EMBEDDING, "--prompt",
                "a (*:1.2), on \"a\" \\(blue\\) background", "--n_samples", 3, "--seed", 7, "--dpm_solver", "--scale",
                2.5, "--negative_prompt", "a cat", "--strength", 0.9, "--init_word", "fruit",
                "--W", 32, *QUICK)[0]


@pytest.mark.parametrize("which", [0, 2])
def test_a_picture_is_drawn_again_bit_for_bit(three, tmp_path, which):
    file = three["pictures"][which]["file"]
    again, result = draw(tmp_path, "--like", file)
    assert (pictures(again)[0] == pictures(three)[which]).all() and len(again["pictures"]) == 1
    assert picture_parameters(again["pictures"][0]["file"]) == picture_parameters(file)
    assert "warning" not in result.err


def test_alone_it_differs_by_a_rounding_at_most(three, tmp_path):
    alone, _ = draw(tmp_path, "--like", three["pictures"][1]["file"], "--batch_size", 1)
    assert abs(pictures(alone)[0] - pictures(three)[1]).max() <= 1


def test_other_flags_count_for_more(three, tmp_path):
    file = three["pictures"][0]["file"]
    again, _ = draw(tmp_path, "--like", file, "--seed", 8, "--prompt", "a red *", "--plms", "--n_samples", 2)
    made = picture_parameters(again["pictures"][1]["file"])
    assert made.prompt == "a red *" and made.negative_prompt == "a cat"
    assert {k: made.settings[k] for k in ("Seed", "Sampler", "CFG scale", "Size", "Steps")} == {
        "Seed": "9", "Sampler": "plms", "CFG scale": "2.5", "Size": "32x128", "Steps": "2"}


def test_a_file_that_has_changed_is_named(three, tmp_path):
    file = tmp_path / "old.png"
    prompt, negative, settings_ = picture_parameters(three["pictures"][0]["file"])
    info = PngInfo()
    info.add_itxt(CHUNK, write_parameters(prompt, settings_ | {"Embedding hash": "0" * 16}, negative))
    Image.open(three["pictures"][0]["file"]).save(file, pnginfo=info)
    _, result = draw(tmp_path / "out", "--like", file)
    assert f"Embedding hash was {'0' * 16} and is" in result.err and "warning: --like" in result.err


def test_v2_makes_its_own_again(tmp_path):
    first, _ = draw(tmp_path / "a", "--prompt", "파란 배경 위의 사과", "--n_samples", 1, *QUICK, main=txt2img_v2.main)
    again, _ = draw(tmp_path / "b", "--like", first["pictures"][0]["file"])  # its variant is among its parameters
    assert (pictures(again)[0] == pictures(first)[0]).all()


@pytest.mark.parametrize("text, words", [
    (None, ["does not say what it was made with"]),
    ("a cat\nSteps: many, Sampler: ddim, Seed: 1", ["Steps", "'many'"]),
    ("a cat\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 512x512", ["Sampler", "'Euler a'", "another flag"]),
    ("a cat\nSteps: 20, Sampler: ddim, Seed: 1, Model: none.ckpt", ["none.ckpt"])])
def test_what_cannot_be_drawn_again_is_one_line(tmp_path, text, words):
    info = PngInfo()
    if text:
        info.add_itxt(CHUNK, text)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", pnginfo=info)
    assert_one_line_error(run_main(txt2img.main, "--like", tmp_path / "x.png", "--outdir", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_a_picture_of_another_program_is_taken_with_flags_for_what_is_foreign(tmp_path):
    info = PngInfo()
    info.add_itxt(CHUNK, "a cat\nNegative prompt: a dog\nSteps: 2, Sampler: Euler a, CFG scale: 3, Seed: 5")
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", pnginfo=info)
    written, _ = draw(tmp_path / "out", "--like", tmp_path / "x.png", "--ddim")
    made = picture_parameters(written["pictures"][0]["file"])
    assert (made.prompt, made.negative_prompt, made.settings["Seed"]) == ("a cat", "a dog", "5")


texts = st.text(max_size=12)
PATHS = st.builds("".join, st.lists(st.sampled_from(["C:\\", "Users\\", "내 그림\\", "a,b: c", "x y", ".pt", "/", "'"]),
                                    min_size=1, max_size=6))


@settings(max_examples=150, deadline=None)
@given(texts, texts, st.integers(0, 2**40), st.integers(1, 500), st.floats(-50, 50), st.sampled_from(["ddim", "plms"]),
       st.lists(PATHS, max_size=3), st.sets(st.sampled_from(["seed", "prompt", "scale", "sampler", "embedding_path"])))
def test_any_parameters_come_back_as_flags(prompt, negative, seed, steps, scale, sampler, words, given):
    """Whatever is written, files with the names of Windows among it, is read back as the flags that made it."""
    from ldm.parameters import read_parameters
    settings_ = {"Steps": steps, "Sampler": sampler, "CFG scale": scale, "Seed": seed, "Size": "64x128", "Eta": 0.0,
                 "Batch size": 4, "Variant": "base", "Placeholder strings": json.dumps(["a"])}
    settings_ |= {f"Embedding {n}" if n > 1 else "Embedding": path for n, path in enumerate(words, 1)}
    read = read_parameters(write_parameters(prompt, settings_, negative))
    found = flags_of(read, "x.png", given)
    wanted = {"prompt": [prompt], "negative_prompt": negative, "seed": seed, "ddim_steps": steps, "scale": scale,
              "sampler": sampler, "W": 64, "H": 128, "ddim_eta": 0.0, "batch_size": 4, "variant": None,
              "n_samples": 1, "n_iter": 1, "placeholder_string": ["a"]} | ({"embedding_path": words} if words else {})
    fallen = given | ({"ddim_eta"} if "sampler" in given else set()) | (
        {"placeholder_string"} if "embedding_path" in given else set())
    assert found == {k: v for k, v in wanted.items() if k not in fallen}


def test_a_value_of_the_wrong_kind_names_its_setting():
    for name, text in (("Seed", "-1"), ("Size", "0x64"), ("Strength", "3"), ("Placeholder strings", "{}"),
                       ("Initial words", "no JSON"), ("Precision", "int4"), ("Variant", "v9")):
        with pytest.raises(Exception, match=f"its {name}"):
            flags_of(Parameters("a", "", {name: text}), "x.png", set())


def test_changes_are_of_files_with_the_same_name():
    was = {"Model": "a/m.ckpt", "Model hash": "1", "Embedding": "w.pt", "Embedding hash": "2", "Version": "0.1.0"}
    assert not list(changes(was, was))
    now = {"Model": "b/m.ckpt", "Model hash": "3", "Embedding": "other.pt", "Embedding hash": "4", "Version": "0.2.0"}
    assert [c.split()[0] for c in changes(was, now)] == ["Model", "Version"], "another word was asked for"


def test_which_flags_are_given():
    parser = txt2img.get_parser()
    assert parser.given([]) == set()
    assert parser.given(["--seed", "42", "--plms", "-q"]) == {"seed", "sampler", "quiet"}, "defaults too"


# What is written -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("flags, single, grids", [((), 2, 1), (("--skip_grid",), 2, 0), (("--skip_save",), 0, 1),
                                                  (("--skip_grid", "--skip_save"), 0, 0)])
def test_what_is_skipped_is_not_written(tmp_path, flags, single, grids):
    written, result = draw(tmp_path, "--prompt", "a cat", "--n_samples", 2, *QUICK, *flags)
    assert (len(written["pictures"]), len(written["grids"])) == (single, grids)
    assert len(list(tmp_path.glob("samples/*.png"))) == single and len(list(tmp_path.glob("*.png"))) == grids
    assert "2 pictures of 'a cat'" in result.err


def test_quiet_and_json_leave_a_script_nothing_but_json(tmp_path):
    result = run_main(txt2img.main, "--outdir", tmp_path, "--prompt", "a cat", "--n_samples", 1, *QUICK, "-q", "--json")
    assert result.status == 0 and result.err == ""
    (picture,) = json.loads(result.out)["pictures"]
    assert picture["prompt"] == "a cat" and picture["seed"] == 42 and Image.open(picture["file"]).size == (128, 128)


def test_the_index_shows_all_pictures_of_the_folder(tmp_path):
    draw(tmp_path, "--prompt", "a <b>cat</b> & \"dog\"", "--n_samples", 2, *QUICK)
    shutil.copy(EMBEDDING, tmp_path / "samples/word.pt")
    Image.new("RGB", (8, 8)).save(tmp_path / "samples/90000_한글 #1.png")
    written, _ = draw(tmp_path, "--prompt", "a red apple", "--n_samples", 1, *QUICK, "--index")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert written["index"] == str(tmp_path / "index.html")
    assert page.count("<figure") == 4 and page.count("<img") == 4 and 'alt="a red apple"' in page
    assert "&lt;b&gt;cat" in page and "<b>cat" not in page, "what a prompt says is text"
    assert "samples/90000_%ED%95%9C%EA%B8%80%20%231.png" in page and "://" not in page
    assert "Seed" in page and "word.pt" not in page


def test_the_sampler_is_one_of_three():
    read = {name: txt2img.get_parser().parse_args([f"--{name}"]).sampler for name in ("ddim", "plms", "dpm_solver")}
    assert all(name == sampler for name, sampler in read.items())
    assert isinstance(txt2img.get_parser().parse_args([]), argparse.Namespace)


def test_every_command_that_writes_tells_scripts_what(tmp_path):
    """stdout is JSON and nothing else, and names files that are there."""
    import merge_embeddings
    from check import check_embedding, check_learned, check_model

    calls = {
        check_embedding.main: (EMBEDDING, "--convert", tmp_path / "word.safetensors"),
        merge_embeddings.main: ("--manager_ckpts", EMBEDDING, "--output_path", tmp_path / "merged.pt"),
        check_learned.main: (EMBEDDING, "--data_root", "dataset/green_apple", "--out", tmp_path / "sheet.png",
                             "--ddim_steps", 1, "--prompt", "a *"),
        check_model.main: (GOLDEN / "model.ckpt", "--export", tmp_path / "model")}
    for main, arguments in calls.items():
        result = run_main(main, *arguments, "--json", "-q")
        assert result.status == 0 and not result.err, result.err
        (file, *_) = json.loads(result.out).values()
        assert Path(file).exists(), (main, file)


@pytest.mark.parametrize("main, arguments", [("check_embedding", (EMBEDDING,)), ("check_model", (EMOJI,))])
def test_without_anything_to_write_json_is_an_error(main, arguments):
    import importlib
    command = importlib.import_module(f"check.{main}").main
    assert_one_line_error(run_main(command, *arguments, "--json"), "--json")
