"""Pictures from the command line with the embedded model: files, their parameters, seeds, bad input."""

import re

import pytest
import torch
from PIL import Image

import txt2img
from tests.conftest import EMOJI, GOLDEN, ROOT, assert_one_line_error, run_main, run_script

EMBEDDING = ROOT / "logs/example_green_apple/checkpoints/embeddings.pt"
QUICK = ("--ddim_steps", 3, "--n_samples", 2)


def pictures(folder):
    return sorted((folder / "samples").glob("*.png"))


def test_the_command_of_the_readme(tmp_path):
    result = run_script("txt2img.py", "--embedding_path", EMBEDDING, "--ckpt_path", EMOJI, "--prompt",
                        "a photo of * on a blue background", "--ddim_steps", 5, "--outdir", tmp_path / "out",
                        "--scale", 7.5, "--n_samples", 4, "--n_iter", 1, "--ddim_eta", 0.0)
    assert result.returncode == 0, result.stderr
    files = pictures(tmp_path / "out")
    assert len(files) == 4
    for i, file in enumerate(files):
        image = Image.open(file)
        assert image.size == (64, 64)
        parameters = image.text["parameters"]
        assert parameters.startswith("a photo of * on a blue background\n")
        for words in ("Steps: 5", "Sampler: ddim", "CFG scale: 7.5", f"Seed: {42 + i}", "models/ldm/emoji/model.ckpt",
                      "embeddings.pt"):
            assert words in parameters
        assert re.search(r"Embedding hash: [0-9a-f]{16}", parameters)
    (grid,) = (tmp_path / "out").glob("*.png")
    assert Image.open(grid).size[0] > 4 * 64


def test_nothing_is_overwritten_and_nothing_leaves_the_folder(tmp_path):
    out = tmp_path / "out"
    for prompt in ("../../evil/..\\*", "../../evil/..\\*", "빨간 사과", "", "x" * 300):
        result = run_main(txt2img.main, "--prompt", prompt, "--outdir", out, "--n_samples", 1, "--ddim_steps", 1)
        assert result.status == 0, result.err
    assert len(pictures(out)) == 5 and len(list(out.glob("*.png"))) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("sampler", [(), ("--plms",), ("--dpm_solver",), ("--ddim_eta", 1.0)])
def test_a_picture_depends_on_its_seed_alone(tmp_path, sampler):
    common = ("--prompt", "a red apple", "--ddim_steps", 4, *sampler)
    run_main(txt2img.main, *common, "--n_samples", 3, "--seed", 7, "--outdir", tmp_path / "a")
    run_main(txt2img.main, *common, "--n_samples", 1, "--n_iter", 2, "--seed", 8, "--outdir", tmp_path / "b")
    seeds = {re.search(r"seed(\d+)", p.name)[1]: p for p in pictures(tmp_path / "a")}
    assert set(seeds) == {"7", "8", "9"}
    for file in pictures(tmp_path / "b"):
        twin = seeds[re.search(r"seed(\d+)", file.name)[1]]
        a, b = (torch.tensor(list(Image.open(p).getdata())) for p in (file, twin))
        assert (a - b).abs().max() <= 1


def test_guidance_and_the_learned_word_matter(tmp_path):
    def picture(name, *arguments):
        result = run_main(txt2img.main, *arguments, *QUICK, "--n_samples", 1, "--outdir", tmp_path / name)
        assert result.status == 0, result.err
        return torch.tensor(list(Image.open(pictures(tmp_path / name)[0]).getdata())).float()

    prompt = ("--prompt", "a * on a white background")
    learned = picture("learned", *prompt, "--embedding_path", EMBEDDING)
    assert (learned - picture("start", *prompt)).abs().mean() > 1
    assert (learned - picture("guided", *prompt, "--embedding_path", EMBEDDING, "--scale", 1)).abs().mean() > 1


def test_other_sizes_and_precision(tmp_path):
    result = run_main(txt2img.main, "--H", 32, "--W", 96, "--precision", "bf16", *QUICK, "--outdir", tmp_path)
    assert result.status == 0, result.err
    assert Image.open(pictures(tmp_path)[0]).size == (96, 32)


def test_several_prompts(tmp_path):
    result = run_main(txt2img.main, "--prompt", "a cat", "a dog", *QUICK, "--outdir", tmp_path)
    assert result.status == 0 and len(pictures(tmp_path)) == 4 and len(list(tmp_path.glob("*.png"))) == 2


def test_warnings(tmp_path):
    result = run_main(txt2img.main, "--prompt", "a cat", "--embedding_path", EMBEDDING, *QUICK, "--outdir", tmp_path)
    assert result.status == 0 and "does not contain *" in result.err
    result = run_main(txt2img.main, "--prompt", "cat " * 50 + "boat", *QUICK, "--outdir", tmp_path)
    assert result.status == 0 and "52 tokens" not in result.out and "cut: '" in result.err and "boat" in result.err


@pytest.mark.parametrize("arguments, words", [
    (("--ckpt_path", "none.ckpt"), ["none.ckpt"]),
    (("--ckpt_path", GOLDEN / "embeddings.pt"), ["embeddings.pt"]),
    (("--ckpt_path", "README.md"), ["README.md", "not a checkpoint"]),
    (("--config", "none.yaml"), ["none.yaml"]),
    (("--embedding_path", "none.pt"), ["none.pt"]),
    (("--embedding_path", "README.md"), ["README.md"]),
    (("--embedding_path", GOLDEN / "embeddings.pt"), ["16 wide", "192"]),
    (("--ddim_steps", 0), ["--ddim_steps"]), (("--ddim_steps", 1001), ["1001"]), (("--n_samples", 0), ["--n_samples"]),
    (("--H", 33), ["--H 33"]), (("--W", 0), ["--W 0"]), (("--ddim_eta", 2), ["--ddim_eta"]),
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
