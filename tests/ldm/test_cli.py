"""Overrides, devices and switches of the command lines."""

import argparse

import pytest
import torch
from omegaconf import OmegaConf

from ldm import cli, devices
from ldm.errors import UserError
from load import load_config
from tests.conftest import ROOT


@pytest.fixture
def config():
    return load_config(ROOT / "configs/latent-diffusion/txt2img-1p4B-finetune.yaml")


@pytest.mark.parametrize("key, value", [
    ("data.params.batch_size", 2), ("lightning.trainer.max_steps", 10), ("lightning.trainer.precision", "bf16-mixed"),
    ("lightning.trainer.accumulate_grad_batches", 2), ("data.params.train.params.center_crop", True),
    ("lightning.callbacks.image_logger.params.log_images_kwargs.ddim_steps", 5),
    ("model.params.personalization_config.params.num_vectors_per_token", 3),
    ("model.params.cond_stage_config.params.tokenizer", "models/ldm/emoji/tokenizer")])
def test_keys_that_something_reads(config, key, value):
    assert OmegaConf.select(cli.apply_overrides(config, [f"{key}={value}"]), key) == value


@pytest.mark.parametrize("key, nearest", [
    ("data.params.batchsize", "data.params.batch_size"), ("lightning.trainer.maxsteps", "lightning.trainer.max_steps"),
    ("model.params.timestep", "model.params.timesteps"),
    ("data.params.train.params.centre_crop", "data.params.train.params.center_crop")])
def test_other_keys_name_the_nearest(config, key, nearest):
    with pytest.raises(UserError, match=nearest):
        cli.apply_overrides(config, [f"{key}=1"])


def test_devices_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for gpus in ("0", "0,", "0,1"):
        assert devices.choose_devices(gpus) == ("cpu", 1)
        assert "running on the CPU" in capsys.readouterr().err
    assert devices.choose_devices(None) == ("cpu", 1)
    assert capsys.readouterr().err == ""


def test_devices_with_two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose_devices("0") == devices.choose_devices("0,") == devices.choose_devices(None) == ("gpu", [0])
    assert devices.choose_devices("0,1") == ("gpu", [0, 1])
    for gpus in ("2", "one", "-1"):
        with pytest.raises(UserError, match="--gpus"):
            devices.choose_devices(gpus)


def test_switches():
    parser = argparse.ArgumentParser()
    cli.add_switch(parser, "-t", "--train", default=False, help="")
    read = [parser.parse_args(arguments).train for arguments in ([], ["-t"], ["-t", "false"], ["--train", "True"])]
    assert read == [False, True, False, True]
    with pytest.raises(SystemExit):
        parser.parse_args(["-t", "perhaps"])
