"""A compiled UNet computes what the published code computed; where nothing compiles, that is said in a line."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

import train_new
import txt2img
from ldm import devices
from ldm.compiling import check_compiler, compile_network
from ldm.generate import draw_only
from ldm.models.diffusion.ddim import DDIMSampler
from ldm.parameters import picture_parameters
from tests.conftest import EMOJI, ROOT, assert_one_line_error, close, run_main
from tests.runs import QUICK, flags

has_compiler = pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler")


@pytest.mark.slow
def test_without_a_compiler_a_line_says_what_is_needed(tmp_path):
    environment = os.environ | {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    result = subprocess.run([sys.executable, "txt2img.py", "--compile", "--prompt", "a red apple", "--outdir",
                             tmp_path / "out"], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert_one_line_error(result, "--compile", "a C++ compiler")
    assert not list((tmp_path / "out").rglob("*.png"))


@pytest.mark.full
@has_compiler
def test_a_compiled_network_learns_and_draws_the_published_figures(golden, small_model):
    expected, model = golden.expected, small_model
    check_compiler(model.device)
    compile_network(model, learning=True)
    names = list(model.state_dict())
    prediction = model.apply_model(expected["loss.x_noisy"], expected["loss.t"], expected["text.plain"][:2])
    loss, _ = model.p_losses(expected["loss.x_start"], model.get_learned_conditioning(golden.prompts[:2]),
                             expected["loss.t"], expected["loss.noise"])
    assert close(loss, expected["loss.value"])
    loss.backward()
    (vectors,) = model.trainable_parameters()
    assert close(vectors.grad, expected["loss.grad.0"])
    with torch.no_grad():  # what is drawn on the way is not compiled
        assert torch.equal(model.apply_model(expected["loss.x_noisy"], expected["loss.t"], expected["text.plain"][:2]),
                           model.model.diffusion_model(expected["loss.x_noisy"], expected["loss.t"],
                                                       expected["text.plain"][:2]))
    assert list(model.state_dict()) == names and prediction.isfinite().all()

    draw_only(model, compiled=True)
    x_T = expected["sample.x_T"]
    cond, uncond = (model.get_learned_conditioning(p).detach() for p in (golden.prompts[:2], ["", ""]))
    for steps in (5, 10):
        latents, _ = DDIMSampler(model).sample(steps, len(x_T), x_T.shape[1:], cond, x_T=x_T, verbose=False,
                                               unconditional_guidance_scale=7.5, unconditional_conditioning=uncond)
        assert close(latents, expected[f"sample.ddim{steps}"])


@pytest.mark.full
@has_compiler
def test_the_commands_compile(tmp_path):
    result = run_main(train_new.main, *flags(tmp_path), "-t", *QUICK, "--compile", "lightning.trainer.max_steps=2")
    assert result.status == 0, result.err
    result = run_main(txt2img.main, "--compile", "--prompt", "a red apple", "--n_samples", 1, "--ddim_steps", 2,
                      "--outdir", tmp_path / "out")
    assert result.status == 0, result.err
    (picture,) = (tmp_path / "out/samples").iterdir()
    assert picture_parameters(picture)[2]["Compiled"] == "yes"


def test_tf32_is_for_gpus_that_have_it(monkeypatch, capsys):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    devices.allow_tf32(torch.device("cpu"))
    assert "--tf32: there is no TF32 on this CPU" in capsys.readouterr().err
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    try:
        devices.allow_tf32(torch.device("cuda", 0))
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_commands_take_tf32(tmp_path):
    result = run_main(txt2img.main, "--tf32", "--prompt", "a red apple", "--n_samples", 1, "--ddim_steps", 1, "--gpus",
                      0, "--outdir", tmp_path, "--ckpt_path", EMOJI)
    assert result.status == 0 and ("no TF32" in result.err) != torch.cuda.is_available(), result.err
    (picture,) = (tmp_path / "samples").iterdir()
    assert picture_parameters(picture)[2]["TF32"] == "yes"
    result = run_main(train_new.main, *flags(tmp_path / "logs"), *QUICK, "--tf32")
    assert result.status == 0 and ("no TF32" in result.err) != torch.cuda.is_available(), result.err
