"""A string to an object, a config to an instance, configs on top of each other, a name to a file."""

import pytest
from omegaconf import OmegaConf

import load
from ldm.errors import UserError
from ldm.util import load_config, read_yaml, resolve_file, resolve_folder
from tests.conftest import ROOT

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
    merged = load_config(tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert OmegaConf.to_container(merged) == {"x": 1, "y": {"z": 3, "w": "*"}}
    (tmp_path / "bad.yaml").write_text("x: [1\ny: *")
    (tmp_path / "list.yaml").write_text("- 1")
    for name in ("bad.yaml", "list.yaml", "none.yaml"):
        with pytest.raises(UserError, match=name):
            load_config(tmp_path / name)


def write(folder, **configs):
    for name, text in configs.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_config_goes_on_top_of_its_base(tmp_path):
    """base: is relative to the file that names it, in whatever folder the command runs; bases have bases."""
    write(tmp_path, ground="x: 1\ny: {z: 2, l: [1, 2]}", middle__floor="base: ../ground.yaml\ny: {z: 3}\nw: 4",
          top="base: middle/floor.yaml\nw: 5\ny: {l: [7]}")
    assert OmegaConf.to_container(load_config(tmp_path / "top.yaml")) == {"x": 1, "y": {"z": 3, "l": [7]}, "w": 5}
    assert OmegaConf.to_container(load_config(tmp_path / "middle/floor.yaml")) == {
        "x": 1, "y": {"z": 3, "l": [1, 2]}, "w": 4}
    write(tmp_path, absolute=f"base: {tmp_path / 'ground.yaml'}\nx: 9")
    assert load_config(tmp_path / "absolute.yaml").x == 9 and load_config(tmp_path / "absolute.yaml").y.z == 2
    assert read_yaml(tmp_path / "top.yaml").base == "middle/floor.yaml", "one file as it stands"


def test_each_of_several_configs_brings_its_base(tmp_path):
    write(tmp_path, a="x: 1\ny: 1", b="base: c.yaml\ny: 2", c="x: 3\ny: 3\nz: 3")
    assert OmegaConf.to_container(load_config(tmp_path / "a.yaml", tmp_path / "b.yaml")) == {"x": 3, "y": 2, "z": 3}
    assert OmegaConf.to_container(load_config(tmp_path / "b.yaml", tmp_path / "a.yaml")) == {"x": 1, "y": 1, "z": 3}
    same = load_config(tmp_path / "b.yaml", tmp_path / "b.yaml")
    assert same == load_config(tmp_path / "b.yaml"), "the same file twice is no cycle"


@pytest.mark.parametrize("configs, match", [
    ({"a": "base: a.yaml"}, "leads back to"), ({"a": "base: b.yaml", "b": "base: a.yaml"}, "leads back to"),
    ({"a": "base: sub/../a.yaml", "sub__c": "x: 1"}, "leads back to"),
    ({"a": "base: b.yaml", "b": "base: c.yaml", "c": "base: b.yaml"}, "leads back to"),
    ({"a": "base: none.yaml"}, "none.yaml: no such config"), ({"a": "base: b.yaml", "b": "- 1"}, "b.yaml.*mapping")])
def test_bases_that_cannot_be(tmp_path, configs, match):
    write(tmp_path, **configs)
    with pytest.raises(UserError, match=match):
        load_config(tmp_path / "a.yaml")


@pytest.mark.parametrize("path", sorted(p.relative_to(ROOT) for p in (ROOT / "configs").glob("*/*.yaml")), ids=str)
def test_every_config_here_stands_on_its_bases(path):
    config = load_config(path)
    assert "base" not in config and ("data" not in config or config.data.params.batch_size > 0)
    if "latent-diffusion" in str(path):
        assert config.model.params.unet_config.params.model_channels == 320


def test_names_of_folders_and_files(tmp_path, monkeypatch):
    models = ROOT / "models"
    assert resolve_folder(str(tmp_path)) == str(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert resolve_folder("models/ldm/emoji") == str(ROOT / "models/ldm/emoji"), "inside the project, from anywhere"
    assert resolve_folder("bert-base-uncased") == str(models / "bert-base-uncased"), "under its name on the hub"
    assert resolve_folder("someone/something") == "someone/something", "for the hub"
    assert resolve_file("models/ldm/emoji/config.yaml") == str(ROOT / "models/ldm/emoji/config.yaml")
    (tmp_path / "here.pt").write_text("")
    assert resolve_file("here.pt") == "here.pt"
    (tmp_path / "bert-base-uncased").mkdir()
    assert resolve_folder("bert-base-uncased") == "bert-base-uncased", "what is here goes first"
