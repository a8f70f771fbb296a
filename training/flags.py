"""The flags of train_new.py, and the run that they begin or resume."""

from __future__ import annotations

import argparse
import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ldm.cli import (
    CommandParser,
    add_switch,
    check_overrides,
    count,
    training_seed,
    word,
)
from ldm.data.pictures import find_images
from ldm.errors import UserError
from ldm.files import check_writable
from ldm.progress import say
from ldm.runs import Run, find_resumed, run_name
from ldm.schedules import FORMS, refusal
from ldm.util import quoted
from load import (
    add_model_flags,
    check_files,
)

if TYPE_CHECKING:  # what takes seconds to import is imported where it is used, so that --help and errors are quick

    pass

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
        example="python %(prog)s --base configs/emoji/finetune.yaml -t --actual_resume models/ldm/emoji/model.ckpt "
                "--name green_apple --data_root dataset/green_apple --init_word fruit")
    _add_pictures(parser.add_argument_group("pictures"))
    _add_word(parser.add_argument_group("word"))
    _add_run(parser.add_argument_group("model and run"))
    _add_learning(parser.add_argument_group("learning"))
    parser.add_json()
    return parser


def _add_pictures(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--data_root", metavar="FOLDER", help="folder with the pictures")
    add("--fit", choices=("crop", "pad", "random", "squeeze"), help="what becomes of a picture that is no square: cut "
        "to its middle, padded, cut at a random place each time, or squeezed; default: the config's")
    add("--mask", choices=("alpha", "file", "off"), help="learn only what a picture's transparency, or a.mask.png "
        "beside a.png, leaves; alpha puts it on changing backgrounds; default: file where there are such files")
    add_switch(group, "--captions", default=None, help="take the sentences of a.txt, beside a.png, with {} or the "
               "placeholder in each; default: true")
    add_switch(group, "--skip_bad_images", default=None, help="go on without pictures that cannot be read")


def _add_word(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--init_word", type=word, metavar="WORD", help="word the new one starts from; auto: the noun that tells the "
        "model most about the pictures is found first")
    add("--placeholder_string", type=word, metavar="NAME", help="how prompts write the new word: any name, such as * "
        "or <my-cat>; default: the config's, or that in --embedding_manager_ckpt")
    add("--embedding_manager_ckpt", metavar="FILE", help="embedding file to start from, of any kind: learning goes on "
        "from exactly its vectors")


def _add_run(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-b", "--base", nargs="*", default=[], metavar="YAML", help="configs, merged from left to right")
    add_switch(group, "-t", "--train", default=False, help="train (without it everything is only set up and checked)")
    add("--actual_resume", metavar="CKPT", help="checkpoint of the frozen model, or folder of diffusers")
    add_model_flags(group, "--variant", "--gpus", "--tf32", several_gpus=True)
    add("-r", "--resume", metavar="RUN", help="run folder, or a checkpoint in it, to go on with")
    add("-n", "--name", help="name of the run; default: the first config's")
    add("-f", "--postfix", help="goes behind the name")
    add("-l", "--logdir", metavar="FOLDER", help="where run folders go; default: logs")
    add("-p", "--project", help="folder inside --logdir for runs that belong together")
    add_switch(group, "--datadir_in_name", default=None, help="put the picture folder's name into the run's name; "
               "default: true")


def schedule(text: str) -> str:
    """An argparse type: the text of a schedule."""
    if why := refusal(text):
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {why}; give {FORMS}")
    return text


def _add_learning(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-s", "--seed", type=training_seed, help="seed of everything random; default: 23, or the resumed run's")
    add("--seeds", type=count, default=1, metavar="N", help="learn so many times, each time with the seed one higher, "
        "and keep the word with the lowest loss on the same pictures, timesteps and noise")
    add("--lr_schedule", type=schedule, metavar="SCHEDULE", help="the rate over the run: constant, cosine or linear, "
        "cosine:50 with a warm-up of 50 steps, or rates and the steps they are taken until, '0.005:100, 0.001'; "
        "default: the config's, else constant")
    add_switch(group, "--scale_lr", default=None, help="multiply the rate by batch size, devices and accumulation; "
               "default: true, or as the resumed run does")
    add("--stop", choices=("auto", "off"), help="auto: learning ends when the loss on fixed pictures, timesteps and "
        "noise has settled, or after lightning.trainer.max_steps; default: the config's, else off")
    add("--judge", metavar="CLIP", help="hub name or folder of the CLIP that ranks the saved steps when they are "
        "learned: the best is embeddings_best.pt; off: none; default: the config's, else off")
    add("--preview_prompt", nargs="+", type=word, metavar="TEXT", help="prompts to draw while learning, from the same "
        "noise every time, with the placeholder or {} in it where the word goes; in place of the two edits of the "
        "image logger")
    add("--checkpointing", choices=("auto", "on", "off"), help="compute activations twice instead of keeping them, "
        "which is slower; auto: in as many blocks as memory needs; default: auto, whatever the config says, or as an "
        "override of use_checkpoint says")
    add("--compile", action="store_true", help="compile the network with torch.compile at the first step, which takes "
        "minutes, and faster steps then: needs a C++ compiler, or on a GPU Triton")
    add_switch(group, "--no-test", default=False, help="do not run the config's test data after training")


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


def check_flags(opt: argparse.Namespace, overrides: list[str]) -> None:
    """Raises UserError, before anything slow, for files that are not there and arguments that mean nothing."""
    check_overrides(overrides)
    check_files(opt.base, opt.actual_resume, opt.embedding_manager_ckpt)
    if opt.data_root is not None:
        find_images(opt.data_root)
    if opt.init_word == AUTO and opt.embedding_manager_ckpt:
        raise UserError("--init_word auto: the word starts from --embedding_manager_ckpt; leave one of them out")
    if opt.init_word and opt.embedding_manager_ckpt and not opt.resume:
        say(f"warning: --init_word {opt.init_word} has no part: the word starts from {opt.embedding_manager_ckpt}")
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
