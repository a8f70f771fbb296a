"""Types and ranges of every key: what is refused before a model is loaded, what is made of it, what passes."""

import typing
from typing import Annotated, Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import load
import train_new
import training.learn
from ldm import schema
from ldm.checks import check_config
from ldm.cli import apply_overrides
from ldm.errors import UserError
from ldm.modules.embedding_manager import EmbeddingManager
from tests.conftest import EMOJI, GOLDEN, ROOT, assert_one_line_error, run_main

CONFIGS = sorted(p.relative_to(ROOT) for p in (ROOT / "configs").glob("*/*.yaml"))
WORDS = "model.params.personalization_config.params"
TRAIN = "data.params.train.params"
LOGGER = "lightning.callbacks.image_logger.params"


def whole_config(path="configs/emoji/finetune.yaml"):
    config = load.load_config(path)
    if OmegaConf.select(config, "model.target") is None:
        config = load.merge_configs(load.load_config(EMOJI.parent / "config.yaml"), config)
    return config


def changed(*overrides):
    return check_config(apply_overrides(whole_config(), overrides))


# Kinds ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind, value, result", [
    (int, 3, 3), (int, 3.0, 3), (float, 3, 3), (float, 0.5, 0.5), (bool, True, True), (bool, 1, True), (str, "x", "x"),
    (int | None, None, None), (int | float, 1.0, 1.0), (int | float, 1, 1), (list[str], ["a"], ["a"]),
    (list[str], "dog", ["dog"]), (list[schema.Trimmed], "' * '", ["*"]), (list[int], [1, 2.0], [1, 2]),
    (tuple[int, int], [1, 2], [1, 2]), (tuple[int, int] | None, None, None), (schema.Count, 1, 1),
    (schema.Share, 0, 0), (schema.Share, 1.0, 1.0), (schema.Positive, 1e-9, 1e-9), (Literal["a", 1], 1, 1),
    (Any, object, object), (dict[str, Any], {"a": 1}, {"a": 1}), (schema.Levels, [1, 2], [1, 2]),
    (schema.Trimmed, ' "*" ', "*"), (schema.Trimmed, "'", "'"), (schema.Trimmed, '"', '"'),
    (Annotated[int, schema.Range(1, 9, also=(-1,))], -1, -1)])
def test_what_is_of_a_kind(kind, value, result):
    found = schema.check("key", value, kind)
    assert found == result and type(found) is type(result)


@pytest.mark.parametrize("kind, value, allowed", [
    (int, 2.5, "a whole number"), (int, "two", "a whole number"), (int, True, "a whole number"), (int, None, "number"),
    (int, float("nan"), "whole"), (int, float("inf"), "whole"), (float, "fast", "a number"),
    (float, float("nan"), "a number"), (float, 10**400, "a number"), (float, False, "a number"), (bool, 2,
    "true or false"),
    (bool, "true", "true or false"), (str, 5, "text"), (str, "a\0b", "text"), (list[str], [1], "a list"),
    (list[int], 5, "a list, each entry a whole number"), (tuple[int, int], [1], "a list of 2"), (schema.Count, 0,
    "from 1"),
    (schema.Count, 2**31, "to 2147483647"), (schema.Share, 1.01, "from 0 to 1"), (schema.Positive, 0, "above 0"),
    (schema.Rate | None, -1, "a number above 0 and at most 1000, or null"), (Literal["a", "b"], "c", "one of a, b"),
    (Literal[1], True, "one of 1"), (schema.Trimmed, " '' ", "text that is not empty"), (schema.Levels, [], "1 to 16"),
    (schema.Levels, [1] * 17, "1 to 16"), (dict[str, Any], [1], "a mapping"), (torch.nn.Module, "x", "Module")])
def test_what_is_not_is_named_with_key_value_and_what_is_allowed(kind, value, allowed):
    with pytest.raises(UserError) as refused:
        schema.check("some.key", value, kind)
    text = str(refused.value)
    assert text.startswith("some.key=") and "must be" in text and allowed in text and len(text.splitlines()) == 1


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from([int, float, bool, str, schema.Count, schema.Share, schema.Rate | None, schema.Levels,
                        list[schema.Trimmed] | None, tuple[schema.Natural, schema.Count] | None, Literal["l1", "l2"]]),
       st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x, max_size=3)))
def test_any_value_is_of_a_kind_for_good_or_refused_in_one_line(kind, value):
    try:
        found = schema.check("key", value, kind)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert schema.check("key", found, kind) == found, "what was made of it stays what it is"


def without_range(kind) -> bool:
    """Whether a kind takes any number there is."""
    if typing.get_origin(kind) is Annotated:
        return False
    return kind in (int, float) or any(without_range(k) for k in typing.get_args(kind))


def test_every_constructor_that_a_config_names_says_what_it_takes():
    """No parameter of a class of this project is without a kind, but for what the code gives it."""
    names = ["ldm.models.diffusion.ddpm.LatentDiffusion", "ldm.modules.diffusionmodules.openaimodel.UNetModel",
             "ldm.models.autoencoder.AutoencoderKL", "ldm.modules.encoders.modules.BERTEmbedder",
             "ldm.modules.embedding_manager.EmbeddingManager", "ldm.data.personalized.PersonalizedBase",
             "ldm.data.data_module.DataModuleFromConfig", "make_log_new.ImageLogger",
             "improvement.v1.post_BERT.PostBERTDiffusion", "improvement.v1.post_BERT.PostBERTManager",
             "improvement.v2.pre_BERT.AlignedEmbedder"]
    for name in names:
        for parameter, p in schema.parameters(load.get_obj_from_str(name)).items():
            assert p.annotation is not Any or parameter == "embedder", f"{name}.{parameter}"
            assert not without_range(p.annotation), f"{name}.{parameter}"
            if p.default is not p.empty:
                schema.check(parameter, p.default, p.annotation)


# Configs -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", [*CONFIGS, GOLDEN / "config.yaml"], ids=lambda p: p.name)
def test_the_configs_there_are_pass_as_they_are(path):
    config = whole_config(path)
    assert check_config(config) == config


@pytest.mark.parametrize("override", [
    "data.params.batch_size=0", "data.params.batch_size=-1", "data.params.batch_size=2.5", "data.params.batch_size=two",
    "data.params.batch_size=${nope}", "data.params.batch_size=null", "data.params.batch_size=1:40",
    "data.params.num_workers=-1", "model.base_learning_rate=nan", "model.base_learning_rate=.nan",
    "model.base_learning_rate=.inf", "model.base_learning_rate=-1", "model.base_learning_rate=0",
    "model.base_learning_rate=fast", "model.base_learning_rate=1:40", "model.base_learning_rate=1e30",
    f"{TRAIN}.size=60", f"{TRAIN}.size=0", f"{TRAIN}.size=-64", f'{TRAIN}.templates=["a {{}}"',
    f"{TRAIN}.templates=[1]", f"{TRAIN}.flip_p=2", f"{TRAIN}.repeats=0", f"{TRAIN}.interpolation=nearest",
    f"{TRAIN}.seed=-1", f"{TRAIN}.mixing_prob=-0.1", f"{WORDS}.num_vectors_per_token=0",
    f"{WORDS}.num_vectors_per_token=31", f"{WORDS}.placeholder_strings=['']", f"{LOGGER}.max_images=0",
    f"{LOGGER}.batch_frequency=0", f"{LOGGER}.log_images_kwargs.x=1", f"{LOGGER}.log_images_kwargs.N=1",
    f"{LOGGER}.log_images_kwargs.ddim_steps=0", f"{LOGGER}.log_images_kwargs.ddim_steps=two",
    "lightning.modelcheckpoint.params.every_n_train_steps=0", "lightning.trainer.max_steps=0",
    "lightning.trainer.max_steps=-5", "lightning.trainer.max_steps=text", "lightning.trainer.max_steps=1e30",
    "lightning.trainer.accumulate_grad_batches=0", "lightning.trainer.precision=7", "lightning.trainer=5",
    "lightning.callbacks.image_logger=5", "lightning.callbacks.image_logger.target=setup.SetupCallback",
    "lightning.trainer.gradient_clip_val=.nan", "model.params.timestep_range=[5,3]", "run.seed=-1",
    "model.params.timestep_range=[0,1001]", "model.params.timestep_range=[-1,3]", "model.params.scale_factor=0",
    "model.params.timesteps=0", "model.params.linear_start=0.5", "model.params.snr_weight=[2,1]",
    "model.params.min_snr_gamma=0", "model.params.preserve_embedding_norm=2", f"{LOGGER}.preview_prompts=['']",
    "model.lr_schedule=cosin", "model.lr_schedule=[]", "model.lr_schedule='0.1:2, 0.1:1'",
    "model.params.image_size=15", "model.params.channels=3", "model.params.loss_type=l3", "model=5", "model.params=5",
    "model.params.first_stage_key=jpg", "model.params.first_stage_config.params.ddconfig.z_channels=0",
    "model.params.unet_config=5", "model.params.unet_config.params.context_dim=191", "data=null", "data.params.train=5",
    "run.scale_lr=maybe", "run.seed=4294967296", "data.params.batch_size=???",
    f"{WORDS}.num_vectors_per_token= ???"])
def test_a_bad_value_is_named_before_anything_is_made_of_it(override):
    with pytest.raises(UserError) as refused:
        changed(override)
    text, key = str(refused.value), override.partition("=")[0]
    assert key in text or key.rpartition(".")[0] in text or "linear" in text, text
    assert len(text.splitlines()) == 1 and len(text) < 500


@pytest.mark.parametrize("override, key, value", [
    (f"{WORDS}.initializer_words=dog", f"{WORDS}.initializer_words", ["dog"]),
    (f"{WORDS}.placeholder_strings=' & '", f"{WORDS}.placeholder_strings", ["&"]),
    (f'{WORDS}.placeholder_strings=["\\"*\\""]', f"{WORDS}.placeholder_strings", ["*"]),
    (f"{TRAIN}.templates=a {{}}", f"{TRAIN}.templates", ["a {}"]),
    ("lightning.trainer.max_steps=1e3", "lightning.trainer.max_steps", 1000),
    ("data.params.batch_size=4.0", "data.params.batch_size", 4),
    (f"{TRAIN}.center_crop=1", f"{TRAIN}.center_crop", True),
    ("lightning.trainer.limit_val_batches=1.0", "lightning.trainer.limit_val_batches", 1.0),
    ("lightning.trainer.max_steps=-1", "lightning.trainer.max_steps", -1),
    ("lightning.trainer.precision=bf16-mixed", "lightning.trainer.precision", "bf16-mixed"),
    ("data.params.batch_size=${model.params.channels}", "data.params.batch_size", 4),
    (f"{LOGGER}.log_images_kwargs.unconditional_guidance_scale=2", f"{LOGGER}.log_images_kwargs",
     {"unconditional_guidance_scale": 2}),
    ("model.params.timestep_range=[0,1000]", "model.params.timestep_range", [0, 1000])])
def test_a_good_value_is_what_its_kind_makes_of_it(override, key, value):
    found = OmegaConf.select(changed(override), key)
    assert found == value and type(found) in (type(value), *([type(OmegaConf.create([])), type(OmegaConf.create({}))]))


KEYS = sorted({"data.params.batch_size", "data.params.num_workers", "model.base_learning_rate", "lightning.trainer",
               f"{TRAIN}.size", f"{TRAIN}.flip_p", f"{TRAIN}.templates", f"{WORDS}.placeholder_strings", "model.params",
               f"{WORDS}.num_vectors_per_token", f"{LOGGER}.log_images_kwargs", "lightning.trainer.max_steps", "data",
               "model.params.timestep_range", "model.params.unet_config",
               "model.params.first_stage_config.params.ddconfig",
               "model.params.unet_config.params.channel_mult", "lightning.callbacks", "run.seed",
               "model.params.snr_weight", "model.lr_schedule", f"{LOGGER}.preview_prompts",
               "model.params.unet_config.target", "lightning.callbacks.image_logger.target",
               "data.params.train.target"})


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sampled_from(KEYS), st.one_of(
    st.integers().map(str), st.floats().map(str), st.text(max_size=8), st.text("[]{}:,'\"&*${}ab.0123 -", max_size=12),
    st.sampled_from(["null", "true", "[]", "{}", "[[]]", "{target: 5}", "{target: torch.nn.Identity}", "{params: 5}",
                     "{target: ldm.util.Path, params: []}", "[{}]", "ldm.data.personalized.PersonalizedBase"])))
def test_any_value_of_any_key_passes_or_is_refused_in_one_line(key, text):
    try:
        config = changed(f"{key}={text}")
    except UserError as error:
        assert len(str(error).splitlines()) <= 1, str(error)
    else:
        assert check_config(config) == config


def test_parameters_without_a_meaning_are_not_checked():
    config = whole_config()
    config.model.params.first_stage_config.params.monitor = {"target": 5, "batch_size": "anything"}
    assert check_config(config) == config


def test_a_config_that_nobody_has_checked_is_checked_when_something_is_made_of_it():
    with pytest.raises(UserError, match="DataModuleFromConfig: batch_size=0: must be a whole number"):
        load.instantiate_from_config({"target": "main.DataModuleFromConfig", "params": {"batch_size": 0}})
    config = OmegaConf.create({"target": "main.DataModuleFromConfig", "params": {"batch_size": "${nope}"}})
    with pytest.raises(UserError, match="nope"):
        load.instantiate_from_config(config)
    for broken in (5, None, "os.system", [], {"target": "torch.nn.Linear", "params": 5}):
        with pytest.raises(UserError):
            load.instantiate_from_config(broken)


def test_what_a_constructor_refuses_is_one_line_with_its_cause():
    with pytest.raises(UserError, match="torch.nn.Conv2d: groups must be a positive integer") as refused:
        load.instantiate_from_config({"target": "torch.nn.Conv2d", "params": {
            "in_channels": 1, "out_channels": 1, "kernel_size": 1, "groups": 0}})
    assert isinstance(refused.value.__cause__, ValueError)


def test_a_model_s_config_is_checked_for_every_command(tmp_path):
    text = (EMOJI.parent / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("scale_factor: 0.91052", "scale_factor: 0"))
    with pytest.raises(UserError, match="config.yaml: model.params.scale_factor=0: must be a number above 0"):
        load.model_config(tmp_path / "model.ckpt")


# Commands ------------------------------------------------------------------------------------------------------------

def learn(monkeypatch, tmp_path, *arguments, **flags):
    """train_new.py with arguments; to load a model is an error."""
    def no_model(*args, **kwargs):
        raise AssertionError("loads a model")
    monkeypatch.setattr(training.learn, "load_model_from_config", no_model)
    values = {"base": "configs/emoji/finetune.yaml", "actual_resume": EMOJI, "data_root": "dataset/flamingo",
              "init_word": "bird", "logdir": tmp_path / "logs"} | flags
    result = run_main(train_new.main, *(x for k, v in values.items() for x in (f"--{k}", v)), "-t", *arguments)
    assert not (tmp_path / "logs").exists()
    return result


@pytest.mark.parametrize("override, words", [
    ("data.params.batch_size=two", ["data.params.batch_size=two", "whole number from 1"]),
    ("model.base_learning_rate=1:40", ["model.base_learning_rate=1:40", "a number above 0"]),
    (f"{TRAIN}.size=60", [f"{TRAIN}.size=60", "a multiple of 32"]),
    (f'{TRAIN}.templates=["a {{}}"', [f"{TRAIN}.templates", "does not fit"]),
    (f"{TRAIN}.templates=[a photo]", ["templates", "'a photo'"]),
    ("data.params.train=null", ["data.params.train: nothing to learn from"]),
    ("lightning.trainer.strategy=none", ["lightning.trainer", "none"]),
    ("lightning.trainer.max_time=soon", ["lightning.trainer"]),
    ("lightning.trainer.accelerator=abacus", ["lightning.trainer", "abacus"]),
    ("lightning.trainer.logger=x", ["lightning.trainer.logger=x"]), ("lightning.trainer.plugins=x", ["plugins"]),
    ("lightning.trainer.max_stepz=5", ["lightning.trainer.max_steps"])])
def test_training_is_refused_before_the_model_is_loaded(monkeypatch, tmp_path, override, words):
    assert_one_line_error(learn(monkeypatch, tmp_path, override), *words)


@pytest.mark.parametrize("flags, words", [
    ({"seed": -1}, ["--seed", "'-1'", "from 0 to 4294967295"]), ({"seed": 99999999999}, ["--seed", "99999999999"]),
    ({"seed": "two"}, ["--seed"]), ({"seed": "１２"}, ["--seed"]), ({"seed": "1_0"}, ["--seed"]),
    ({"init_word": " '' "}, ["--init_word", "empty"]), ({"placeholder_string": ' "" '}, ["--placeholder_string"]),
    ({"gpus": "0,0"}, ["--gpus"]), ({"gpus": "１"}, ["--gpus"]), ({"gpus": "-1"}, ["--gpus"])])
def test_flags_of_training_are_checked_at_once(monkeypatch, tmp_path, flags, words):
    assert_one_line_error(learn(monkeypatch, tmp_path, **flags), *words)


def test_a_config_in_which_a_word_is_text_keeps_its_letters_together(monkeypatch, tmp_path):
    (tmp_path / "word.yaml").write_text(
        "model: {params: {personalization_config: {params: {initializer_words: dog, placeholder_strings: '&'}}}}")
    seen = []

    def stop(config, run, *more):
        seen.append(config)
        raise UserError("enough")
    monkeypatch.setattr(training.learn, "build_model", stop)
    result = run_main(train_new.main, "--base", "configs/emoji/finetune.yaml", tmp_path / "word.yaml",
    "--actual_resume",
                      EMOJI, "--data_root", "dataset/flamingo", "--logdir", tmp_path / "logs")
    assert_one_line_error(result, "enough")
    words = OmegaConf.select(seen[0], WORDS)
    assert words.initializer_words == ["dog"] and words.placeholder_strings == ["&"]
    assert OmegaConf.select(seen[0], f"{TRAIN}.placeholder_token") == "&"


# Placeholders --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("placeholder", ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"])
def test_signs_of_the_text_encoder_are_no_placeholders(emoji_model, placeholder):
    with pytest.raises(UserError, match="placeholder"):
        EmbeddingManager(emoji_model.cond_stage_model, [placeholder], ["bird"])


def test_an_ordinary_word_as_placeholder_is_warned_about(emoji_model, recwarn):
    EmbeddingManager(emoji_model.cond_stage_model, ["*", "&", "@"], ["bird"], per_image_tokens=True)
    assert not [w for w in recwarn if "placeholder" in str(w.message)]
    for word in ("bird", "a"):
        with pytest.warns(UserWarning, match=f"placeholder '{word}' is a word of the text encoder"):
            EmbeddingManager(emoji_model.cond_stage_model, [word], ["bird"])
