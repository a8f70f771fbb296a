"""Odd values for every key of a config and every number of a command line:
python -m benchmarks.faults overrides [--count N] [--seed S]

Each is refused in one line before the model is loaded, or it is a value that the key may have and the command goes
well. Keys and kinds come from the constructors; the values are written down here.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from omegaconf import OmegaConf

from benchmarks.faults.runs import NO_GRIDS, ROOT, command, train, warm_up
from ldm.checks import KINDS, TRAINER
from ldm.schema import Arguments, Builds, Filled, Range, Stripped, parameters
from ldm.targets import get_obj_from_str
from load import load_config, merge_configs

COUNT = 400
CONFIGS = ("models/ldm/emoji/config.yaml", "configs/emoji/finetune.yaml")

# What no key may be, whatever its kind, and what no number may be.
NEVER = ("${nope}", "${oc.env:HOME}", "${oc.decode:1}", "${a.${b}}", "???", "[", "{a: ", '"', "&a [*a]",
         "!!python/name:os.x",
         "a: b: c", "\tx: 1")
NO_NUMBER = ("two", "nan", ".nan", ".inf", "-.inf", "1e400", "1:40", "010", "'1'", "１２", "٣", "[1, 2, 3]", "{a: 1}",
             "true", "1 2", "0o17", "2026-01-01", "--1", "1,5", "1e-", "~x", "2026-01-01T00:00:00Z")
NO_TEXT = ("1", "1.5", "true", "[1]", "{a: 1}", ".nan", '"a\\0b"', '"\\ud800"')
NO_SWITCH = ("two", "2", "-1", "1.5", "[true]", "{a: true}", ".nan", "maybe", "'true'")
NO_LIST = ("{a: 1}", "1.5", "true")
NO_MAPPING = ("1", "two", "[1]", "true", "[a, b]")

# Values that fit their kind, and not the rest of the config; or that a kind's neighbours would take.
MORE = (
    "data.params.batch_size=0", "data.params.batch_size=-1", "data.params.batch_size=2.5", "data.params.batch_size=two",
    "data.params.batch_size=${nope}", "data.params.batch_size=null", "data.params.batch_size=1e30",
    "data.params.batch_size=",
    "data.params.num_workers=-1", "data.params.num_workers=100000",
    "model.base_learning_rate=nan", "model.base_learning_rate=.nan", "model.base_learning_rate=.inf",
    "model.base_learning_rate=-1", "model.base_learning_rate=0", "model.base_learning_rate=fast",
    "model.base_learning_rate=1:40", "model.base_learning_rate=1e30", "model.base_learning_rate=null",
    "data.params.train.params.size=60", "data.params.train.params.size=0", "data.params.train.params.size=-64",
    "data.params.train.params.size=8", "data.params.train.params.size=64.5", "data.params.train.params.size=10000000",
    'data.params.train.params.templates=["a {}"', "data.params.train.params.templates=[a photo]",
    "data.params.train.params.templates=a photo", "data.params.train.params.templates=['{} {}']",
    "data.params.train.params.templates=[1]", "data.params.train.params.templates={a: 1}",
    "data.params.train.params.flip_p=2", "data.params.train.params.flip_p=-0.1", "data.params.train.params.repeats=0",
    "data.params.train.params.interpolation=nearest", "data.params.train.params.interpolation=1",
    "data.params.train.params.seed=-1",
    "data.params.train.params.mixing_prob=1.1",
    "model.params.personalization_config.params.num_vectors_per_token=0",
    "model.params.personalization_config.params.num_vectors_per_token=31",
    "model.params.personalization_config.params.num_vectors_per_token=-3",
    "model.params.personalization_config.params.placeholder_strings='a [SEP] b'",
    "model.params.personalization_config.params.placeholder_strings='[PAD]'",
    "model.params.personalization_config.params.placeholder_strings=['[CLS]']",
    "model.params.personalization_config.params.placeholder_strings=' '",
    "model.params.personalization_config.params.initializer_words=['']",
    "lightning.callbacks.image_logger.params.max_images=0",
    "lightning.callbacks.image_logger.params.batch_frequency=0",
    "lightning.callbacks.image_logger.params.log_images_kwargs.x=1",
    "lightning.callbacks.image_logger.params.log_images_kwargs.N=1",
    "lightning.callbacks.image_logger.params.log_images_kwargs.batch=1",
    "lightning.callbacks.image_logger.params.log_images_kwargs.ddim_steps=0",
    "lightning.callbacks.image_logger.params.log_images_kwargs.ddim_steps=two",
    "lightning.callbacks.image_logger.params.log_images_kwargs=[1]",
    "lightning.modelcheckpoint.params.every_n_train_steps=0",
    "lightning.modelcheckpoint.params.every_n_train_steps=2.5",
    "lightning.trainer.max_steps=0", "lightning.trainer.max_steps=-5", "lightning.trainer.max_steps=text",
    "lightning.trainer.max_steps=1e30", "lightning.trainer.max_steps=null", "lightning.trainer.max_steps=1.5",
    "lightning.trainer.accumulate_grad_batches=0", "lightning.trainer.accumulate_grad_batches=-1",
    "lightning.trainer.precision=7", "lightning.trainer.precision=bf17", "lightning.trainer.precision=[16]",
    "lightning.trainer.gradient_clip_val=-1", "lightning.trainer.gradient_clip_val=.nan",
    "lightning.trainer.gradient_clip_algorithm=x", "lightning.trainer.accelerator=abacus",
    "lightning.trainer.strategy=none", "lightning.trainer.devices=-5", "lightning.trainer.devices=x",
    "lightning.trainer.max_epochs=-2", "lightning.trainer.max_time=soon", "lightning.trainer.max_time=5",
    "lightning.trainer.callbacks=x", "lightning.trainer.logger=x", "lightning.trainer.plugins=x",
    "lightning.trainer.profiler=x", "lightning.trainer.limit_train_batches=-1",
    "lightning.trainer.limit_train_batches=2.5",
    "lightning.trainer.val_check_interval=-1", "lightning.trainer.num_nodes=0", "lightning.trainer.default_root_dir=x",
    "lightning.trainer.enable_checkpointing=x", "lightning.trainer.barebones=2", "lightning.trainer=5",
    "lightning=5", "lightning.callbacks=5", "lightning.callbacks.image_logger=5",
    "lightning.callbacks.image_logger.target=os.system", "lightning.callbacks.image_logger.target=setup.SetupCallback",
    "model=5", "model.params=5", "model.target=5", "model.target=torch.nn.Identity", "data=5", "data.params=5",
    "data.target=torch.nn.Identity", "data.params.train=5", "data.params.train.target=torch.nn.Linear", "data=null",
    "model=null", "model.params=null", "data.params.train=null", "run.seed=-1", "run.seed=4294967296",
    "run.scale_lr=maybe", "run.actual_resume=5", "run.actual_resume=none.ckpt",
    "model.params.timestep_range=[5,3]", "model.params.timestep_range=[0,1001]", "model.params.timestep_range=[-1,5]",
    "model.params.timestep_range=[5]", "model.params.timestep_range=[5,5]", "model.params.timestep_range=5",
    "model.params.scale_factor=0", "model.params.scale_factor=-1", "model.params.timesteps=0",
    "model.params.timesteps=1e12", "model.params.linear_start=0.5", "model.params.linear_end=0",
    "model.params.linear_end=2", "model.params.image_size=15", "model.params.image_size=0", "model.params.channels=3",
    "model.params.parameterization=x0", "model.params.loss_type=l3", "model.params.beta_schedule=square",
    "model.params.conditioning_key=concat", "model.params.snr_weight=[2,1]", "model.params.snr_weight=[1]",
    "model.params.first_stage_key=jpg", "model.params.cond_stage_key=txt",
    "model.params.embedding_reg_weight=-1", "model.params.guidance_scale=.inf",
    "model.params.unet_config.target=torch.nn.Identity", "model.params.unet_config=5",
    "model.params.unet_config.params.model_channels=33", "model.params.unet_config.params.channel_mult=[]",
    "model.params.unet_config.params.context_dim=191", "model.params.unet_config.params.num_head_channels=0",
    "model.params.unet_config.params.num_head_channels=7", "model.params.unet_config.params.in_channels=3",
    "model.params.first_stage_config.params.embed_dim=3", "model.params.first_stage_config.params.ddconfig=5",
    "model.params.first_stage_config.params.ddconfig.ch_mult=[1]",
    "model.params.first_stage_config.params.ddconfig.norm_groups=7",
    "model.params.first_stage_config.params.ddconfig.double_z=false",
    "model.params.cond_stage_config.params.n_layer=0", "model.params.cond_stage_config.params.max_seq_len=2",
    "model.params.cond_stage_config.params.vocab_size=10", "model.params.cond_stage_config.params.tokenizer=none/none",
    "model.params.cond_stage_config.params.tokenizer=configs", "model.params.cond_stage_config.params.tokenizer=/",
)
# The tokenizer and the shapes of weights are known when files are opened, and no sooner.
LATE = ("tokenizer", "vocab_size", "n_layer", "max_seq_len", "placeholder_strings", "initializer_words", "channel",
        "ch_mult", "num_res_blocks", "n_embed", "model.params.unet_config", "model.params.first_stage_config")

NUMBERS = ("nan", "inf", "-inf", "1e400", "１２", "1_000", "", " ", "abc", "0x10", "true", "None", "1:40", "٣", "1,5",
           "99999999999999999999999", "1e30", "-99999999999999999999999", "0b1", "1e5000", "--", "+-1", "1.5.5", "½",
           "²")
FLAGS: dict[str, tuple[str, ...]] = {
    "train_new": ("--seed", "--gpus"),
    "txt2img": ("--ddim_steps", "--ddim_eta", "--n_iter", "--n_samples", "--H", "--W", "--scale", "--seed", "--gpus"),
    "check.check_learned": ("--ddim_steps", "--scale", "--seed", "--gpus"),
    "check.check_model": ("--most",),
    "check.check_initword": ("--gpus",), "check.check_placeholder": ("--gpus",),
    "evaluation.evaluate": ("--n_samples", "--ddim_steps", "--scale", "--seed", "--gpus"),
    "evaluation.emoji_suite": ("--ddim_steps", "--scale", "--gpus"),
    "evaluation.gallery": ("--seed",),
    "improvement.v2.train_aligner": ("--steps", "--batch_size", "--learning_rate", "--feature_weight",
                                     "--english_share", "--validation", "--seed", "--gpus"),
    "pretrain.autoencoder": ("--minutes", "--pictures", "--batch_size", "--learning_rate", "--seed", "--kl_weight",
                             "--recolour"),
    "pretrain.ldm": ("--scale_factor", "--drop", "--ema"),
    "pretrain.contact_sheet": ("--scale",), "pretrain.pairs": ("--count", "--seed"),
    "benchmarks.random_checkpoint": ("--seed",),
}
FLAG_VALUES = (
    ("train_new", "--seed", "-1"), ("train_new", "--seed", "99999999999"), ("train_new", "--seed", "4294967296"),
    ("train_new", "--seed", "2.0"), ("train_new", "--gpus", "0,0"), ("train_new", "--gpus", "-1"),
    ("train_new", "--init_word", " "), ("train_new", "--placeholder_string", '""'),
    ("txt2img", "--gpus", "0,1"), ("txt2img", "--gpus", "first"), ("txt2img", "--seed", "-1"),
    ("txt2img", "--ddim_steps", "0"), ("txt2img", "--ddim_steps", "2.5"), ("txt2img", "--n_samples", "0"),
    ("txt2img", "--n_iter", "-1"), ("txt2img", "--H", "0"), ("txt2img", "--W", "-64"), ("txt2img", "--ddim_eta",
    "1.01"),
    ("txt2img", "--ddim_eta", "-0.1"), ("txt2img", "--precision", "7"), ("txt2img", "--variant", "v3"),
    ("check.check_learned", "--gpus", "0,1"), ("evaluation.evaluate", "--gpus", "1,0"),
    ("evaluation.emoji_suite", "--gpus", "0,1"),
)
OPENED = b"opens the model's checkpoint\n"


def keys_of(prefix: str, kinds: Mapping[str, Any], config: Any) -> Iterator[tuple[str, Any]]:
    """(key, kind) of everything below a prefix that constructors take, the parts of a config included."""
    for name, kind in kinds.items():
        key, value = f"{prefix}{name}", config.get(name) if isinstance(config, Mapping) else None
        yield key, kind
        for inner in [kind, *get_args(kind)]:
            for mark in get_args(inner)[1:] if get_origin(inner) is Annotated else ():
                if isinstance(mark, Builds) and isinstance(value, Mapping) and "target" in value:
                    yield from keys_of(f"{key}.params.", kinds_of(value["target"]), value.get("params"))


def kinds_of(target: str) -> dict[str, Any]:
    """What a class in a config takes from it."""
    return {n: p.annotation for n, p in parameters(get_obj_from_str(target)).items() if n != "embedder"}


def keys() -> dict[str, Any]:
    """Every key of the embedded model's config that takes a value, with its kind."""
    config: Any = OmegaConf.to_container(merge_configs(*(load_config(ROOT / c) for c in CONFIGS)))
    found = dict(keys_of("model.", KINDS["model"], config["model"]))
    found |= dict(keys_of("model.params.", kinds_of(config["model"]["target"]), config["model"]["params"]))
    found |= dict(keys_of("data.params.", kinds_of(config["data"]["target"]), config["data"]["params"]))
    logger = config["lightning"]["callbacks"]["image_logger"]
    found |= dict(keys_of("lightning.callbacks.image_logger.params.", kinds_of(logger["target"]), logger["params"]))
    found |= {f"lightning.trainer.{name}": kind for name, kind in TRAINER.items()}
    return found | {f"lightning.modelcheckpoint.params.{n}": k
                    for n, k in KINDS["lightning.modelcheckpoint.params"].items()}


def wrong_values(kind: Any) -> list[str]:
    """Values, as one writes them, that are not of a kind."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return sorted(set.intersection(*(set(wrong_values(a)) for a in arguments if a is not type(None))))
    if origin is Annotated:
        found = wrong_values(arguments[0])
        for mark in arguments[1:]:
            if isinstance(mark, Range):
                outside = [mark.low - 1, mark.high + 1, *([mark.low] if mark.above else [])]
                found += [f"{n:.17g}" for n in outside if n not in mark.also]
            found += ["[]"] * isinstance(mark, Filled) + ["''", '" "'] * isinstance(mark, Stripped)
            found += ["{target: os.system}", "{target: 5}"] * isinstance(mark, Builds)
            found += ["{x: 1}"] * isinstance(mark, Arguments)
        return found
    if kind in (int, float):
        return [*NO_NUMBER, *(["2.5"] if kind is int else [])]
    if kind in (str, bool):
        return [*(NO_TEXT if kind is str else NO_SWITCH)]
    if (origin or kind) in (dict, Mapping):
        return [*NO_MAPPING]
    if (origin or kind).__name__ in ("list", "tuple", "Sequence"):
        return [*NO_LIST, *(f"[{v}]" for v in wrong_values(arguments[0]) if v[0] not in "['\"" and "," not in v)][:12]
    return ["{a: 1}", "[[1]]"]  # one of several words


def trials() -> list[tuple[str, ...]]:
    """(command, arguments), each of which must be refused."""
    found = [("train_new", value) for value in MORE]
    for key, kind in keys().items():
        found += [("train_new", f"{key}={value}") for value in [*wrong_values(kind), *NEVER]]
    found += [(name, f"{flag}={value}") for name, flags in FLAGS.items() for flag in flags for value in NUMBERS
              if flag != "--gpus" or value]  # none is whichever there is
    found += [(name, f"{flag}={value}") for name, flag, value in FLAG_VALUES]
    return list(dict.fromkeys(found))


def watch() -> None:
    """In a trial's process: say when a model's checkpoint is opened."""
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith("model.ckpt"):
            os.write(2, OPENED)

    sys.addaudithook(hook)


def attempt(folder: Path, name: str, argument: str) -> str:
    """What went wrong with a value that must be refused, or nothing."""
    if name == "train_new" and not argument.startswith("--"):
        ended = train(folder / "logs", *NO_GRIDS, "lightning.trainer.max_steps=1", argument, before=watch)
    elif name == "train_new":
        ended = train(folder / "logs", argument, before=watch)
    else:
        ended = command(name, argument, before=watch)
    line = ended.err.strip().splitlines()[-1] if ended.err.strip() else ""
    if not ended.one_line:
        return str(ended)
    if OPENED.decode() in ended.err and not any(late in argument for late in LATE):
        return f"the model is loaded first: {line}"
    path, _, value = argument.partition("=")
    named = path.rpartition(".")[2].lstrip("-"), path.split(".")[0], value.strip("[]' ") or path
    if not any(name in line for name in named):
        return f"does not say what: {line}"
    return "writes a run folder" if (folder / "logs").exists() else ""


def run(seed: int, count: int) -> tuple[int, int, list[str]]:
    """(good, total, failures) of so many values, among them all that are written down one by one."""
    warm_up()
    everything, rng = trials(), random.Random(seed)
    first = [t for t in everything if t[1] in MORE or (t[0], *t[1].partition("=")[::2]) in FLAG_VALUES]
    rest = [t for t in everything if t not in set(first)]
    chosen = [*first, *rng.sample(rest, min(len(rest), max(0, count - len(first))))][:count]
    failures = []
    for name, argument in chosen:
        with tempfile.TemporaryDirectory() as folder:
            if wrong := attempt(Path(folder), name, argument):
                failures.append(f"{name} {argument}: {wrong}")
    return len(chosen) - len(failures), len(chosen), failures


