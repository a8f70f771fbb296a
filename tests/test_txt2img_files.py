"""What txt2img.py writes: names, numbers that nobody else gets, parameters that are read back; what it says first."""

import multiprocessing
import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import load
import txt2img
import txt2img_v1
import txt2img_v2
from benchmarks.faults.pictures import PROMPTS, draw_prompt
from ldm.data.pictures import save_image, save_numbered
from ldm.errors import UserError
from ldm.files import file_identity, next_number, output_folder, write_numbered
from ldm.generate import sample_prompt
from ldm.parameters import picture_parameters, read_parameters, write_parameters
from ldm.parser import readable
from tests.conftest import EMOJI, ROOT, assert_one_line_error, golden_model, run_main

EMBEDDING = ROOT / "logs/example_green_apple/checkpoints/embeddings.pt"
ONE = ("--ddim_steps", 1, "--n_samples", 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


# Parameters ----------------------------------------------------------------------------------------------------------

@settings(max_examples=150, deadline=None, derandomize=True)
@given(TEXT, TEXT, st.dictionaries(st.sampled_from(["Steps", "CFG scale", "Model"]), st.text(), min_size=1))
def test_parameters_come_back_whatever_was_typed(prompt, negative, made_with):
    text = write_parameters(prompt, made_with, negative)
    assert len(text.splitlines()) <= 3 and read_parameters(text) == (prompt, negative, made_with)


def test_a_prompt_cannot_forge_a_setting(tmp_path):
    prompt = "a cat\nSteps: 99, Sampler: forged, Seed: 7, Model: other"
    result = run_main(txt2img.main, "--prompt", prompt, *ONE, "--outdir", tmp_path / "out")
    assert result.status == 0, result.err
    (file,) = (tmp_path / "out/samples").iterdir()
    text = Image.open(file).text["parameters"]
    assert text.splitlines()[0] == prompt.replace("\n", "\\n") and len(text.splitlines()) == 2
    found = picture_parameters(file)
    assert found.prompt == prompt and found.settings["Steps"] == "1" and found.settings["Seed"] == "42"


@pytest.mark.parametrize("main, variant", [(txt2img.main, "base"), (txt2img_v2.main, "v2")])
def test_a_picture_is_made_again_from_what_it_says(tmp_path, main, variant):
    arguments = ("--prompt", "a * on a blue background", "--embedding_path", EMBEDDING, "--n_samples", 2, "--scale",
                 2.5, "--ddim_steps", 2, "--ddim_eta", 0.5, "--H", 32, "--seed", 5)
    assert run_main(main, *arguments, "--outdir", tmp_path / "out").status == 0
    first = sorted((tmp_path / "out/samples").iterdir())[0]
    prompt, negative, made = picture_parameters(first)
    assert made["Variant"] == variant and negative == "" and made["Version"] in (ROOT / "pyproject.toml").read_text()
    assert made["Model hash"] == file_identity(EMOJI) and ("Aligner hash" in made) == (variant == "v2")
    width, height = made["Size"].split("x")
    again = ("--prompt", prompt, "--embedding_path", made["Embedding"], "--n_samples", made["Batch size"], "--scale",
             made["CFG scale"], "--ddim_steps", made["Steps"], "--ddim_eta", made["Eta"], "--H", height, "--W", width,
             "--seed", made["Seed"], "--precision", made["Precision"], "--ckpt_path", made["Model"], "--config",
             made["Config"], *(() if variant == "base" else ("--variant", variant)))
    assert made["Sampler"] == "ddim" and run_main(txt2img.main, *again, "--outdir", tmp_path / "again").status == 0
    assert first.read_bytes() == sorted((tmp_path / "again/samples").iterdir())[0].read_bytes()


def test_files_are_told_apart_at_little_cost(tmp_path):
    content, identities = bytearray(5 * 2**20), set()
    for place in (None, 0, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        if place is not None:
            changed[place] = 1
        (tmp_path / "a").write_bytes(changed)
        identities.add(file_identity(tmp_path / "a"))
    (tmp_path / "a").write_bytes(content + b"\0")
    assert len(identities | {file_identity(tmp_path / "a")}) == 5
    (tmp_path / "a").write_bytes(b"")
    assert re.fullmatch("[0-9a-f]{16}", file_identity(tmp_path / "a"))


# Names and numbers ---------------------------------------------------------------------------------------------------

@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(max_size=400))
def test_a_slug_is_a_short_name_of_whole_letters(prompt):
    slug = txt2img.slug(prompt)
    assert 0 < len(slug) <= 60 and len(os.fsencode(slug)) <= 96 and re.fullmatch(r"[\w-]+", slug), slug
    assert slug[0] != "-" and slug[-1] != "-"


def test_letters_of_four_bytes(tmp_path):
    assert txt2img.slug("𐌰" * 70) == "𐌰" * 24 and txt2img.slug("가" * 70) == "가" * 32
    result = run_main(txt2img.main, "--prompt", "𐌰" * 70, *ONE, "--outdir", tmp_path)
    assert result.status == 0 and len(list(tmp_path.glob("samples/*.png"))) == 1, result.err


def write_many(folder, worker, count):
    for _ in range(count):
        write_numbered(folder, str(worker).encode(), 5, f"_{worker}.png")


def assert_each_has_its_number(folder, total):
    names = sorted(p.name for p in Path(folder).iterdir())
    numbers = [int(name[:5]) for name in names]
    assert len(set(numbers)) == len(numbers) == total, names
    assert max(numbers) < 2 * total, "a number is passed over at most where two met"
    assert all((Path(folder) / name).read_bytes().decode() == name[6:-4] for name in names)


def test_threads_at_once_never_take_the_same_number(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda worker: write_many(tmp_path / "a", worker, 12), range(8)))
    assert_each_has_its_number(tmp_path / "a", 96)


@pytest.mark.slow
def test_processes_at_once_never_take_the_same_number(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write_many, args=(tmp_path / "a", worker, 25)) for worker in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert_each_has_its_number(tmp_path / "a", 150)


@pytest.mark.slow
def test_two_commands_into_one_folder(tmp_path):
    arguments = ("--prompt", "a cat", "a cat", "--ddim_steps", "2", "--n_samples", "3", "--outdir", tmp_path / "out")
    commands = [subprocess.Popen([sys.executable, "txt2img.py", *map(str, arguments)], cwd=ROOT,
                                 stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for command in commands:
        assert "Traceback" not in command.communicate(timeout=300)[1] and command.returncode == 0
    samples, grids = (sorted(p.name for p in (tmp_path / "out").glob(f"{f}*.png")) for f in ("samples/", ""))
    assert [int(n.partition("_")[0]) for n in samples] == list(range(18))
    assert [int(n.partition("_")[0]) for n in grids] == list(range(6))


def test_numbers_go_on_and_a_killed_writers_claim_is_passed(tmp_path):
    (tmp_path / "00007_old.png").touch()
    (tmp_path / "2026 notes.txt").touch()
    (tmp_path / ".00008.part").touch()
    assert next_number(tmp_path) == 8
    file = save_numbered(Image.new("RGB", (2, 2)), tmp_path, 5, "new")
    assert file.name == "00009_new.png" and stat.S_IMODE(file.stat().st_mode) & 0o444
    assert sorted(os.listdir(tmp_path)) == [".00008.part", "00007_old.png", "00009_new.png", "2026 notes.txt"]


def test_a_number_that_is_wanted_is_given_unless_it_is_taken(tmp_path):
    (tmp_path / "00007_old.png").touch()
    (tmp_path / ".00004.part").touch()
    names = [write_numbered(tmp_path, b"", 5, f"_{n}.png", wanted=n).name for n in (12, 3, 12, 7, 4, 5)]
    assert names == ["00012_12.png", "00003_3.png", "00013_12.png", "00014_7.png", "00015_4.png", "00005_5.png"]
    assert next_number(tmp_path / "none") == 0


def test_a_failed_write_leaves_neither_a_file_nor_a_claim(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        write_numbered(tmp_path, b"x", 5, "_a.png")
    assert not os.listdir(tmp_path)


# The folder ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("outdir", ["file", "file/below", "x" * 300, "/proc/none", "folder/" + "y" * 300])
def test_the_folder_is_tried_before_the_model_is_loaded(tmp_path, monkeypatch, outdir):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(txt2img, "load_model", None)
    result = run_main(txt2img.main, "--outdir", tmp_path / outdir)
    assert_one_line_error(result, outdir[:100], "cannot be written to", "choose another folder")
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "mine"


def test_only_what_was_made_and_is_empty_is_taken_away(tmp_path):
    (tmp_path / "kept").mkdir()
    with pytest.raises(KeyboardInterrupt), output_folder(tmp_path / "kept/a/b"):
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path / "kept")
    with pytest.raises(UserError), output_folder(tmp_path / "kept/a/b") as folder:
        (folder.parent / "a file").touch()
        raise UserError
    assert os.listdir(tmp_path / "kept/a") == ["a file"]


# What is said --------------------------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize("main, prompt, said, unsaid", [
    (txt2img.main, "a 🍎 and 🍎", ["cannot read '🍎' in", "take English words\n"], ["txt2img_v2"]),
    (txt2img.main, "빨간 사과", ["cannot read '빨간', '사과' in", "txt2img_v2.py"], []),
    (txt2img.main, "a красный apple", ["cannot read 'красный' in", "txt2img_v2.py"], []),
    (txt2img.main, "[UNK]", ["not trained on 'UNK' in"], []), (txt2img.main, "x" * 101, ["cannot read 'xxx"], ["v2"]),
    (txt2img.main, "a red apple, honey", [], ["cannot read", "not trained on", "--embedding_path"]),
    (txt2img.main, "two kittens", ["not trained on 'kittens' in 'two kittens'; kittens: try cat"], ["cannot read"]),
    (txt2img_v2.main, "빨간 사과", [], ["cannot read"]),
    (txt2img_v2.main, "🍎 그려줘", ["read as: a red apple\n"], ["cannot read"]),
    (txt2img.main, "a *", ["no --embedding_path: * is read as 'thing', the config's initial word"], ["cannot read"]),
    (txt2img_v1.main, "a *", ["no --embedding_path: * is read as 'thing'"], []),
    (txt2img_v2.main, "* 사진", ["no --embedding_path: * is read as 'thing'"], []),
])
def test_what_is_not_read_as_it_is_written_is_said_once(tmp_path, main, prompt, said, unsaid):
    result = run_main(main, "--prompt", prompt, prompt, *ONE, "--outdir", tmp_path)
    assert result.status == 0, result.err
    for words in said:
        assert result.err.count(words) == 1, result.err
    assert not [words for words in unsaid if words in result.err], result.err


def test_a_placeholder_without_an_initial_word_is_said_to_be_noise(capsys):
    manager = golden_model().embedding_manager
    manager.initializer_words = []
    manager.warn_about(["a *", "&", "nothing"], learned=False)
    said = capsys.readouterr().err
    assert said.count("is read as noise") == len(manager.placeholders_in("* &")) and "'thing'" not in said


@pytest.mark.parametrize("scale", ["nan", "inf", "-inf", "1e30", "1001", "-1e9", "five", ""])
def test_guidance_that_is_no_number_is_refused_before_anything(tmp_path, monkeypatch, scale):
    monkeypatch.setattr(txt2img, "load_model", None)
    result = run_main(txt2img.main, f"--scale={scale}", "--outdir", tmp_path / "out")
    assert_one_line_error(result, "--scale", "-1000 to 1000")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spoil, options, words", [
    (lambda m: m.embedding_manager.string_to_param_dict["*"].data.fill_(torch.nan), {}, ["text features of 'a *'"]),
    (lambda m: m.embedding_manager.string_to_param_dict["*"].data.fill_(torch.nan), {"precision": "bf16"},
     ["text features", "--precision full instead of bf16"]),
    (lambda m: next(m.first_stage_model.decoder.parameters()).data.fill_(torch.nan), {}, ["take another checkpoint"]),
    (lambda m: next(m.first_stage_model.decoder.parameters()).data.fill_(torch.nan), {"scale": 900.0},
     ["--scale nearer to", "than 900"])])
def test_numbers_that_are_not_finite_are_blamed_on_what_is_likely(small_model, spoil, options, words):
    spoil(small_model)
    with pytest.raises(UserError) as error:
        sample_prompt(small_model, "a *", [0], steps=1, **options)
    assert all(word in str(error.value) for word in words), error.value


def test_a_prompt_that_argparse_takes_away_is_refused(tmp_path):
    assert_one_line_error(run_main(txt2img.main, "--prompt=--", "--outdir", tmp_path / "out"), "--prompt")


@pytest.mark.slow
@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda p: ascii(p)[:40])
def test_an_odd_prompt_is_drawn_and_says_so_or_is_one_line(prompt, monkeypatch, emoji_model):
    monkeypatch.setattr(txt2img, "load_model", lambda opt: emoji_model)
    assert draw_prompt(prompt) == ""


@settings(max_examples=60, deadline=None, derandomize=True)
@given(prompt=st.text(max_size=300))
def test_any_prompt_fits_into_a_file(tmp_path_factory, prompt):
    """Name and text chunk, without the model; what is no UTF-8 never comes so far."""
    folder = tmp_path_factory.mktemp("any")
    try:
        readable([prompt])
    except UserError:
        return
    info = PngInfo()
    info.add_itxt("parameters", write_parameters(prompt, {"Seed": 1}))
    file = save_numbered(Image.new("RGB", (1, 1)), folder, 5, f"{txt2img.slug(prompt)}_seed{2**63 - 1}", pnginfo=info)
    assert file.parent == folder and picture_parameters(file) == (prompt, "", {"Seed": "1"})


def test_only_pictures_that_say_it_have_parameters(tmp_path):
    save_image(Image.new("RGB", (1, 1)), tmp_path / "a.png")
    for file in (tmp_path / "a.png", ROOT / "README.md", tmp_path / "none.png", tmp_path):
        with pytest.raises(UserError):
            picture_parameters(file)


def test_the_published_config_names_its_initial_word():
    config = load.load_config(load.PUBLISHED_CONFIG)
    assert list(config.model.params.personalization_config.params.initializer_words) == ["sculpture"]
