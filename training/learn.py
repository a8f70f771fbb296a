"""Learning a word: the frozen model with the word to learn, the trainer, and what is said of both."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldm import progress
from ldm.cli import first_line, print_json, quiet_lightning
from ldm.errors import UserError
from ldm.runs import Run
from load import (
    instantiate_from_config,
    load_model_from_config,
    meta_model,
)
from training.config import INIT_WORDS, name_word
from training.flags import AUTO

if TYPE_CHECKING:  # what takes seconds to import is imported where it is used, so that --help and errors are quick
    import pytorch_lightning as pl
    import torch
    from omegaconf import DictConfig

    from ldm.inversion import TextualInversion
    from ldm.models.diffusion.ddpm import LatentDiffusion
    from setup import SetupCallback


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
    """`ldm.progress.say`, in one of several processes that work together."""
    from ldm.devices import is_first_process

    if is_first_process():
        progress.say(text)


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
    text = ", ".join(f"{w!r} ({progress.counted(shape[0], 'vector')} of {shape[-1]})" for w, shape in words.items())
    layers = sum(math.prod(shape) for shape in shapes.values()) - sum(math.prod(shape) for shape in words.values())
    return (text or "no word") + f" and an adapter ({layers} weights)" * (len(words) < len(shapes))


def build_trainer(opt: argparse.Namespace, config: DictConfig, run: Run) -> tuple[pl.Trainer, SetupCallback]:
    """Lightning's trainer with the callbacks that the config names, and the callback that keeps the run on disk."""
    import pytorch_lightning as pl
    from omegaconf import OmegaConf

    from ldm.devices import choose_devices
    from ldm.plan import LearningBar, Pace
    from setup import CheckpointFiles, SetupCallback
    from training.history import History

    lightning = config.get("lightning") or OmegaConf.create()
    accelerator, devices = choose_devices(opt.gpus)
    save_every = OmegaConf.select(lightning, "modelcheckpoint.params.every_n_train_steps", default=500)
    project = OmegaConf.create({k: v for k, v in config.items() if k != "lightning"})
    setup = SetupCallback(run.path, run.now, project, OmegaConf.create({"lightning": lightning}), save_every)
    # last, so that the pictures of a step are there when its checkpoint is
    configured = [instantiate_from_config(c) for c in (lightning.get("callbacks") or {}).values()]
    callbacks = [Pace(), History(lambda: setup.logdir), *configured, setup]
    trainer_config: Any = OmegaConf.to_container(lightning.get("trainer") or OmegaConf.create())
    arguments: dict[str, Any] = {
        "max_steps": 6100, "accelerator": accelerator, "devices": devices, "num_sanity_val_steps": 0,
        "log_every_n_steps": 10, "limit_val_batches": 1.0 if "validation" in config.data.params else 0,
        **trainer_config,
    }
    if arguments.get("enable_progress_bar", True):
        callbacks.append(LearningBar())
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


def train_starts(opt: argparse.Namespace, run: Run, config: DictConfig) -> None:
    """Learn the word with several seeds, and keep the best."""
    from ldm.fixed_loss import fixed_batch, fixed_loss
    from ldm.starts import FOLDER, keep_best

    batches: list[dict[str, Any]] = []

    def learn_with(seed: int, folder: Path | None) -> tuple[float, Path]:
        config.run.seed = seed
        name_word(opt, config, new_seed=True)
        inversion, data, path = train(opt, dataclasses.replace(run, path=folder or run.path), config)
        dataset = data.datasets["train"]
        batches[:] = batches or [fixed_batch(dataset, min(128, len(dataset)))]  # the first start's for all
        return fixed_loss(inversion.model.to(inversion.trainer.strategy.root_device), batches[0]), path

    folder = keep_best(range(config.run.seed, config.run.seed + opt.seeds), learn_with)
    for other in folder.glob(FOLDER.format("*")):
        report(other)
    conclude(opt, folder)


def train(opt: argparse.Namespace, run: Run, config: DictConfig) -> tuple[TextualInversion, Any, Path]:
    """Set everything up, and learn the word if --train is given: what was learned, from what, and the run folder.
    Nothing is written before all is checked."""
    import pytorch_lightning as pl

    from ldm.compiling import check_compiler, compile_network
    from ldm.data.data_module import DataModuleFromConfig
    from ldm.data.personalized import PersonalizedBase
    from ldm.devices import allow_tf32
    from ldm.generate import pixel_stride
    from ldm.inversion import TextualInversion
    from ldm.memory import lay_out
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
    if opt.tf32:
        allow_tf32(trainer.strategy.root_device)
    if opt.compile:
        check_compiler(trainer.strategy.root_device)
    rate = learning_rate(config, trainer)
    dataset = getattr(data, "datasets", {}).get("train")
    model = build_model(config, run, None if opt.init_word != AUTO else lambda model: choose_start(
        opt, [config, setup.config], dataset, model.to(trainer.strategy.root_device)))
    model.learning_rate = rate
    note_provenance(model, config.run.actual_resume, getattr(dataset, "keys", ()),
                    from_file=bool(config.run.get("embedding_manager_ckpt")))
    say(lay_out(model, lambda: meta_model(config, config.run.actual_resume), config.data.params.batch_size,
                opt.checkpointing, str(trainer.precision), trainer.strategy.root_device))
    if opt.compile:
        compile_network(model, learning=True)
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
        learn(opt, run, trainer, setup, inversion, data)
        for line in describe_movement(model.embedding_manager):
            say(line)
        if ranking and trainer.is_global_zero:
            ranking.rank(model.to(trainer.strategy.root_device), dataset, setup.logdir)
        if trainer.is_global_zero and opt.seeds == 1:
            conclude(opt, setup.logdir)
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
    steps = "no end" if trainer.max_steps < 0 else progress.counted(trainer.max_steps, "step") + most
    say(f"{parameters} parameters to learn, learning rate {rate}, {steps}{more}")


def learn(opt: argparse.Namespace, run: Run, trainer: pl.Trainer, setup: SetupCallback, inversion: TextualInversion,
          data: pl.LightningDataModule) -> None:
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
        most = f" of at most {trainer.max_steps}" if trainer.max_steps > 0 else ""
        say(f"the loss on fixed pictures and noise has settled at step {trainer.global_step}{most}; --stop off goes on")
    moves = opt.seeds > 1 and not setup.interrupted  # a start's folder may become another one, which is said then
    say(f"{'stopped' if setup.interrupted else 'learned'} at step {trainer.global_step}"
        + f": {setup.checkpoints / 'embeddings.pt'}; -t --resume {setup.logdir} goes on from here" * (not moves))
    if setup.interrupted:
        if trainer.is_global_zero:
            conclude(opt, setup.logdir)
        sys.exit(130)


def report(folder: Path) -> Path | None:
    """Write the report of a run: its path. Where that cannot be written, a warning: what was learned is there."""
    from report.run import write_report

    try:
        return write_report(folder)
    except UserError as error:
        say(f"warning: no report: {error}")
        return None


def conclude(opt: argparse.Namespace, folder: Path) -> None:
    """Write the report of a run that is over, say what to try next, and print what was written for --json."""
    from report.run import next_commands

    page = report(folder)
    draw, look = next_commands(folder)
    say(f"{page}: pictures, curves and settings of the run\n" * bool(page) + f"try next:\n  {draw}\n  {look}")
    if opt.json:
        best, last = (folder / "checkpoints" / name for name in ("embeddings_best.pt", "embeddings.pt"))
        print_json({"run": folder, "embedding": last, "best": best if best.is_file() else last, "report": page})
