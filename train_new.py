"""Learn a new word from a few pictures: python train_new.py --base CONFIG.yaml -t --actual_resume MODEL.ckpt \
--name NAME --data_root FOLDER --init_word WORD"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ldm.cli import (
    CommandParser,
    add_switch,
    apply_overrides,
    check_overrides,
    first_line,
    quiet_lightning,
    run_command,
    training_seed,
    word,
)
from ldm.data.pictures import find_images
from ldm.errors import UserError
from ldm.files import check_writable
from load import (
    ROOT,
    VARIANTS,
    add_model_flags,
    check_config,
    check_files,
    config_beside,
    instantiate_from_config,
    load_config,
    load_model_from_config,
    merge_configs,
)

if TYPE_CHECKING:  # what takes seconds to import is imported where it is used, so that --help and errors are quick
    import pytorch_lightning as pl

    from ldm.models.diffusion.ddpm import LatentDiffusion
    from setup import SetupCallback


MAX_NAME = 255  # bytes that file systems have for a folder's name
# What a word starts from, which at resume is past.
FIXED = ("model.params.personalization_config.params.initializer_words", "run.embedding_manager_ckpt")


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
    add("--actual_resume", metavar="CKPT", help="checkpoint of the frozen model")
    add("--data_root", metavar="FOLDER", help="folder with the pictures")
    add("--init_word", type=word, metavar="WORD", help="word the new one starts from")
    add("--placeholder_string", type=word, metavar="SIGN", help="how prompts write the new word; one token, such as *")
    add("--embedding_manager_ckpt", metavar="FILE", help="embedding file to start from")
    add_model_flags(parser, "--variant", "--gpus", several_gpus=True)
    add("-s", "--seed", type=training_seed, help="seed of everything random; default: 23, or the resumed run's")
    add_switch(parser, "--scale_lr", default=None, help="multiply the rate by batch size, devices and accumulation; "
               "default: true, or as the resumed run does")
    add_switch(parser, "--datadir_in_name", default=True, help="put the picture folder's name into the run's name "
               "(default: true)")
    add_switch(parser, "--skip_bad_images", default=False, help="go on without pictures that cannot be read")
    add_switch(parser, "--no-test", default=False, help="do not run the config's test data after training")
    return parser


def split_overrides(parser: CommandParser, arguments: list[str]) -> tuple[list[str], list[str]]:
    """(flags and their values, key.path=value overrides): -t and --base would swallow the latter. What follows a flag
    that takes one value is its value, whatever it looks like."""
    takes_one = {s for action in parser._actions if action.nargs is None for s in action.option_strings}
    flags: list[str] = []
    overrides: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        wanted = overrides if re.match(r"\w+(\.\w+)+=", argument) and before not in takes_one else flags
        wanted.append(argument)
    return flags, overrides


@dataclass
class RunFolder:
    """Where a run lives, the configs it is made from, and the state it goes on from, if any."""

    path: Path
    configs: list[str]
    now: str
    checkpoint: Path | None = None
    state: dict[str, Any] = field(default_factory=dict)  # what the checkpoint holds


def check_flags(opt: argparse.Namespace, overrides: list[str]) -> None:
    """Raises UserError, before anything slow, for files that are not there and arguments that mean nothing."""
    check_overrides(overrides)
    check_files(opt.base, opt.actual_resume, opt.embedding_manager_ckpt)
    if opt.data_root is not None:
        find_images(opt.data_root)
    for flag in ("name", "postfix", "project", "logdir"):
        value = getattr(opt, flag)
        if value is not None and opt.resume:
            raise UserError(f"--{flag} {value}: with --resume a run stays in its folder; leave it out")
        parts = re.split(r"[/\\]", value or "")
        if flag != "logdir" and (".." in parts or Path(value or "").is_absolute()
                                 or flag != "project" and len(parts) > 1):
            raise UserError(f"--{flag} {value}: must be the name of a folder, which stays in --logdir")


def find_run_folder(opt: argparse.Namespace) -> RunFolder:
    """The folder of a new run, or of the one to resume. Raises UserError when there is nothing to resume, and when no
    folder of the name can be made."""
    now = datetime.datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
    if opt.resume:
        return find_resumed(opt, now)
    if not opt.base:
        raise UserError("no config: give --base with a YAML file, or --resume with a run folder")
    data = Path(opt.data_root).name if opt.datadir_in_name and opt.data_root else ""
    folder = Path(opt.logdir or "logs", opt.project or "",
                  f"{data}{now}_{opt.name or Path(opt.base[0]).stem}{opt.postfix or ''}")
    if len(os.fsencode(folder.name)) > MAX_NAME:
        raise UserError(f"the run folder's name has {len(os.fsencode(folder.name))} bytes, and {MAX_NAME} fit; give "
                        "another --name")
    if opt.train:
        check_writable(folder.parent, "--logdir")
    return RunFolder(folder, opt.base, now)


def find_resumed(opt: argparse.Namespace, now: str) -> RunFolder:
    """The run folder that --resume names, with the last of its states that can be read."""
    from ldm.serialization import read_tensors

    given = Path(opt.resume)
    folder, checkpoints = (given.parent.parent, [given]) if given.is_file() else (
        given, [given / "checkpoints" / name for name in ("last.ckpt", "last-previous.ckpt")])
    if not any(c.is_file() for c in checkpoints):
        raise UserError(f"--resume {opt.resume}: no checkpoint there ({checkpoints[0]})")
    configs = sorted(str(p) for p in folder.glob("configs/*-*.yaml"))
    if not configs:
        raise UserError(f"--resume {opt.resume}: {folder} has no configs/ to go on with; give a run folder")
    for checkpoint in filter(Path.is_file, checkpoints):
        try:
            state = read_tensors(checkpoint)
        except UserError as error:
            if checkpoint == checkpoints[-1] or not checkpoints[-1].is_file():
                raise
            print(f"warning: {error}; going on from {checkpoints[-1]}", file=sys.stderr)
            continue
        if not {"loops", "optimizer_states", "state_dict", "global_step"} <= set(state):
            raise UserError(f"--resume {checkpoint}: not a training checkpoint; give a run folder or its last.ckpt")
        return RunFolder(folder, [*configs, *opt.base], now, checkpoint, state)
    raise UserError(f"--resume {opt.resume}: no checkpoint there that can be read")


def merge_config(opt: argparse.Namespace, run: RunFolder, overrides: list[str]) -> DictConfig:
    """The run's config: YAML files, then the variant of the model, then key=value overrides, then flags. Raises
    UserError for what is missing.

    Configs that do not describe the model go on top of the config.yaml beside its checkpoint.
    """
    config = load_config(*run.configs)
    if run.checkpoint:
        find_paths(config)
    flags = {name: getattr(opt, name) for name in ("actual_resume", "embedding_manager_ckpt", "seed", "scale_lr")}
    stored = config.copy()
    config.run = OmegaConf.merge({"seed": 23, "scale_lr": True, "folder": os.getcwd()}, config.get("run") or {},
                                 {k: v for k, v in flags.items() if v is not None})
    checkpoint = config.run.get("actual_resume")
    if not checkpoint:
        raise UserError("no model: give --actual_resume with a checkpoint, such as models/ldm/emoji/model.ckpt")
    check_files(checkpoint)
    if OmegaConf.select(config, "model.target") is None and (beside := config_beside(checkpoint)):
        config = merge_configs(load_config(beside), config)
    for part in ("model", "data"):
        if part not in config:
            raise UserError(f"the configs have no `{part}:` ({', '.join(map(str, run.configs))})")
    config = check_config(apply_overrides(merge_configs(config, VARIANTS.get(opt.variant, {})), overrides))
    name_word(opt, config)
    for key in FIXED if run.checkpoint else ():
        before, now = (OmegaConf.select(c, key) for c in (stored, config))
        if before != now:
            raise UserError(f"--resume {opt.resume}: this run started from {before}, and goes on from what it has "
                            f"learned; for a start from {now} begin a new run")
    return config


def find_paths(config: DictConfig) -> None:
    """Let the paths of a stored config, which are relative to where the run was started, lead there from here."""
    started = OmegaConf.select(config, "run.folder")
    data = OmegaConf.select(config, "data.params") or {}
    roots = [f"data.params.{name}.params.data_root" for name in data]
    for key in ("run.actual_resume", "run.embedding_manager_ckpt", *roots):
        path = OmegaConf.select(config, key)
        if isinstance(path, str) and started and Path(started) != Path.cwd() and not Path(path).is_absolute():
            places = [Path(started, path), Path(path), ROOT / path]
            OmegaConf.update(config, key, str(next((p for p in places if p.exists()), path)))


def name_word(opt: argparse.Namespace, config: DictConfig) -> None:
    """Write the flags for the word and its pictures where model and data sets read them."""
    words = OmegaConf.select(config, "model.params.personalization_config.params")
    if words is None:
        raise UserError("the config has no model.params.personalization_config: nothing to learn")
    if opt.init_word is not None:
        words.initializer_words = [opt.init_word, *(words.get("initializer_words") or [])[1:]]
    if opt.placeholder_string is not None:
        words.placeholder_strings = [opt.placeholder_string, *(words.get("placeholder_strings") or [])[1:]]
    placeholder = (words.get("placeholder_strings") or ["*"])[0]
    for name in ("train", "validation", "test"):
        dataset = OmegaConf.select(config, f"data.params.{name}")
        if dataset is not None:
            given = {} if opt.data_root is None else {"data_root": opt.data_root}
            given |= {"skip_bad_images": True} if opt.skip_bad_images else {}
            dataset.params = OmegaConf.merge({"seed": config.run.seed}, dataset.get("params") or {},
                                             {"placeholder_token": placeholder}, given)
            if not dataset.params.get("data_root"):
                raise UserError("no pictures: give --data_root with a folder of 3 to 5 of them")


def build_model(config: DictConfig, run: RunFolder) -> LatentDiffusion:
    """The frozen model with the word to learn. Says on stderr what the word starts from, or goes on from. Raises
    UserError for a run to resume that learns something else."""
    model = load_model_from_config(config, config.run.actual_resume)
    manager, file = model.embedding_manager, config.run.get("embedding_manager_ckpt")
    placeholder = manager.placeholder_strings[0]
    if file:
        manager.load(file)
        if placeholder not in manager.string_to_param_dict:
            others = " ".join(manager.placeholder_strings)
            raise UserError(f"{file} has no placeholder {placeholder!r}, it has {others}; "
                            "name one of them with --placeholder_string")
    model.seed = config.run.seed
    if not run.checkpoint:
        print(f"starting from {file or manager.describe_initialisation()}", file=sys.stderr)
        return model
    kept = {n: list(v.shape) for n, v in run.state["state_dict"].items()}
    own = {n: list(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    if kept != own:
        raise UserError(f"--resume {run.path}: this run learns {describe_learned(kept)}, and the command asks for "
                        f"{describe_learned(own)}; begin a new run for that")
    model.load_state_dict(run.state["state_dict"], strict=False)
    print(f"going on at step {run.state['global_step']} of {run.checkpoint}", file=sys.stderr)
    return model


def describe_learned(shapes: dict[str, list[int]]) -> str:
    """The words and layers behind parameters of so many shapes, by name."""
    words = {n.rpartition("string_to_param_dict.")[2]: shape for n, shape in shapes.items() if "string_to_param" in n}
    text = ", ".join(f"{w!r} ({shape[0]} vector{'s' * (shape[0] > 1)} of {shape[-1]})" for w, shape in words.items())
    return (text or "no word") + " and an adapter" * (len(words) < len(shapes))


def build_trainer(opt: argparse.Namespace, config: DictConfig, run: RunFolder
                  ) -> tuple[pl.Trainer, SetupCallback]:
    """Lightning's trainer with the callbacks that the config names, and the callback that keeps the run on disk."""
    import pytorch_lightning as pl

    from ldm.devices import choose_devices
    from setup import CheckpointFiles, SetupCallback

    lightning = config.get("lightning") or OmegaConf.create()
    accelerator, devices = choose_devices(opt.gpus)
    save_every = OmegaConf.select(lightning, "modelcheckpoint.params.every_n_train_steps", default=500)
    project = OmegaConf.create({k: v for k, v in config.items() if k != "lightning"})
    setup = SetupCallback(run.path, run.now, project, OmegaConf.create({"lightning": lightning}), save_every)
    callbacks = [setup, *(instantiate_from_config(c) for c in (lightning.get("callbacks") or {}).values())]
    trainer_config: Any = OmegaConf.to_container(lightning.get("trainer") or OmegaConf.create())
    arguments: dict[str, Any] = {
        "max_steps": 6100, "accelerator": accelerator, "devices": devices, "num_sanity_val_steps": 0,
        "log_every_n_steps": 10, "limit_val_batches": 1.0 if "validation" in config.data.params else 0,
        **trainer_config,
    }
    if arguments.get("enable_progress_bar", True):
        callbacks.append(pl.callbacks.TQDMProgressBar(refresh_rate=5))
    devices = arguments["devices"]
    several = devices > 1 if isinstance(devices, int) else len(str(devices).split(",")) > 1
    if several and arguments.get("strategy", "auto") in ("auto", "ddp"):  # a batch need not use every placeholder
        arguments["strategy"] = "ddp_find_unused_parameters_true"
    try:
        trainer = pl.Trainer(
            default_root_dir=run.path, callbacks=callbacks, enable_checkpointing=False, enable_model_summary=False,
            use_distributed_sampler=False, logger=False, plugins=[CheckpointFiles()], **arguments)
    except (TypeError, ValueError, pl.utilities.exceptions.MisconfigurationException) as error:
        raise UserError(f"lightning.trainer: {first_line(error)}") from error
    return trainer, setup


def learning_rate(config: DictConfig, trainer: pl.Trainer) -> float:
    """model.base_learning_rate, times batch size, devices and accumulation when run.scale_lr is set."""
    base = config.model.get("base_learning_rate")
    if base is None:
        raise UserError("the config has no model.base_learning_rate; this is a config for sampling, not for learning")
    if not config.run.scale_lr:
        return base
    return base * config.data.params.batch_size * trainer.accumulate_grad_batches * trainer.world_size


def main(arguments: list[str] | None = None, variant: str | None = None) -> None:
    """Learn a word; variant is the one to make of the model, such as "v1", unless the flags name another."""
    parser = get_parser()
    parser.set_defaults(variant=variant)
    flags, overrides = split_overrides(parser, sys.argv[1:] if arguments is None else arguments)
    opt, unknown = parser.parse_known_args(flags)
    overrides += unknown
    check_flags(opt, overrides)
    run = find_run_folder(opt)
    train(opt, run, merge_config(opt, run, overrides))


def train(opt: argparse.Namespace, run: RunFolder, config: DictConfig) -> None:
    """Set everything up, and learn the word if --train is given. Nothing is written before all is checked."""
    import pytorch_lightning as pl

    from ldm.data.data_module import DataModuleFromConfig
    from ldm.generate import pixel_stride
    from ldm.inversion import TextualInversion

    quiet_lightning()
    pl.seed_everything(config.run.seed, workers=True, verbose=False)
    data = instantiate_from_config(config.data)
    data.setup()
    if isinstance(data, DataModuleFromConfig):
        data.check_sizes(pixel_stride(config.model))
    model = build_model(config, run)
    trainer, setup = build_trainer(opt, config, run)
    model.learning_rate = learning_rate(config, trainer)
    if opt.train and trainer.is_global_zero:
        if run.checkpoint:
            setup.reopen_folder(model, run.state["global_step"])
        elif (taken := setup.take_folder()) != run.path:  # another run of this name began in the same second
            trainer, setup = build_trainer(opt, config, replace(run, path=taken))
    if trainer.is_global_zero:
        if summary := getattr(getattr(data, "datasets", {}).get("train"), "summary", None):
            print(summary, file=sys.stderr)
        count = sum(p.numel() for p in model.trainable_parameters())
        print(f"{count} parameters to learn, learning rate {model.learning_rate:g}, {trainer.max_steps} steps; "
              f"run folder {setup.logdir}", file=sys.stderr)

    inversion = TextualInversion(model)
    if opt.train:
        trainer.fit(inversion.train(), data, ckpt_path=run.checkpoint, weights_only=True)
        if trainer.is_global_zero:
            print(f"{'stopped' if setup.interrupted else 'learned'} at step {trainer.global_step}: "
                  f"{setup.checkpoints / 'embeddings.pt'}; -t --resume {setup.logdir} goes on from here",
                  file=sys.stderr)
        if setup.interrupted:
            sys.exit(130)
    if "test" in config.data.params and not opt.no_test:
        trainer.test(inversion, data)
    if not opt.train and trainer.is_global_zero:
        print("nothing was learned: everything is in order, and -t learns", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
