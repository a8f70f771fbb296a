"""Loading by name: targets, parameters, configs and checkpoints, good and bad."""

import pytest
import torch

import load
from ldm.errors import UserError
from ldm.serialization import write_tensors
from tests.conftest import GOLDEN, ROOT


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
