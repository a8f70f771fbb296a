"""Another name for the word of a run, in all that the run goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ldm.embedding_files import read_words, write_words
from ldm.errors import UserError
from ldm.files import write_bytes
from ldm.modules.embedding_manager import WordDict
from ldm.provenance import decode_provenance, encode_provenance
from ldm.serialization import read_tensors, write_tensors
from load import load_config
from training.config import MANAGER

STATES = ("last.ckpt", "last-previous.ckpt")


def rename_run(run: Path, name: str) -> None:
    """Rename the one word of a run: in its states first, then in its configs, then in its embedding files, so that
    what was done by half is done by the next call. Raises UserError for a run of several words."""
    folder = run / "checkpoints"
    files = [*folder.glob("embeddings_*.pt"), folder / "embeddings.pt"]
    if len(read_words(files[-1]).vectors) != 1:
        raise UserError(f"{run}: has learned several words; rename them in an exported file")
    for file in (folder / state for state in STATES):
        if file.is_file():
            write_tensors(file, renamed_state(read_tensors(file), name))
    for path in run.glob("configs/*-project.yaml"):
        write_bytes(path, OmegaConf.to_yaml(renamed_config(load_config(path), name)).encode())
    for file in files:
        words = read_words(file)
        (old,) = words.vectors
        if old != name:
            write_words(file, words.renamed({old: name}))


def renamed_state(state: dict[str, Any], name: str) -> dict[str, Any]:
    """A training state whose one word has another name."""
    weights = dict(state["state_dict"])
    prefix, old = next(key.rsplit("string_to_param_dict.", 1) for key in weights if "string_to_param_dict." in key)
    new = WordDict()._key_to_attr(name)
    dicts = [prefix + "string_to_param_dict.", prefix + "alone."]  # v1 has vectors of a second reading
    renamed = {each + old: each + new for each in dicts}
    state = dict(state) | {"state_dict": {renamed.get(key, key): value for key, value in weights.items()}}
    if "start" in state:
        shape = weights[dicts[0] + old].shape
        known = decode_provenance(state["start"], {WordDict.word(old): shape})
        state["start"] = encode_provenance({name: known[WordDict.word(old)]} if known else {})
    return state


def renamed_config(config: DictConfig, name: str) -> DictConfig:
    """A run's config whose first word has another name."""
    key = f"{MANAGER}.params.placeholder_strings"
    OmegaConf.update(config, key, [name, *(OmegaConf.select(config, key) or [])[1:]], force_add=True)
    for part in ("train", "validation", "test"):
        key = f"data.params.{part}.params.placeholder_token"
        if OmegaConf.select(config, key) is not None:
            OmegaConf.update(config, key, name)
    return config
