"""Checkpoints as they are in the wild: with what trainers leave beside the weights, in other formats, other names."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from omegaconf import OmegaConf

import load
import txt2img
from ldm.errors import UserError
from ldm.serialization import read_tensors
from tests.conftest import GOLDEN, assert_one_line_error, run_main
from tests.models import clip_tokenizer, lively

TEXT = "cond_stage_model.transformer."


def golden_weights():
    return {n: w.float() if w.is_floating_point() else w
            for n, w in load.read_state_dict(GOLDEN / "model.ckpt").items()}


def loaded(path, **params):
    config = load.merge_configs(load.load_config(GOLDEN / "config.yaml"), {"model": {"params": params}})
    return load.load_model_from_config(config, path)


def assert_weights(model, weights, rounded=lambda w: w):
    for name, parameter in model.named_parameters():
        if not name.startswith("embedding_manager."):
            assert parameter.dtype == torch.float32 and parameter.device.type == "cpu", name
            assert torch.equal(parameter, rounded(weights[name])), name


def lightning_checkpoint(weights):
    """All that Lightning, its callbacks and the published code's trainer leave in a checkpoint."""
    from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint

    callback = ModelCheckpoint(monitor="val/loss_simple_ema")
    callback.best_model_score = torch.tensor(0.14)
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter], lr=1e-4)
    parameter.sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    return {
        "epoch": 5, "global_step": np.int64(487_000), "pytorch-lightning_version": "1.4.2", "state_dict": weights,
        "callbacks": {ModelCheckpoint: callback.state_dict(), type(callback): callback, "lr": LearningRateMonitor()},
        "loops": {"fit_loop": {"epoch_progress": {"current": {"completed": np.float64(5)}}}},
        "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [schedule.state_dict()],
        "hyper_parameters": OmegaConf.create({"unet_config": {"target": "ldm.x"}, "list": [1, None], "at": "${list}"}),
        "random": {"numpy": np.random.RandomState(0).get_state(), "dtype": np.dtype("float32"),
                   "array": np.arange(6.0).reshape(2, 3)}}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "2019"])
def test_what_trainers_leave_beside_the_weights_is_passed_over(tmp_path, old):
    weights = golden_weights()
    torch.save(lightning_checkpoint(weights), tmp_path / "model.ckpt", _use_new_zipfile_serialization=not old)
    with pytest.raises(Exception, match="[Ww]eights.only"):
        torch.load(tmp_path / "model.ckpt", weights_only=True)  # such a file it is
    assert_weights(loaded(tmp_path / "model.ckpt"), weights)
    content = read_tensors(tmp_path / "model.ckpt")
    assert content["epoch"] == 5 and content["optimizer_states"][0]["state"][0]["step"] == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_other_precisions(tmp_path, name, dtype):
    weights = {n: w.to(dtype) for n, w in golden_weights().items()}
    if name.endswith("ckpt"):
        torch.save({"state_dict": weights}, tmp_path / name)
    else:
        safetensors.torch.save_file(weights, tmp_path / name)
    assert_weights(loaded(tmp_path / name), golden_weights(), lambda w: w.to(dtype).float())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_with_what_wrappers_put_before_them(tmp_path, prefix):
    """DistributedDataParallel and torch.compile, around the whole model or around its network."""
    weights = golden_weights()
    inside = "model.diffusion_model."
    torch.save({"state_dict": {prefix + n: w for n, w in weights.items()}}, tmp_path / "whole.ckpt")
    torch.save({n.replace(inside, inside + prefix): w for n, w in weights.items()}, tmp_path / "network.ckpt")
    for file in ("whole.ckpt", "network.ckpt"):
        assert_weights(loaded(tmp_path / file), weights)


def test_averages_are_used_when_asked_for(tmp_path, capsys):
    weights = golden_weights()
    averages = {"model_ema." + n.removeprefix("model.").replace(".", ""): w + 1 for n, w in weights.items()
                if n.startswith("model.")}
    averages |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(9, dtype=torch.int)}
    torch.save({"state_dict": weights | averages}, tmp_path / "model.ckpt")
    model, name = loaded(tmp_path / "model.ckpt"), "model.diffusion_model.out.2.bias"
    assert f"{len(averages)} entries are not part of this model" in capsys.readouterr().err
    with model.ema_scope():
        assert torch.equal(model.get_parameter(name), weights[name])
    model = loaded(tmp_path / "model.ckpt", use_ema=True)
    assert "not part" not in capsys.readouterr().err
    with model.ema_scope():
        assert torch.equal(model.get_parameter(name), weights[name] + 1)
    assert torch.equal(model.get_parameter(name), weights[name])


# Stable Diffusion 1.x ------------------------------------------------------------------------------------------------

@pytest.fixture
def small_sd(tmp_path):
    """A folder with a tokenizer, and a small model's config: Stable Diffusion's own but for the sizes."""
    clip_tokenizer().save_pretrained(tmp_path / "tokenizer")
    config = load.load_config("configs/stable-diffusion/v1-finetune.yaml")
    params = config.model.params
    params.image_size = 8
    params.unet_config.params.update(image_size=8, model_channels=32, channel_mult=[1, 2], attention_resolutions=[1],
                                     num_res_blocks=1, context_dim=16, num_heads=4)
    params.first_stage_config.params.ddconfig.update(ch=32, ch_mult=[1, 2], num_res_blocks=1)
    params.cond_stage_config.params.update(version=str(tmp_path / "tokenizer"), n_embed=16, n_layer=2, n_head=2,
                                           n_hidden=32, vocab_size=600)
    return config


def test_a_checkpoint_of_stable_diffusion(small_sd, tmp_path, capsys):
    """With position_ids, as those until 2023 have them, and under the names of the first versions of transformers."""
    model = lively(load.instantiate_from_config(small_sd.model))
    weights = {n: w for n, w in model.state_dict().items() if not n.startswith("embedding_manager.")}
    positions = {f"{TEXT}text_model.embeddings.position_ids": torch.arange(77)[None]}
    torch.save(lightning_checkpoint(weights | positions), tmp_path / "sd-v1-4.ckpt")
    assert_weights(load.load_model_from_config(small_sd, tmp_path / "sd-v1-4.ckpt"), weights)
    assert capsys.readouterr().err == "", "nothing to say"
    older = {n.replace(".text_model.", "."): w for n, w in (weights | positions).items()}
    assert f"{TEXT}embeddings.token_embedding.weight" in older
    safetensors.torch.save_file(older, tmp_path / "older.safetensors")
    assert_weights(load.load_model_from_config(small_sd, tmp_path / "older.safetensors"), weights)
    assert capsys.readouterr().err == ""


def test_the_config_goes_by_the_text_encoder(small_sd, tmp_path):
    torch.save({"state_dict": {f"{TEXT}text_model.final_layer_norm.bias": torch.ones(2)}}, tmp_path / "sd.ckpt")
    torch.save({"state_dict": {f"{TEXT}token_emb.weight": torch.ones(2)}}, tmp_path / "ldm.ckpt")
    (tmp_path / "text.ckpt").write_text("a text")
    assert load.find_config(tmp_path / "sd.ckpt") == load.STABLE_DIFFUSION_CONFIG
    assert load.find_config(tmp_path / "ldm.ckpt") == load.PUBLISHED_CONFIG
    for other in ("text.ckpt", "none.ckpt"):
        assert load.find_config(tmp_path / other) == load.PUBLISHED_CONFIG
    assert load.find_config(tmp_path / "sd.ckpt", "other.yaml").name == "other.yaml"
    (tmp_path / "config.yaml").write_text(json.dumps(OmegaConf.to_container(small_sd)))
    assert load.find_config(tmp_path / "sd.ckpt") == tmp_path / "config.yaml"
    result = run_main(txt2img.main, "--ckpt_path", tmp_path / "sd.ckpt", "--outdir", tmp_path / "out")
    assert_one_line_error(result, "not a checkpoint of this model")


def test_one_text_encoder_is_not_taken_for_another(small_sd, tmp_path):
    with pytest.raises(UserError, match="not a checkpoint of this model: .* weights are missing"):
        load.load_model_from_config(small_sd, GOLDEN / "model.ckpt")
