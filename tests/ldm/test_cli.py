"""Overrides, devices and switches of the command lines."""

import argparse

import pytest
from omegaconf import OmegaConf

from ldm import cli
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


def test_switches():
    parser = argparse.ArgumentParser()
    cli.add_switch(parser, "-t", "--train", default=False, help="")
    read = [parser.parse_args(arguments).train for arguments in ([], ["-t"], ["-t", "false"], ["--train", "True"])]
    assert read == [False, True, False, True]
    with pytest.raises(SystemExit):
        parser.parse_args(["-t", "perhaps"])


def test_tables(capsys):
    cli.print_table(("name", "count"), [("a", 1000), ("bcd", 2)])
    assert capsys.readouterr().out.splitlines() == ["name  count", "----  -----", "a     1,000", "bcd       2"]
