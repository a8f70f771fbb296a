"""From files to a model: checkpoints, configs and variants, good and bad."""

import argparse
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import load
from ldm.errors import UserError
from ldm.serialization import write_tensors
from tests.conftest import EMBEDDING, EMOJI, GOLDEN, ROOT


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


def test_the_config_of_a_checkpoint(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"")
    assert load.config_beside(tmp_path / "model.ckpt") is None
    assert load.find_config(tmp_path / "model.ckpt") == load.PUBLISHED_CONFIG
    (tmp_path / "config.yaml").write_text("x: 1")
    assert load.config_beside(tmp_path / "model.ckpt") == tmp_path / "config.yaml"
    assert load.find_config(tmp_path / "model.ckpt") == tmp_path / "config.yaml"
    assert load.find_config(tmp_path / "model.ckpt", "other.yaml") == Path("other.yaml"), "what is given goes first"
    assert load.model_config(tmp_path / "model.ckpt") == {"x": 1}


def test_files_are_looked_for_before_anything_slow(tmp_path):
    good = tmp_path / "good.pt"
    good.write_text("")
    load.check_files(None, good, str(good), [good, None, [str(good)]], [])
    for missing in ("none.pt", tmp_path / "none.pt", [good, "none.pt"], [[Path("none.pt")]], ""):
        with pytest.raises(UserError, match=r"(none\.pt)?: no such file"):
            load.check_files(good, missing)
    with pytest.raises(UserError, match="no such file"):
        load.check_files(tmp_path)  # a folder is no file


@pytest.mark.parametrize("variant, changed", [
    ("v1", {"model": "improvement.v1.post_BERT.PostBERTDiffusion",
            "embedding_manager": "improvement.v1.post_BERT.PostBERTManager"}),
    ("v2", {"cond_stage_model": "improvement.v2.pre_BERT.AlignedEmbedder"})])
def test_a_variant_changes_the_parts_it_is_made_of_and_nothing_else(emoji_model, v2_model, variant, changed):
    assert set(load.VARIANTS) == {"v1", "v2"}
    model = v2_model if variant == "v2" else load.load_model_from_config(load.model_config(EMOJI, variant="v1"), EMOJI)
    for name in ("model", "embedding_manager", "cond_stage_model", "first_stage_model"):
        parts = [m if name == "model" else getattr(m, name) for m in (model, emoji_model)]
        own, base = (type(part) for part in parts)
        assert own is (load.get_obj_from_str(changed[name]) if name in changed else base), name
    ours = dict(model.named_parameters())
    for name, parameter in emoji_model.named_parameters():
        assert torch.equal(ours[name], parameter), name
    assert model.guidance_scale == emoji_model.guidance_scale and model.image_size == emoji_model.image_size


def test_the_model_that_the_flags_name(emoji_model):
    parser = argparse.ArgumentParser()
    load.add_model_flags(parser)
    opt = parser.parse_args([])
    assert Path(opt.ckpt_path).resolve() == load.EMBEDDED_MODEL and opt.variant is opt.gpus is opt.config is None
    opt = parser.parse_args(["--embedding_path", str(EMBEDDING), "--ckpt_path", str(EMOJI)])
    model = load.load_model(opt)
    assert not torch.equal(model.embedding_manager.string_to_param_dict["*"],
                           emoji_model.embedding_manager.string_to_param_dict["*"])
    assert not model.training and model.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_commands_take_the_flags_they_need():
    def flags(*names, **options):
        parser = argparse.ArgumentParser()
        load.add_model_flags(parser, *names, **options)
        return {a.option_strings[0] for a in parser._actions} - {"-h"}

    assert flags() == set(load.MODEL_FLAGS) and flags("--config") == {"--config", "--trust_targets"}
    assert flags(without=["--gpus", "--variant"]) == set(load.MODEL_FLAGS) - {"--gpus", "--variant"}


def test_a_config_without_a_model_and_a_file_without_weights(tmp_path):
    with pytest.raises(UserError, match="no `model:`"):
        load.meta_model(OmegaConf.create({"data": {}}), None)
    torch.save({"note": "x", "epoch": 3}, tmp_path / "none.ckpt")
    with pytest.raises(UserError, match="none.ckpt: holds no weights .keys: note, epoch"):
        load.read_state_dict(tmp_path / "none.ckpt")
    torch.save({"w": torch.ones(2), "epoch": 3}, tmp_path / "bare.ckpt")
    assert list(load.read_state_dict(tmp_path / "bare.ckpt")) == ["w"], "a file that is itself a state dict"
