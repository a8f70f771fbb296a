"""A string to an object, a config to an instance, configs on top of each other, a name to a file."""

import pytest
from omegaconf import OmegaConf

import load
from ldm.errors import UserError

PUBLISHED_TARGETS = (
    "ldm.models.diffusion.ddpm.LatentDiffusion", "ldm.modules.diffusionmodules.openaimodel.UNetModel",
    "ldm.models.autoencoder.AutoencoderKL", "ldm.modules.encoders.modules.BERTEmbedder",
    "ldm.modules.embedding_manager.EmbeddingManager", "ldm.data.personalized.PersonalizedBase",
    "ldm.data.personalized_style.PersonalizedBase", "torch.nn.Identity", "main.DataModuleFromConfig",
    "main.ImageLogger")


@pytest.mark.parametrize("target", PUBLISHED_TARGETS)
def test_published_targets_resolve(target):
    assert isinstance(load.get_obj_from_str(target), type)


@pytest.mark.parametrize("target", ["nowhere.Thing", "torch.nn.Thing", "Thing", ""])
def test_other_targets_are_refused(target):
    with pytest.raises(UserError, match="cannot be loaded"):
        load.get_obj_from_str(target)


def test_parameters_without_a_meaning_are_named_in_one_warning():
    config = {"target": "ldm.data.data_module.DataModuleFromConfig",
              "params": {"batch_size": 3, "wrap": False, "colour": 1}}
    with pytest.warns(UserWarning, match="colour, wrap") as warned:
        assert load.instantiate_from_config(config).batch_size == 3
    assert len(warned) == 1


def test_keyword_arguments_go_over_the_config():
    config = OmegaConf.create({"target": "torch.nn.Linear", "params": {"in_features": 2, "out_features": 3}})
    assert load.instantiate_from_config(config, out_features=5).weight.shape == (5, 2)


def test_missing_target_and_missing_arguments():
    with pytest.raises(UserError, match="no `target:`"):
        load.instantiate_from_config({"params": {}})
    with pytest.raises(UserError, match="Linear.*out_features"):
        load.instantiate_from_config({"target": "torch.nn.Linear", "params": {"in_features": 2}})


def test_configs(tmp_path):
    (tmp_path / "a.yaml").write_text("x: 1\ny: {z: 2}")
    (tmp_path / "b.yaml").write_text("y: {z: 3, w: '*'}")
    merged = load.load_config(tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert OmegaConf.to_container(merged) == {"x": 1, "y": {"z": 3, "w": "*"}}
    (tmp_path / "bad.yaml").write_text("x: [1\ny: *")
    (tmp_path / "list.yaml").write_text("- 1")
    for name in ("bad.yaml", "list.yaml", "none.yaml"):
        with pytest.raises(UserError, match=name):
            load.load_config(tmp_path / name)
