"""The check of a whole config, before anything is loaded: every key that this project defines, and how keys fit."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf

from ldm.configs import resolved
from ldm.errors import UserError
from ldm.schedules import FORMS, parse_schedule, refusal
from ldm.schema import Builds, Count, Natural, Range, Rate, Seed, Weight, check, parameters, show
from ldm.targets import get_obj_from_str, is_own

MODEL = Builds("ldm.models.diffusion.ddpm.LatentDiffusion")
DATA = Builds("pytorch_lightning.core.datamodule.LightningDataModule")
CALLBACK = Builds("pytorch_lightning.callbacks.callback.Callback")
SETUP = "setup.SetupCallback"  # every run has one; a second one would write where the config says

# Of keys that no constructor takes.
KINDS: dict[str, dict[str, Any]] = {
    "model": {"base_learning_rate": Rate | None, "lr_schedule": str | None},
    "run": {"seed": Seed, "scale_lr": bool, "folder": str | None, "actual_resume": str | None,
            "embedding_manager_ckpt": str | None},
    "lightning.modelcheckpoint.params": {"every_n_train_steps": Count},
}
# Of the arguments of Lightning's trainer that it takes with any value; the others' are its annotations.
TRAINER: dict[str, Any] = {
    "max_steps": Annotated[int, Range(1, 10**9, also=(-1,))], "max_epochs": Annotated[int, Range(1, 10**9, also=(-1,))],
    "min_steps": Natural | None, "min_epochs": Natural | None, "accumulate_grad_batches": Count,
    "log_every_n_steps": Natural, "check_val_every_n_epoch": Count | None, "num_nodes": Count,
    "num_sanity_val_steps": Annotated[int, Range(0, 10**9, also=(-1,))], "gradient_clip_val": Weight | None,
}
TRAINER["max_epochs"] |= None
# Arguments of the trainer that every run gives itself.
OWN = ("callbacks", "default_root_dir", "enable_checkpointing", "enable_model_summary", "logger", "plugins",
       "use_distributed_sampler")


def check_named(prefix: str, values: Any, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping, or null for an empty one, with those values checked whose kinds are known."""
    values = check(prefix, values, Mapping[str, Any] | None) or {}
    return {k: check(f"{prefix}.{k}", v, kinds[k]) if k in kinds else v for k, v in values.items()}


def check_trainer(values: Any) -> dict[str, Any]:
    """The arguments under lightning.trainer. Raises UserError for one that Lightning's trainer does not take."""
    from pytorch_lightning import Trainer

    kinds = {name: p.annotation for name, p in inspect.signature(Trainer.__init__).parameters.items() if name != "self"}
    kinds |= dict.fromkeys(OWN, Any)
    values = check_named("lightning.trainer", values, kinds | TRAINER)
    for name in values:
        if name in OWN:
            raise UserError(f"lightning.trainer.{name}={show(values[name])}: a run has its own; leave it out")
        if name not in kinds:
            raise UserError(f"lightning.trainer.{name}: Lightning's trainer has no such argument; the nearest is "
                            f"{difflib.get_close_matches(name, kinds, n=1, cutoff=0.0)[0]!r}")
    return values


def check_lightning(lightning: Any) -> dict[str, Any]:
    """The section of trainer, callbacks and checkpoints."""
    lightning = check_named("lightning", lightning, {
        "modelcheckpoint": Mapping[str, Any] | None, "callbacks": Mapping[str, Any] | None})
    if lightning.get("modelcheckpoint"):
        key = "lightning.modelcheckpoint.params"
        params = check_named(key, lightning["modelcheckpoint"].get("params"), KINDS[key])
        lightning["modelcheckpoint"] = {**lightning["modelcheckpoint"], "params": params}
    if lightning.get("callbacks"):
        kind = Annotated[Mapping[str, Any], CALLBACK]
        lightning["callbacks"] = check_named("lightning.callbacks", lightning["callbacks"],
                                             dict.fromkeys(lightning["callbacks"], kind))
        for name, callback in lightning["callbacks"].items():
            cls = get_obj_from_str(callback["target"])
            if f"{cls.__module__}.{cls.__qualname__}" == SETUP:
                raise UserError(f"lightning.callbacks.{name}.target={callback['target']}: every run has one already; "
                                "leave it out")
    if "trainer" in lightning:
        lightning["trainer"] = check_trainer(lightning["trainer"])
    return lightning


def check_config(config: Mapping[Any, Any], parts: Sequence[str] = ("model", "data", "lightning", "run")
                 ) -> DictConfig:
    """The config with the given parts of it checked, its references resolved and its values as their kinds have them.

    Loads the classes that the config names, and nothing else. Raises UserError with key, value and what is allowed.
    """
    values = resolved(config)
    for part in parts:
        if part not in values:
            continue
        if part == "lightning":
            values[part] = check_lightning(values[part])
            continue
        if part in ("model", "data"):
            values[part] = check(part, values[part], Annotated[Mapping[str, Any], MODEL if part == "model" else DATA])
        values[part] = check_named(part, values[part], KINDS.get(part, {}))
    if "model" in parts and "model" in values:
        for key, value, fits, allowed in fits_of(values):
            if not fits:
                raise UserError(f"{key}={show(value)}: must be {allowed}")
    return OmegaConf.create(values)


# How keys fit together -----------------------------------------------------------------------------------------------

def given(config: Any, name: str) -> Any:
    """What a config of an object of this project gives a parameter, or its default; None where there is neither."""
    if not isinstance(config, Mapping):
        return None
    params = config.get("params") or {}
    if name in params:
        return params[name]
    target = get_obj_from_str(config["target"])
    found = parameters(target).get(name) if is_own(target.__module__) else None
    return None if found is None or found.default is found.empty else found.default


def fits_of(values: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool, str]]:
    """(key, value, whether it fits the others, what would fit) for values that have to fit each other. Those of other
    people's classes are not known, and fit."""
    model = values["model"]
    unet, autoencoder, text = (given(model, name) for name in (
        "unet_config", "first_stage_config", "cond_stage_config"))
    yield from _schedule(model)
    yield from _rates(model.get("lr_schedule"), values.get("lightning"))
    levels, stages = given(unet, "channel_mult"), (given(autoencoder, "ddconfig") or {}).get("ch_mult")
    channels = given(model, "channels")
    for key, value in (("unet_config.params.in_channels", given(unet, "in_channels")),
                       ("unet_config.params.out_channels", given(unet, "out_channels")),
                       ("first_stage_config.params.embed_dim", given(autoencoder, "embed_dim"))):
        if value is not None and channels is not None:
            yield f"model.params.{key}", value, value == channels, f"{channels}, as model.params.channels is"
    width = given(text, "n_embed")
    if width is not None and (context := given(unet, "context_dim")) is not None:
        yield ("model.params.unet_config.params.context_dim", context, context == width,
               f"{width}, as model.params.cond_stage_config.params.n_embed is")
    words, length = given(model, "personalization_config"), given(text, "max_seq_len") or given(text, "max_length")
    if length is not None and (vectors := given(words, "num_vectors_per_token")) is not None:
        yield ("model.params.personalization_config.params.num_vectors_per_token", vectors, vectors <= length - 2,
               f"at most {length - 2}: a prompt has {length} tokens")
    if levels:
        size, stride = given(model, "image_size"), 2 ** (len(levels) - 1)
        yield "model.params.image_size", size, size % stride == 0, f"a multiple of {stride}, the network's strides"
    if levels and stages:
        patch = given(autoencoder, "ddconfig").get("patch", 1)
        yield from _data(values.get("data"), model, patch * 2 ** (len(levels) + len(stages) - 2))


def _schedule(model: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool, str]]:
    start, end, steps = (given(model, name) for name in ("linear_start", "linear_end", "timesteps"))
    if start is not None and end is not None:
        yield "model.params.linear_start", start, start <= end, f"at most linear_end, {end}"
    trained = given(model, "timestep_range")
    if trained is not None and steps is not None:
        yield ("model.params.timestep_range", list(trained), trained[0] < trained[1] <= steps,
               f"[first, end] with 0 <= first < end <= timesteps, {steps}")
    if (weight := given(model, "snr_weight")) is not None:
        yield "model.params.snr_weight", list(weight), weight[0] <= weight[1], "[low, high] with low <= high"


def _rates(schedule: str | None, lightning: Any) -> Iterator[tuple[str, Any, bool, str]]:
    if schedule is None:
        return
    why = refusal(schedule)
    yield "model.lr_schedule", schedule, why is None, f"{FORMS}; {why}"
    if ((lightning or {}).get("trainer") or {}).get("max_steps") == -1:
        yield ("model.lr_schedule", schedule, not parse_schedule(schedule).needs_end,
               "constant, or rates, for a run without an end; give lightning.trainer.max_steps")


def _data(data: Any, model: Mapping[str, Any], stride: int) -> Iterator[tuple[str, Any, bool, str]]:
    for name in ("train", "validation", "test"):
        dataset = given(data, name)
        size = given(dataset, "size")
        if size is not None:
            yield (f"data.params.{name}.params.size", size, size % stride == 0,
                   f"a multiple of {stride}: of what the autoencoder and the network divide it by")
        if isinstance(dataset, Mapping) and is_own(get_obj_from_str(dataset["target"]).__module__):
            for key, entry in (("first_stage_key", "image"), ("cond_stage_key", "caption")):
                value = given(model, key)
                yield f"model.params.{key}", value, value in (None, entry), f"{entry!r}, as the data set has it"
