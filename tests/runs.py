"""Runs of train_new.py for tests: flags of a short one, what is in its folder."""

from __future__ import annotations

import glob
from pathlib import Path

import torch

from ldm.embedding_files import read_embeddings
from tests.conftest import EMOJI

DATA = "dataset/flamingo"
QUICK = ("data.params.batch_size=2", "data.params.train.params.repeats=4",
         "lightning.callbacks.image_logger.params.disabled=true")
EXACT = ("data.params.batch_size=1", "data.params.train.params.repeats=2",
         "lightning.callbacks.image_logger.params.disabled=true",
         "lightning.modelcheckpoint.params.every_n_train_steps=1")  # a step at a time, each saved


def flags(logdir, **changes):
    values = {"base": "configs/emoji/finetune.yaml", "actual_resume": EMOJI, "data_root": DATA, "init_word": "bird",
              "name": "test", "logdir": logdir, "judge": "off"} | changes
    return [x for k, v in values.items() if v is not None for x in (f"--{k}", v)]


def only_run(logdir) -> Path:
    (folder,) = (Path(p) for p in glob.glob(f"{logdir}/*"))
    return folder


def learned(folder) -> torch.Tensor:
    return read_embeddings(folder / "checkpoints" / "embeddings.pt")["*"]
