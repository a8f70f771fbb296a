"""Loading by name: targets, parameters, configs and checkpoints, good and bad."""

import pytest
import torch
from omegaconf import OmegaConf

import load
from ldm.errors import UserError
from ldm.serialization import write_tensors
from tests.conftest import GOLDEN, ROOT

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


def test_a_model_and_its_checkpoint(shared_small_model):
    weights = load.read_state_dict(GOLDEN / "model.ckpt")
    for name, parameter in shared_small_model.named_parameters():
        if not name.startswith("embedding_manager."):
            assert torch.equal(parameter, weights[name].float()) and not parameter.requires_grad, name
            assert parameter.dtype == torch.float32
    assert not shared_small_model.training


def test_the_placeholder_starts_from_the_loaded_weights():
    model = load.load_model_from_config(load.load_config(GOLDEN / "config.yaml"), GOLDEN / "model.ckpt")
    row = model.cond_stage_model.tknz_fn.ids("sculpture")
    table = load.read_state_dict(GOLDEN / "model.ckpt")["cond_stage_model.transformer.token_emb.weight"]
    assert torch.equal(model.embedding_manager.string_to_param_dict["*"], table[row].float())


def change_checkpoint(tmp_path, change):
    weights = load.read_state_dict(GOLDEN / "model.ckpt")
    change(weights)
    write_tensors(tmp_path / "changed.ckpt", {"state_dict": weights})
    return tmp_path / "changed.ckpt"


NAME = "model.diffusion_model.out.2.weight"


def test_a_missing_weight_fails_and_a_further_one_is_reported(tmp_path, capsys):
    config = load.load_config(GOLDEN / "config.yaml")
    missing = change_checkpoint(tmp_path, lambda w: w.pop(NAME))
    with pytest.raises(UserError, match=f"1 weights are missing .{NAME}"):
        load.load_model_from_config(config, missing)
    misshapen = change_checkpoint(tmp_path, lambda w: w.update({NAME: torch.zeros(4, 32, 1, 1)}))
    with pytest.raises(UserError, match="another shape"):
        load.load_model_from_config(config, misshapen)
    further = change_checkpoint(tmp_path, lambda w: w.update({"model_ema.decay": torch.tensor(0.9)}))
    load.load_model_from_config(config, further)
    assert "model_ema.decay" in capsys.readouterr().err


def test_a_checkpoint_of_another_architecture():
    config = load.load_config(ROOT / "models/ldm/emoji/config.yaml")
    with pytest.raises(UserError, match="not a checkpoint of this model"):
        load.load_model_from_config(config, GOLDEN / "model.ckpt")


def test_averaged_weights_come_from_the_checkpoint_or_from_the_weights(tmp_path):
    config = load.load_config(GOLDEN / "config.yaml")
    config.model.params.use_ema = True
    model = load.load_model_from_config(config, GOLDEN / "model.ckpt")
    name = NAME.removeprefix("model.").replace(".", "")
    assert torch.equal(getattr(model.model_ema, name), model.get_parameter(NAME))
    shadows = {f"model_ema.{name}": torch.full_like(model.get_parameter(NAME), 7.0)}
    shadows |= {f"model_ema.{n.removeprefix('model.').replace('.', '')}": p.detach().clone()
                for n, p in model.named_parameters() if n.startswith("model.") and n != NAME}
    shadows |= {"model_ema.decay": torch.tensor(0.5), "model_ema.num_updates": torch.tensor(9)}
    model = load.load_model_from_config(config, change_checkpoint(tmp_path, lambda w: w.update(shadows)))
    assert float(getattr(model.model_ema, name).max()) == 7.0 and int(model.model_ema.num_updates) == 9


def test_verbose_says_what_was_loaded(capsys):
    load.load_model_from_config(load.load_config(GOLDEN / "config.yaml"), GOLDEN / "model.ckpt", verbose=True)
    assert "weights loaded" in capsys.readouterr().err
