"""Learn a new word from a few pictures: python train_new.py --base CONFIG.yaml -t --actual_resume MODEL.ckpt \
--name NAME --data_root FOLDER --init_word WORD"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import argparse
import dataclasses
import datetime
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldm.cli import (
    CommandParser,
    add_switch,
    apply_overrides,
    check_overrides,
    count,
    first_line,
    quiet_lightning,
    run_command,
    training_seed,
    word,
)
from ldm.data.pictures import find_images
from ldm.errors import UserError
from ldm.files import check_writable
from ldm.runs import Run, find_resumed, relocated, run_name
from load import (
    VARIANTS,
    add_model_flags,
    announce_config,
    check_config,
    check_files,
    config_beside,
    get_obj_from_str,
    instantiate_from_config,
    load_config,
    load_model_config,
    load_model_from_config,
    merge_configs,
)

if TYPE_CHECKING:  # what takes seconds to import is imported where it is used, so that --help and errors are quick
    import pytorch_lightning as pl
    import torch
    from omegaconf import DictConfig

    from ldm.inversion import TextualInversion
    from ldm.models.diffusion.ddpm import LatentDiffusion
    from setup import SetupCallback

MANAGER = "model.params.personalization_config"
INIT_WORDS = f"{MANAGER}.params.initializer_words"
AUTO = "auto"  # as --init_word: it is found
# Flags that are short for a key of the config, which they overrule; * stands for each data set.
FLAG_KEYS = {name: f"data.params.*.params.{name}" for name in (
    "data_root", "fit", "captions", "mask", "skip_bad_images")} | {"lr_schedule": "model.lr_schedule"}


def get_parser() -> CommandParser:
    """The flags of train_new.py, which are those of its variants too."""
    parser = CommandParser(
        description="Learn a new word from a few pictures of one thing, through a frozen text-to-image model.",
        epilog="Anything else must be key.path=value for a key of the config, such as data.params.batch_size=2 or "
               "lightning.trainer.max_steps=1000.",
    )
    add = parser.add_argument
    add("-b", "--base", nargs="*", default=[], metavar="YAML", help="configs, merged from left to right")
    add_switch(parser, "-t", "--train", default=False, help="train (without it everything is only set up and checked)")
    add("-n", "--name", help="name of the run; default: the first config's")
    add("-f", "--postfix", help="goes behind the name")
    add("-l", "--logdir", help="where run folders go; default: logs")
    add("-p", "--project", help="folder inside --logdir for runs that belong together")
    add("-r", "--resume", metavar="RUN", help="run folder, or a checkpoint in it, to go on with")
    add("--actual_resume", metavar="CKPT", help="checkpoint of the frozen model, or folder of diffusers")
    add("--data_root", metavar="FOLDER", help="folder with the pictures")
    add("--fit", choices=("crop", "pad", "random", "squeeze"), help="what becomes of a picture that is no square: cut "
        "to its middle, padded, cut at a random place each time, or squeezed; default: the config's")
    add("--mask", choices=("alpha", "file", "off"), help="learn only what a picture's transparency, or a.mask.png "
        "beside a.png, leaves; alpha puts it on changing backgrounds; default: file where there are such files")
    add_switch(parser, "--captions", default=None, help="take the sentences of a.txt, beside a.png, with {} or the "
               "placeholder in each; default: true")
    add("--init_word", type=word, metavar="WORD", help="word the new one starts from; auto: the noun that tells the "
        "model most about the pictures is found first")
    add("--placeholder_string", type=word, metavar="NAME", help="how prompts write the new word: any name, such as * "
        "or <my-cat>; default: the config's, or that in --embedding_manager_ckpt")
    add("--embedding_manager_ckpt", metavar="FILE", help="embedding file to start from, of any kind: learning goes on "
        "from exactly its vectors")
    add_model_flags(parser, "--variant", "--gpus", several_gpus=True)
    add("-s", "--seed", type=training_seed, help="seed of everything random; default: 23, or the resumed run's")
    add("--seeds", type=count, default=1, metavar="N", help="learn so many times, each time with the seed one higher, "
        "and keep the word with the lowest loss on the same pictures, timesteps and noise")
    add("--lr_schedule", metavar="SCHEDULE", help="the rate over the run: constant, cosine or linear, cosine:50 with a "
        "warm-up of 50 steps, or rates and the steps they are taken until, '0.005:100, 0.001'; default: the config's, "
        "else constant")
    add("--stop", choices=("auto", "off"), help="auto: learning ends when the loss on fixed pictures, timesteps and "
        "noise has settled, or after lightning.trainer.max_steps; default: the config's, else off")
    add("--judge", metavar="CLIP", help="hub name or folder of the CLIP that ranks the saved steps when they are "
        "learned: the best is embeddings_best.pt; off: none; default: the config's, else off")
    add("--preview_prompt", nargs="+", type=word, metavar="TEXT", help="prompts to draw while learning, from the same "
        "noise every time, with the placeholder or {} in it where the word goes; in place of the two edits of the "
        "image logger")
    add_switch(parser, "--scale_lr", default=None, help="multiply the rate by batch size, devices and accumulation; "
               "default: true, or as the resumed run does")
    add_switch(parser, "--datadir_in_name", default=None, help="put the picture folder's name into the run's name; "
               "default: true")
    add_switch(parser, "--skip_bad_images", default=None, help="go on without pictures that cannot be read")
    add_switch(parser, "--no-test", default=False, help="do not run the config's test data after training")
    return parser


def split_overrides(parser: argparse.ArgumentParser, arguments: list[str]) -> tuple[list[str], list[str]]:
    """(arguments for the parser, key.path=value overrides). Overrides are taken out first, since -t and --base would
    swallow them; what follows a flag that takes exactly one value is its value, whatever it looks like."""
    options = {name: action for action in parser._actions for name in action.option_strings}
    rest: list[str] = []
    overrides: list[str] = []
    is_value = False
    for argument in arguments:
        (overrides if not is_value and re.match(r"\w+(\.\w+)+=", argument) else rest).append(argument)
        meant = {id(a): a for name, a in options.items()
                 if name == argument or argument.startswith("--") and name.startswith(argument)}
        meant = {id(options[argument]): options[argument]} if argument in options else meant
        is_value = len(meant) == 1 and all(action.nargs is None for action in meant.values())
    return rest, overrides


# The run folder ------------------------------------------------------------------------------------------------------

def check_flags(opt: argparse.Namespace, overrides: list[str]) -> None:
    """Raises UserError, before anything slow, for files that are not there and arguments that mean nothing."""
    check_overrides(overrides)
    check_files(opt.base, opt.actual_resume, opt.embedding_manager_ckpt)
    if opt.data_root is not None:
        find_images(opt.data_root)
    if opt.init_word == AUTO and opt.embedding_manager_ckpt:
        raise UserError("--init_word auto: the word starts from --embedding_manager_ckpt; leave one of them out")
    if opt.resume and opt.seeds > 1:
        raise UserError(f"--seeds {opt.seeds}: a run that goes on has had its start; leave it out")
    for flag in ("name", "postfix", "project", "logdir", "datadir_in_name"):
        if opt.resume and getattr(opt, flag) is not None:
            raise UserError(f"--{flag} {getattr(opt, flag)}: with --resume a run stays in its folder; leave it out")


def find_run(opt: argparse.Namespace) -> Run:
    """A new run, or the one to resume. Raises UserError when there is nothing to resume, or nowhere to write."""
    now = datetime.datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
    if opt.resume:
        run = find_resumed(opt.resume, now)
        if opt.train:
            check_writable(run.path, "--resume")
        return run
    if not opt.base:
        raise UserError("no config: give --base with a YAML file, or --resume with a run folder")
    data = Path(opt.data_root).name if opt.datadir_in_name is not False and opt.data_root else ""
    name = run_name(now, data, opt.name or Path(opt.base[0]).stem, opt.postfix or "", opt.project or "")
    run = Run(Path(opt.logdir or "logs", opt.project or "", name), opt.base, now)
    if opt.train:
        check_writable(run.path.parent, "--logdir")
    return run


# The config ----------------------------------------------------------------------------------------------------------

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
    config = check_config(apply_overrides(merge_configs(config, VARIANTS.get(opt.variant, {})), overrides))
    if not run.state:
        start_from_file(opt, config)
    write_flags(opt, config)
    config = check_config(config)  # again: what flags say is as free as what keys say
    name_word(opt, config, new_seed=opt.seed is not None or any(o.startswith("run.seed=") for o in overrides))
    if run.state:
        check_start(run, config, stored)
    return config


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


# Training ------------------------------------------------------------------------------------------------------------

def build_model(config: DictConfig, run: Run, find_start: Callable[[LatentDiffusion], None] | None = None
                ) -> LatentDiffusion:
    """The frozen model with the word to learn. Says on stderr what the word starts from; a new run's may be found."""
    from ldm.embedding_files import read_embeddings

    model = load_model_from_config(config, config.run.actual_resume)
    manager, file = model.embedding_manager, config.run.get("embedding_manager_ckpt")
    if find_start and not run.state:
        find_start(model)
    start = manager.describe_initialisation()
    if file:
        names = manager.placeholder_strings[:1]  # of the only word; several have those of the file
        loaded = manager.load(file, names if len(read_embeddings(file)) == 1 else ())
        start = "; ".join(f"{word.name}: {word}" for word in loaded)
    if not run.state:
        say(f"starting from {start}")
    model.seed = config.run.seed
    return model


def choose_start(opt: argparse.Namespace, configs: list[DictConfig], dataset: Any, model: LatentDiffusion) -> None:
    """Find the word to start from, and write it where flags, configs and model have it."""
    from omegaconf import OmegaConf

    from ldm.initial_word import find_words

    manager = model.embedding_manager
    found = [word for word, _ in find_words(model, dataset, manager.placeholder_strings[0])]
    say(f"--init_word auto: {found[0]} tells most about the pictures, then {', '.join(found[1:5])}")
    opt.init_word = found[0]
    manager.start_from(opt.init_word)
    for config in configs:
        OmegaConf.update(config, INIT_WORDS, manager.initializer_words, force_add=True)


def say(text: str) -> None:
    """Print a line on stderr, in one of several processes that work together."""
    from ldm.devices import is_first_process

    if is_first_process():
        print(text, file=sys.stderr)


def take_learned(run: Run, inversion: TextualInversion) -> None:
    """Give the model what the run has learned. Raises UserError when the model that the config and the flags describe
    learns something else."""
    import torch

    from ldm.provenance import take_start

    assert run.state
    kept: dict[str, torch.Tensor] = {n: v for n, v in run.state["state_dict"].items() if torch.is_tensor(v)}
    learns = inversion.learned()
    there, here = ({n: list(v.shape) for n, v in named.items()} for named in (kept, learns))
    if there != here:
        raise UserError(f"--resume {run.path}: this run learns {describe_learned(there)}, and the command asks for "
                        f"{describe_learned(here)}; begin a new run for that, or leave it as it was")
    try:
        inversion.check_optimizer(run.state["optimizer_states"])
    except UserError as error:
        raise UserError(f"--resume {run.checkpoint}: {error}") from error
    with torch.no_grad():
        for name, value in kept.items():
            learns[name].copy_(value)
    take_start(inversion.model.embedding_manager, run.state.get("start"))
    say(f"going on at step {run.state['global_step']} of {run.checkpoint}")


def describe_learned(shapes: dict[str, list[int]]) -> str:
    """The words and layers behind parameters of so many shapes, by name."""
    from ldm.modules.embedding_manager import WordDict

    words = {WordDict.word(n.rpartition("string_to_param_dict.")[2]): shape for n, shape in shapes.items()
             if "string_to_param" in n}
    text = ", ".join(f"{w!r} ({shape[0]} vector{'s' * (shape[0] > 1)} of {shape[-1]})" for w, shape in words.items())
    layers = sum(math.prod(shape) for shape in shapes.values()) - sum(math.prod(shape) for shape in words.values())
    return (text or "no word") + f" and an adapter ({layers} weights)" * (len(words) < len(shapes))


def build_trainer(opt: argparse.Namespace, config: DictConfig, run: Run) -> tuple[pl.Trainer, SetupCallback]:
    """Lightning's trainer with the callbacks that the config names, and the callback that keeps the run on disk."""
    import pytorch_lightning as pl
    from omegaconf import OmegaConf

    from ldm.devices import choose_devices
    from ldm.plan import Pace
    from setup import CheckpointFiles, SetupCallback

    lightning = config.get("lightning") or OmegaConf.create()
    accelerator, devices = choose_devices(opt.gpus)
    save_every = OmegaConf.select(lightning, "modelcheckpoint.params.every_n_train_steps", default=500)
    project = OmegaConf.create({k: v for k, v in config.items() if k != "lightning"})
    setup = SetupCallback(run.path, run.now, project, OmegaConf.create({"lightning": lightning}), save_every)
    # last, so that the pictures of a step are there when its checkpoint is
    callbacks = [Pace(), *(instantiate_from_config(c) for c in (lightning.get("callbacks") or {}).values()), setup]
    trainer_config: Any = OmegaConf.to_container(lightning.get("trainer") or OmegaConf.create())
    arguments: dict[str, Any] = {
        "max_steps": 6100, "accelerator": accelerator, "devices": devices, "num_sanity_val_steps": 0,
        "log_every_n_steps": 10, "limit_val_batches": 1.0 if "validation" in config.data.params else 0,
        **trainer_config,
    }
    if arguments.get("enable_progress_bar", True):
        callbacks.append(pl.callbacks.TQDMProgressBar(refresh_rate=5))
    try:
        trainer = pl.Trainer(
            default_root_dir=run.path, callbacks=callbacks, enable_checkpointing=False, enable_model_summary=False,
            use_distributed_sampler=False, logger=False, plugins=CheckpointFiles(), **arguments)
    except Exception as error:  # its constructor refuses bad values with exceptions of many types
        raise UserError(f"lightning.trainer: {first_line(error)}") from error
    return trainer, setup


def learning_rate(config: DictConfig, trainer: pl.Trainer) -> float:
    """model.base_learning_rate, or the schedule's first rate, times batch size, devices and accumulation when
    run.scale_lr is set."""
    from ldm.schedules import parse_schedule

    base = parse_schedule(config.model.get("lr_schedule")).first_rate or config.model.get("base_learning_rate")
    if base is None:
        raise UserError("the config has no model.base_learning_rate; this is a config for sampling, not for learning")
    if not config.run.scale_lr:
        return base
    return base * config.data.params.batch_size * trainer.accumulate_grad_batches * trainer.world_size


def main(arguments: list[str] | None = None, variant: str | None = None) -> None:
    """Learn a word; variant is the one to make of the model, such as "v1", unless the flags name another."""
    parser = get_parser()
    parser.set_defaults(variant=variant)
    rest, overrides = split_overrides(parser, sys.argv[1:] if arguments is None else arguments)
    opt, unknown = parser.parse_known_args(rest)
    check_flags(opt, overrides + unknown)
    run = find_run(opt)
    config = merge_config(opt, run, overrides + unknown)
    if opt.seeds > 1 and opt.train:
        train_starts(opt, run, config)
    else:
        train(opt, run, config)


def train_starts(opt: argparse.Namespace, run: Run, config: DictConfig) -> None:
    """Learn the word with several seeds, and keep the best."""
    from ldm.fixed_loss import fixed_batch, fixed_loss
    from ldm.starts import keep_best

    batches: list[dict[str, Any]] = []

    def learn_with(seed: int, folder: Path | None) -> tuple[float, Path]:
        config.run.seed = seed
        name_word(opt, config, new_seed=True)
        inversion, data, path = train(opt, dataclasses.replace(run, path=folder or run.path), config)
        dataset = data.datasets["train"]
        batches[:] = batches or [fixed_batch(dataset, min(128, len(dataset)))]  # the first start's for all
        return fixed_loss(inversion.model.to(inversion.trainer.strategy.root_device), batches[0]), path

    keep_best(range(config.run.seed, config.run.seed + opt.seeds), learn_with)


def train(opt: argparse.Namespace, run: Run, config: DictConfig) -> tuple[TextualInversion, Any, Path]:
    """Set everything up, and learn the word if --train is given: what was learned, from what, and the run folder.
    Nothing is written before all is checked."""
    import pytorch_lightning as pl

    from ldm.data.data_module import DataModuleFromConfig
    from ldm.data.personalized import PersonalizedBase
    from ldm.generate import pixel_stride
    from ldm.inversion import TextualInversion
    from ldm.plan import describe_length
    from ldm.provenance import note_provenance
    from ldm.ranking import ranks
    from ldm.schedules import parse_schedule
    from ldm.stopping import describe_movement

    quiet_lightning()
    pl.seed_everything(config.run.seed, workers=True, verbose=False)
    data = instantiate_from_config(config.data)
    data.setup()
    if isinstance(data, DataModuleFromConfig):
        if opt.train:
            data.check_train()
        data.check_sizes(pixel_stride(config.model))
    trainer, setup = build_trainer(opt, config, run)
    if opt.seeds > 1 and trainer.world_size > 1:
        raise UserError(f"--seeds {opt.seeds}: starts are learned one after another, on one device; give --gpus one "
                        "number, or begin a run with each --seed")
    rate = learning_rate(config, trainer)
    dataset = getattr(data, "datasets", {}).get("train")
    model = build_model(config, run, None if opt.init_word != AUTO else lambda model: choose_start(
        opt, [config, setup.config], dataset, model.to(trainer.strategy.root_device)))
    model.learning_rate = rate
    note_provenance(model, config.run.actual_resume, getattr(dataset, "keys", ()),
                    from_file=bool(config.run.get("embedding_manager_ckpt")))
    inversion = TextualInversion(model, parse_schedule(config.model.get("lr_schedule")))
    if run.state:
        take_learned(run, inversion)
    if isinstance(dataset, PersonalizedBase):
        dataset.check_captions(model.embedding_manager)
        say(dataset.summary)
        say(describe_length(trainer.max_steps, data.batch_size, trainer.accumulate_grad_batches, trainer.world_size,
                            dataset.num_images, rate, config.run.scale_lr))
    if opt.train:
        if ranking := ranks(trainer):
            ranking.check()
        learn(run, trainer, setup, inversion, data)
        for line in describe_movement(model.embedding_manager):
            say(line)
        if ranking and trainer.is_global_zero:
            ranking.rank(model.to(trainer.strategy.root_device), dataset, setup.logdir)
    if "test" in config.data.params and not opt.no_test:
        trainer.test(inversion, data)
    if not opt.train:
        describe(run, trainer, inversion)
        say("nothing was learned: everything is in order, and -t learns")
    return inversion, data, setup.logdir


def describe(run: Run, trainer: pl.Trainer, inversion: TextualInversion, more: str = "") -> None:
    """Say on stderr what is learned, and how fast."""
    from ldm.stopping import stops

    parameters = sum(p.numel() for p in inversion.model.trainable_parameters())
    rate = inversion.schedule.describe(inversion.model.learning_rate, run.state["global_step"] if run.state else 0,
                                       trainer.max_steps)
    most = " at most" if stops(trainer) else ""
    say(f"{parameters} parameters to learn, learning rate {rate}, {trainer.max_steps} steps{most}{more}")


def learn(run: Run, trainer: pl.Trainer, setup: SetupCallback, inversion: TextualInversion, data: pl.LightningDataModule
          ) -> None:
    """Train, in a folder of its own. Exits with status 130 when that was interrupted."""
    from pytorch_lightning.strategies import DDPStrategy

    from ldm.inversion import Diverged
    from ldm.stopping import has_stopped, stops

    if isinstance(trainer.strategy, DDPStrategy) and len(inversion.model.embedding_manager.string_to_param_dict) > 1:
        # a batch need not use every placeholder
        trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
    if trainer.is_global_zero:
        if run.state:
            setup.reopen_folder(inversion.model, run.state["global_step"])
        else:
            setup.take_folder()
    describe(run, trainer, inversion, f"; run folder {setup.logdir}")
    if run.state and 0 <= trainer.max_steps <= run.state["global_step"]:
        say(f"{setup.logdir} has learned for all its steps; lightning.trainer.max_steps=NUMBER goes on")
        return
    if run.state and stops(trainer) and has_stopped(run.state):
        say(f"{setup.logdir} has stopped by itself at step {run.state['global_step']}; --stop off goes on")
        return
    try:
        trainer.fit(inversion.train(), data, ckpt_path=run.checkpoint, weights_only=True)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from stop
    except (Diverged, RuntimeError) as error:
        ended = isinstance(error, RuntimeError) and "by peer" in str(error)  # as gloo says it, which knows no more
        if (ended or isinstance(error, Diverged)) and not trainer.is_global_zero:
            sys.exit(2)  # one process says it for all
        if ended:
            raise UserError("another of the processes that work together has ended, and with it the run; what it said "
                            "stands above") from error
        raise
    if (stopping := stops(trainer)) and stopping.done and not setup.interrupted:
        say(f"the loss on fixed pictures and noise has settled at step {trainer.global_step} of at most "
            f"{trainer.max_steps}; --stop off learns for all of them")
    say(f"{'stopped' if setup.interrupted else 'learned'} at step {trainer.global_step}: "
        f"{setup.checkpoints / 'embeddings.pt'}; -t --resume {setup.logdir} goes on from here")
    if setup.interrupted:
        sys.exit(130)


if __name__ == "__main__":
    run_command(main)
