"""A model as a folder of diffusers: weights and JSON files for each of its parts, beside a `model_index.json`.

The published latent diffusion model is one with `unet/`, `vqvae/` (an AutoencoderKL, whatever its name), `bert/`,
`tokenizer/` and `scheduler/`; Stable Diffusion 1.x has `vae/` and `text_encoder/` in place of two of them.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldm.diffusers_configs import MODEL, Folder, folder_files, model_params
from ldm.diffusers_names import folder_names, name_today
from ldm.errors import UserError
from ldm.files import write_bytes
from ldm.filetypes import check_regular, shown

if TYPE_CHECKING:
    import torch

MODEL_INDEX, SCHEDULER_CONFIG = "model_index.json", "scheduler_config.json"
MOST_JSON = 2**20  # bytes; the index of a model in many files has 50,000

# The folders that may hold each part, by the name that ldm.diffusers_names gives the part.
PARTS = {"unet": ("unet",), "autoencoder": ("vqvae", "vae"), "text": ("bert", "text_encoder"),
         "tokenizer": ("tokenizer",), "scheduler": ("scheduler",)}
IGNORED = {"safety_checker", "feature_extractor", "image_encoder"}  # what else Stable Diffusion's folder may have
SUFFIXES = (".safetensors", ".bin", ".fp16.safetensors", ".fp16.bin")
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")


def is_model_folder(path: str | Path) -> bool:
    """Whether a path leads to a folder of diffusers, by its index."""
    return os.path.isfile(os.path.join(path, MODEL_INDEX))  # False too for what no file can be named


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds a mapping. Raises UserError for any other."""
    check_regular(path)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_JSON + 1)
        content = json.loads(data) if len(data) <= MOST_JSON else None
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path}: not a JSON file ({shown(str(error))})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON file of a model: it must hold a mapping of at most {MOST_JSON} bytes")
    return content


def find_parts(folder: str | Path) -> dict[str, Path]:
    """Where each of PARTS is. Raises UserError for a folder with other parts, or without one of them."""
    folder = Path(folder)
    index = read_json(folder / MODEL_INDEX)
    named = {k for k, v in index.items() if isinstance(v, list | tuple) and v and v[0] is not None}
    found = {part: [n for n in names if n in named] for part, names in PARTS.items()}
    others = named - {n for names in PARTS.values() for n in names} - IGNORED
    if others or any(len(names) != 1 for names in found.values()):
        kind = shown(index.get("_class_name", "an unknown pipeline"))
        what = f"with {', '.join(map(shown, sorted(others)))}" if others else "without " + ", ".join(
            part for part, names in found.items() if len(names) != 1)
        raise UserError(f"{folder}: a folder of diffusers for {kind}, {what}; latent diffusion and Stable Diffusion "
                        "1.x are read")
    return {part: folder / names[0] for part, names in found.items()}


# Reading -------------------------------------------------------------------------------------------------------------

def folder_config(folder: str | Path) -> dict[str, Any]:
    """The model's config that a folder's JSON files make. Raises UserError for a model that is none of this project's,
    and names file and key."""
    parts = find_parts(folder)
    files = {part: place / (SCHEDULER_CONFIG if part == "scheduler" else "config.json")
             for part, place in parts.items() if part != "tokenizer"}
    configs = Folder(**{part: (str(file), read_json(file)) for part, file in files.items()})
    return {"model": {"target": MODEL, "params": model_params(configs)}}


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights of a part: safetensors before pickles, single precision before half. Raises
    UserError where there is none."""
    for suffix in SUFFIXES:
        for stem in STEMS:
            if (file := folder / f"{stem}{suffix}").is_file():
                return [file]
            index = folder / f"{stem}{suffix}.index.json"
            if index.is_file():
                named = read_json(index).get("weight_map")
                names = sorted({str(n) for n in named.values()}) if isinstance(named, dict) else []
                if not names or any(Path(n).name != n for n in names):
                    raise UserError(f"{index}: names no files of this folder")
                return [folder / n for n in names]
    raise UserError(f"{folder}: no weights there ({STEMS[0]}.safetensors or a file like it)")


def read_folder(folder: str | Path, expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a folder under the names, and in the shapes, of a model's state dict, as far as it has them; what
    it does not expect is called as the folder has it, "unet/name"."""
    from ldm.serialization import read_tensors

    parts = find_parts(folder)
    ours = {theirs: name for name, theirs in folder_names(expected).items()}
    weights = {}
    for part in ("unet", "autoencoder", "text"):
        for file in weight_files(parts[part]):
            for name, weight in read_tensors(file).items():
                own = ours.get((part, name_today(str(name))), f"{parts[part].name}/{name}")
                if hasattr(weight, "shape"):
                    weights[own] = _shaped(weight, expected.get(own))
    return weights


def _shaped(weight: torch.Tensor, expected: torch.Tensor | None) -> torch.Tensor:
    """A matrix as a kernel of one pixel where that is expected, and the other way round: they do the same."""
    if expected is None or abs(weight.dim() - expected.dim()) != 2:
        return weight
    if weight.shape[2:] == (1, 1) or expected.shape[2:] == (1, 1):
        return weight.reshape(*weight.shape[:2], *expected.shape[2:])
    return weight


# Writing -------------------------------------------------------------------------------------------------------------

def write_folder(folder: str | Path, model: Mapping[str, Any], weights: Mapping[str, torch.Tensor],
                 tokenizer: Any, length: int) -> None:
    """Write a model as a folder of diffusers, whole or not at all.

    `model` is its config, `weights` are those of its state dict, `tokenizer` is one of `transformers`, for prompts of
    `length` tokens. Raises UserError where the folder is there and not empty, and for a model that diffusers has no
    classes for.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: is there already and not empty; name a new folder")
    files = folder_files(model)
    places = {part: next(p for p in files if p in PARTS[part]) for part in ("unet", "autoencoder", "text")}
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        for place, content in files.items():
            name = {"": MODEL_INDEX, "scheduler": SCHEDULER_CONFIG}.get(place, "config.json")
            write_bytes(temporary / place / name, (json.dumps(content, indent=2) + "\n").encode())
        _write_tokenizer(temporary / "tokenizer", tokenizer, length)
        theirs = folder_names(weights)
        for part, place in places.items():
            stem = STEMS[1] if part == "text" else STEMS[0]
            _write_weights(temporary / place / f"{stem}.safetensors", {
                name: weights[own].flatten(1) if ".to_" in name and part == "autoencoder" and weights[own].dim() == 4
                else weights[own] for own, (p, name) in theirs.items() if p == part})
        os.chmod(temporary, 0o755)
        os.replace(temporary, folder)
        temporary = None
    except OSError as error:
        raise UserError(f"{folder}: could not be written ({error.strerror}); free some space or choose another "
                        "folder") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_tokenizer(folder: Path, tokenizer: Any, length: int) -> None:
    tokenizer.save_pretrained(folder)
    tokenizer.backend_tokenizer.model.save(str(folder))  # the vocabulary, which other versions of transformers read
    config = read_json(folder / "tokenizer_config.json") | {"model_max_length": length}
    write_bytes(folder / "tokenizer_config.json", (json.dumps(config, indent=2) + "\n").encode())


def _write_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    import safetensors.torch

    safetensors.torch.save_file({n: w.detach().contiguous() for n, w in weights.items()}, path,
                                metadata={"format": "pt"})  # which transformers asks for
    with path.open("rb") as file:
        os.fsync(file.fileno())
