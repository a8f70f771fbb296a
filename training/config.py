"""The config of a run: YAML files, the variant, key=value overrides and flags, from left to right."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldm.cli import (
    apply_overrides,
)
from ldm.errors import UserError
from ldm.runs import Run, relocated
from load import (
    EMBEDDED_MODEL,
    ROOT,
    announce_config,
    check_config,
    check_files,
    config_beside,
    get_obj_from_str,
    has_clip,
    instantiate_from_config,
    load_config,
    load_model_config,
    merge_configs,
    with_variant,
)
from training.flags import AUTO, FLAG_KEYS

if TYPE_CHECKING:  # what takes seconds to import is imported where it is used, so that --help and errors are quick
    from omegaconf import DictConfig


MANAGER = "model.params.personalization_config"
INIT_WORDS = f"{MANAGER}.params.initializer_words"


def merge_config(opt: argparse.Namespace, run: Run, overrides: list[str]) -> DictConfig:
    """The run's config: YAML files, then the variant of the model, then key=value overrides, then flags. Raises
    UserError for what is missing.

    Configs that do not describe the model go on top of the config.yaml beside its checkpoint.
    """
    from omegaconf import OmegaConf

    config = load_config(*run.configs)
    if run.state:
        config = relocated(config)
        kept = OmegaConf.select(config, MANAGER)
        config = merge_configs(config, *([load_config(*opt.base)] if opt.base else []))
        OmegaConf.update(config, MANAGER, kept)  # what is learned is the run's affair, unless it is asked for below
    flags = {name: getattr(opt, name) for name in ("seed", "scale_lr", "actual_resume", "embedding_manager_ckpt")}
    stored = OmegaConf.create({"init_words": OmegaConf.select(config, INIT_WORDS),
                               "file": OmegaConf.select(config, "run.embedding_manager_ckpt")})
    config.run = OmegaConf.merge({"seed": 23, "scale_lr": True}, config.get("run") or {},
                                 {k: v for k, v in flags.items() if v is not None}, {"folder": os.getcwd()})
    checkpoint = config.run.get("actual_resume")
    if not checkpoint:
        raise UserError("no model: give --actual_resume with a checkpoint, such as models/ldm/emoji/model.ckpt")
    check_files(checkpoint, config.run.get("embedding_manager_ckpt"))
    if OmegaConf.select(config, "model.target") is None and (beside := config_beside(checkpoint)):
        announce_config(beside)
        config = merge_configs(load_model_config(beside), config)
    for part in ("model", "data"):
        if part not in config:
            raise UserError(f"the configs have no `{part}:` ({', '.join(map(str, run.configs))})")
    config = check_config(apply_overrides(with_variant(config, opt.variant), overrides))
    if not run.state:
        start_from_file(opt, config)
    write_flags(opt, config)
    config = check_config(config)  # again: what flags say is as free as what keys say
    name_word(opt, config, new_seed=opt.seed is not None or any(o.startswith("run.seed=") for o in overrides))
    if run.state:
        check_start(run, config, stored)
    return config


def training_config(ckpt_path: str | Path, variant: str | None = None) -> Path:
    """The config that a model's words are learned with where nobody names another."""
    if Path(ckpt_path).resolve() == EMBEDDED_MODEL.resolve():
        name = "emoji/finetune"
    elif has_clip(ckpt_path):
        return ROOT / "configs/stable-diffusion/v1-finetune.yaml"
    else:
        name = "latent-diffusion/txt2img-1p4B-finetune"
    return ROOT / "configs" / (name + (f"-{variant}" if variant else "") + ".yaml")


def training_set(configs: Sequence[str | Path], data_root: str | Path, placeholder: str = "*", seed: int = 23,
                 **params: Any) -> Any:
    """The data set of training configs, with a folder of pictures. Raises UserError for configs that have none."""
    from omegaconf import OmegaConf

    config = OmegaConf.select(load_config(*configs), "data.params.train")
    if config is None:
        raise UserError(f"{configs[-1]}: has no data.params.train, the data set to learn from; name others with --base")
    return instantiate_from_config(merge_configs(config, {"params": {
        "data_root": str(data_root), "seed": seed, "placeholder_token": placeholder, **params}}))


def write_flags(opt: argparse.Namespace, config: DictConfig) -> None:
    """Write the flags of FLAG_KEYS, the image logger's, and those for stopping and ranking, that were given where they
    belong. Raises UserError where there is no image logger."""
    from omegaconf import OmegaConf

    datasets = [name for name in ("train", "validation", "test") if OmegaConf.select(config, f"data.params.{name}")]
    for flag, key in FLAG_KEYS.items():
        if (value := getattr(opt, flag)) is not None:
            for name in datasets if "*" in key else [""]:
                OmegaConf.update(config, key.replace("*", name), value, force_add=True)
    callbacks = OmegaConf.select(config, "lightning.callbacks") or {}
    loggers = [c for c in callbacks.values() if get_obj_from_str(c.target).__name__ == "ImageLogger"]
    if opt.preview_prompt is not None and not loggers:
        raise UserError("--preview_prompt: the config has no image logger under lightning.callbacks; give one, with "
                        "target: make_log_new.ImageLogger")
    for logger in loggers if opt.preview_prompt is not None else ():
        logger.params = OmegaConf.merge(logger.get("params") or {}, {"preview_prompts": opt.preview_prompt})
    if opt.stop is not None:
        from ldm.stopping import set_stop

        set_stop(config, opt.stop)
    if opt.judge is not None:
        from ldm.ranking import set_judge

        set_judge(config, opt.judge)


def name_word(opt: argparse.Namespace, config: DictConfig, new_seed: bool) -> None:
    """Write the flags for the word and chance where model and data sets read them."""
    from omegaconf import OmegaConf

    words = OmegaConf.select(config, f"{MANAGER}.params")
    if words is None:
        raise UserError("the config has no model.params.personalization_config: nothing to learn")
    if opt.init_word not in (None, AUTO):
        words.initializer_words = [opt.init_word, *(words.get("initializer_words") or [])[1:]]
    if opt.placeholder_string is not None:
        words.placeholder_strings = [opt.placeholder_string, *(words.get("placeholder_strings") or [])[1:]]
    placeholders = list(words.get("placeholder_strings") or ["*"])
    for name in ("train", "validation", "test"):
        dataset = OmegaConf.select(config, f"data.params.{name}")
        if dataset is not None:
            given = {"seed": config.run.seed} if new_seed else {}
            given |= {"placeholder_tokens": placeholders} if len(placeholders) > 1 else {}
            dataset.params = OmegaConf.merge({"seed": config.run.seed}, dataset.get("params") or {},
                                             {"placeholder_token": placeholders[0]}, given)
            if not dataset.params.get("data_root"):
                raise UserError("no pictures: give --data_root with a folder of 3 to 5 of them")


def start_from_file(opt: argparse.Namespace, config: DictConfig) -> None:
    """Let a word that learning goes on from keep its name, unless --placeholder_string gives it another. Raises
    UserError for a file of several words of which none is named."""
    from omegaconf import OmegaConf

    from ldm.embedding_files import read_words
    from ldm.placeholders import call_words, same_name

    words, file = OmegaConf.select(config, f"{MANAGER}.params"), config.run.get("embedding_manager_ckpt")
    if words is None or not file:
        return
    called = call_words([(file, own) for own in read_words(file).own_names])
    configured = words.get("placeholder_strings") or ["*"]
    asked = opt.placeholder_string or configured[0]
    if len(called) == 1:
        words.placeholder_strings = [opt.placeholder_string or called[0], *configured[1:]]
    elif same_name(asked) not in map(same_name, called):
        raise UserError(f"{file} has no placeholder {asked!r}, it has {' '.join(called)}; name one of them with "
                        "--placeholder_string")


def check_start(run: Run, config: DictConfig, stored: DictConfig) -> None:
    """Raises UserError when a resumed run is asked to start from something else: it goes on from what it learned."""
    from omegaconf import OmegaConf

    file = config.run.get("embedding_manager_ckpt")
    for flag, old, new in (("init_word", stored.init_words, OmegaConf.select(config, INIT_WORDS)),
                           ("embedding_manager_ckpt", stored.file and os.path.realpath(stored.file),
                            file and os.path.realpath(file))):
        if old != new:
            raise UserError(f"--{flag}: {run.path} started from {old}, and goes on from what it has learned; for a "
                            f"start from {new} begin a new run")
