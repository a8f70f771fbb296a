"""Pictures from the command line with the embedded model: files, their parameters, seeds, bad input."""

import hashlib
import re
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import txt2img
from tests.conftest import EMBEDDING, EMOJI, GOLDEN, assert_one_line_error, pixels, run_main, run_script

QUICK = ("--ddim_steps", 3, "--n_samples", 2)


def pictures(folder):
    return sorted((folder / "samples").glob("*.png"))


@pytest.mark.slow
def test_the_command_of_the_readme(tmp_path):
    result = run_script("txt2img.py", "--embedding_path", EMBEDDING, "--ckpt_path", EMOJI, "--prompt",
                        "a photo of * on a blue background", "--ddim_steps", 5, "--outdir", tmp_path / "out",
                        "--scale", 7.5, "--n_samples", 4, "--n_iter", 1, "--ddim_eta", 0.0)
    assert result.returncode == 0, result.stderr
    files = pictures(tmp_path / "out")
    assert len(files) == 4
    for i, file in enumerate(files):
        image = Image.open(file)
        assert image.size == (128, 128)
        parameters = image.text["parameters"]
        assert parameters.startswith("a photo of * on a blue background\n")
        for words in ("Steps: 5,", "Sampler: ddim,", "Eta: 0.0,", "CFG scale: 7.5,", f"Seed: {42 + i},",
                      "Size: 128x128,", "Precision: full,", f"Model: {EMOJI},", f"Embedding: {EMBEDDING},",
                      f"Embedding hash: {hashlib.sha256(EMBEDDING.read_bytes()).hexdigest()[:16]}"):
            assert words in parameters
    (grid,) = (tmp_path / "out").glob("*.png")
    assert Image.open(grid).size == (4 * 130 + 2, 132)
    for i, file in enumerate(files):
        assert torch.equal(pixels(grid)[2:130, 2 + 130 * i : 130 + 130 * i], pixels(file))


@pytest.mark.slow
def test_nothing_is_overwritten_and_nothing_leaves_the_folder(tmp_path):
    out = tmp_path / "out"
    for prompt in ("../../evil/..\\*", "../../evil/..\\*", "빨간 사과", "", "x" * 300):
        result = run_main(txt2img.main, "--prompt", prompt, "--outdir", out, "--n_samples", 1, "--ddim_steps", 1)
        assert result.status == 0, result.err
    assert [int(p.name[:5]) for p in pictures(out)] == list(range(5))
    assert sorted(int(p.name[:4]) for p in out.glob("*.png")) == list(range(5))
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("sampler", [(), *(pytest.param(s, marks=pytest.mark.slow) for s in (
    ("--plms",), ("--dpm_solver",), ("--ddim_eta", 1.0)))])
def test_a_picture_depends_on_its_seed_alone(tmp_path, sampler):
    common = ("--prompt", "a red apple", "--ddim_steps", 4, *sampler)
    run_main(txt2img.main, *common, "--n_samples", 3, "--seed", 7, "--outdir", tmp_path / "a")
    run_main(txt2img.main, *common, "--n_samples", 1, "--n_iter", 2, "--seed", 8, "--outdir", tmp_path / "b")
    together, apart = ({re.search(r"seed(\d+)", p.name)[1]: pixels(p) for p in pictures(tmp_path / name)}
                       for name in "ab")
    assert set(together) == {"7", "8", "9"} and set(apart) == {"8", "9"}
    for seed, picture in apart.items():
        assert (picture - together[seed]).abs().max() <= 1
    assert (apart["8"] - apart["9"]).abs().mean() > 1


def test_guidance_and_the_learned_word_matter(tmp_path):
    def picture(name, *arguments):
        result = run_main(txt2img.main, *arguments, *QUICK, "--n_samples", 1, "--outdir", tmp_path / name)
        assert result.status == 0, result.err
        return pixels(pictures(tmp_path / name)[0])

    prompt = ("--prompt", "a * on a white background")
    learned = picture("learned", *prompt, "--embedding_path", EMBEDDING)
    assert (learned - picture("start", *prompt)).abs().mean() > 1
    assert (learned - picture("guided", *prompt, "--embedding_path", EMBEDDING, "--scale", 1)).abs().mean() > 1


def test_other_sizes(tmp_path):
    result = run_main(txt2img.main, "--H", 32, "--W", 96, *QUICK, "--outdir", tmp_path)
    assert result.status == 0, result.err
    assert [Image.open(p).size for p in pictures(tmp_path)] == [(96, 32)] * 2
    assert "Size: 96x32," in Image.open(pictures(tmp_path)[0]).text["parameters"]


def test_a_coarser_precision_draws_nearly_the_same_picture(tmp_path):
    """It reaches the network (tests/ldm/test_generate.py says so too), and costs little."""
    drawn, small = {}, ("--H", 32, "--W", 32, "--n_samples", 1, "--ddim_steps", 2)
    for precision in ("full", "bf16", "fp16"):
        folder = tmp_path / precision
        result = run_main(txt2img.main, "--precision", precision, *small, "--outdir", folder)
        assert result.status == 0, result.err
        assert f"Precision: {precision}," in Image.open(pictures(folder)[0]).text["parameters"]
        drawn[precision] = pixels(pictures(folder)[0])
    bf16, fp16 = ((drawn[p] - drawn["full"]).abs().mean() for p in ("bf16", "fp16"))
    assert 0 < fp16 < bf16 < 8, "of 255; bfloat16 has three bits fewer"


def test_several_prompts(tmp_path):
    result = run_main(txt2img.main, "--prompt", "a cat", "a dog", *QUICK, "--outdir", tmp_path)
    assert result.status == 0
    assert [p.name for p in pictures(tmp_path)] == [
        "00000_a-cat_seed42.png", "00001_a-cat_seed43.png", "00002_a-dog_seed42.png", "00003_a-dog_seed43.png"]
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["0000_a-cat.png", "0001_a-dog.png"]
    cat, dog = (pixels(pictures(tmp_path)[i]) for i in (0, 2))
    assert (cat - dog).abs().mean() > 1, "each prompt is drawn"


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_pictures_of_several_prompts_are_drawn_together_as_apart(tmp_path, size):
    flags = (*QUICK, "--n_iter", 2, "--prompt", "a red apple", "a cat", "a red apple", "--embedding_path", EMBEDDING)
    run_main(txt2img.main, *flags, "--outdir", tmp_path / "apart")
    result = run_main(txt2img.main, *flags, "--batch_size", size, "--outdir", tmp_path / "together")
    assert result.status == 0 and result.err.count("4 pictures of") == 3, result.err
    apart, together = pictures(tmp_path / "apart"), pictures(tmp_path / "together")
    assert [p.name for p in apart] == [p.name for p in together] and len(apart) == 12
    for one, other in zip(apart, together, strict=True):
        assert (pixels(one).float() - pixels(other).float()).abs().max() <= 1
        assert f"Batch size: {size}," in Image.open(other).text["parameters"]
    grids = [sorted((tmp_path / name).glob("*.png")) for name in ("apart", "together")]
    assert [p.name for p in grids[0]] == [p.name for p in grids[1]] and len(grids[0]) == 3


def test_warnings(tmp_path, emoji_model):
    result = run_main(txt2img.main, "--prompt", "a cat", "--embedding_path", EMBEDDING, *QUICK, "--outdir", tmp_path)
    assert result.status == 0 and "does not contain *" in result.err
    result = run_main(txt2img.main, "--prompt", "a *", "--embedding_path", EMBEDDING, *QUICK, "--outdir", tmp_path)
    assert result.status == 0 and "warning: " not in result.err
    fit = emoji_model.cond_stage_model.tknz_fn.max_length
    result = run_main(txt2img.main, "--prompt", "cat " * (fit - 2) + "boat", *QUICK, "--outdir", tmp_path)
    assert result.status == 0
    assert f"warning: a prompt has {fit + 1} tokens and {fit} fit; cut: 'boat'" in result.err
    result = run_main(txt2img.main, "--prompt", "cat " * (fit - 2), *QUICK, "--outdir", tmp_path)
    assert result.status == 0 and "warning: " not in result.err, "so many just fit"


@pytest.mark.parametrize("arguments, words", [
    (("--ckpt_path", "none.ckpt"), ["none.ckpt"]),
    (("--ckpt_path", GOLDEN / "embeddings.pt"), ["embeddings.pt"]),
    (("--ckpt_path", "README.md"), ["README.md", "not a checkpoint"]),
    (("--config", "none.yaml"), ["none.yaml"]),
    (("--embedding_path", "none.pt"), ["none.pt"]),
    (("--embedding_path", "README.md"), ["README.md"]),
    (("--embedding_path", GOLDEN / "embeddings.pt"), ["16 wide", "192"]),
    (("--ddim_steps", 0), ["--ddim_steps"]), (("--ddim_steps", 1001), ["1001"]), (("--n_samples", 0), ["--n_samples"]),
    (("--H", 33), ["--H 33"]), (("--W", 0), ["--W", "'0'"]), (("--ddim_eta", 2), ["--ddim_eta"]),
    (("--plms", "--ddim_eta", 0.5), ["--ddim_eta"]), (("--seed", -1), ["--seed"]),
])
def test_bad_input_is_one_line(tmp_path, arguments, words):
    assert_one_line_error(run_main(txt2img.main, *arguments, "--outdir", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("prompt, expected", [
    ("a photo of * on a BEACH!", "a-photo-of-word-on-a-beach"), ("../..", "empty"), ("", "empty"),
    ("사과 한 개", "사과-한-개")])
def test_slug(prompt, expected):
    assert txt2img.slug(prompt) == expected


@pytest.mark.parametrize("given, expected", [
    ((), ("dpm_solver", 20, 0.0)), (("--ddim_steps", 30), ("ddim", 30, 0.0)), (("--ddim_eta", 0.5), ("ddim", 50, 0.5)),
    (("--ddim_eta", 0), ("ddim", 50, 0.0)), (("--ddim",), ("ddim", 50, 0.0)), (("--plms",), ("plms", 50, 0.0)),
    (("--dpm_solver",), ("dpm_solver", 50, 0.0)), (("--dpm_solver", "--ddim_steps", 7), ("dpm_solver", 7, 0.0))])
def test_a_model_has_a_sampler_of_its_own_and_any_flag_means_what_it_means(given, expected):
    opt = txt2img.get_parser().parse_args([str(a) for a in given])
    txt2img.check_options(opt)
    txt2img.settle_sampler(opt, SimpleNamespace(sampler="dpm_solver", sampling_steps=20))
    assert (opt.sampler, opt.ddim_steps, opt.ddim_eta) == expected
