"""Run folders: what a new one is called, and what a run goes on from."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ldm.errors import UserError
from ldm.progress import say
from ldm.util import ROOT

LOCATIONS = ("actual_resume", "embedding_manager_ckpt", "data_root", "tokenizer", "version", "multilingual", "aligner",
             "judge")


@dataclass
class Run:
    """Where a run lives, the configs that describe it, and, when it goes on, the checkpoint that it goes on from."""

    path: Path
    configs: list[str]
    now: str
    checkpoint: Path | None = None
    state: dict[str, Any] | None = None  # what the checkpoint holds


def run_name(now: str, data: str, name: str, postfix: str = "", project: str = "") -> str:
    """The name of a new run's folder, of the pictures' folder, the time, --name and --postfix. Raises UserError for
    names, --project's too, that lead out of --logdir or do not fit."""
    for flag, text in (("name", name), ("postfix", postfix), ("project", project)):
        parts = re.split(r"[/\\]", text.rstrip("/") if flag == "project" else text) if text else []
        if any(not part.strip(".") or part.startswith("-") or not part.isprintable() for part in parts) or (
                len(parts) > 1 and flag != "project"):
            raise UserError(f"--{flag} {text!r}: must be the name of a folder, which stays in --logdir")
    name = f"{data}{now}_{name}{postfix}"
    # file systems take 255 bytes; some are for a number behind the name
    for flag, text, room in (("--name", name, 250), *(("--project", p, 255) for p in Path(project).parts)):
        if (size := len(os.fsencode(text))) > room:
            raise UserError(f"{flag}: the folder {text[:30]}... would have a name of {size} bytes, and {room} fit; "
                            "give a shorter one" + ", or --datadir_in_name false" * bool(data and text is name))
    return name


def find_resumed(resume: str, now: str) -> Run:
    """The run of a folder, or of a checkpoint in it. Raises UserError when there is nothing to go on from.

    A folder's last checkpoint is passed over, with a word, for the one before it where it cannot be read.
    """
    given = Path(resume)
    folder = given.parent.parent if given.is_file() else given
    files = [given] if given.is_file() else [folder / "checkpoints" / name for name in ("last.ckpt",
                                                                                       "last-previous.ckpt")]
    if not any(file.is_file() for file in files):
        raise UserError(f"--resume {resume}: no checkpoint there ({files[0]})")
    configs = sorted(str(p) for p in folder.glob("configs/*-*.yaml"))
    if not configs:
        raise UserError(f"--resume {resume}: {folder} has no configs/ to go on with; give a run folder")
    for file in files:
        try:
            return Run(folder, configs, now, file, read_state(file))
        except UserError as error:
            if file is files[-1] or not files[-1].is_file():
                raise UserError(f"--resume {error}") from error
            say(f"warning: {error}; going on from {files[-1]}")
    raise AssertionError


def read_state(file: Path) -> dict[str, Any]:
    """What a training checkpoint holds. Raises UserError for a file that is none."""
    from ldm.serialization import read_tensors

    content = read_tensors(file)
    kinds = {"loops": dict, "optimizer_states": list, "state_dict": dict, "global_step": int}
    if not all(isinstance(content.get(key), kind) for key, kind in kinds.items()):
        raise UserError(f"{file}: not a training checkpoint; give a run folder or its last.ckpt")
    return content


def relocated(config: DictConfig) -> DictConfig:
    """A stored config with the files and folders that it names where they are now: relative names count from the
    folder that the run was started in, else from here, else from the project's folder."""
    started = OmegaConf.select(config, "run.folder")

    def found(name: str) -> str:
        for folder in (started, ".", ROOT):
            if folder and not Path(name).is_absolute() and (path := Path(folder, name)).exists():
                return name if path.resolve() == Path(name).resolve() else str(path)
        return name

    def walk(value: Any, key: Any = None) -> Any:
        if isinstance(value, dict):
            return {k: walk(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [walk(v) for v in value]
        return found(value) if key in LOCATIONS and isinstance(value, str) else value

    return OmegaConf.create(walk(OmegaConf.to_container(config)))
