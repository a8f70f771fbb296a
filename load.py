"""From files to a model: checkpoints, the config that belongs to one, variants, and the flags commands share for it."""

from __future__ import annotations

import argparse
import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ldm.checks import check_config
from ldm.cli import CommandParser, gpu_number, gpu_numbers, word
from ldm.diffusers_folder import MODEL_INDEX, folder_config, is_model_folder, read_folder
from ldm.errors import UserError
from ldm.filetypes import check_regular, shown
from ldm.progress import say
from ldm.targets import PACKAGES, REGISTERED, trust_targets
from ldm.util import (
    ALIASES,
    ROOT,
    accepted_parameters,
    get_obj_from_str,
    instantiate_from_config,
    load_config,
    merge_configs,
    resolve_folder,
)

if TYPE_CHECKING:
    import torch

    from ldm.models.diffusion.ddpm import LatentDiffusion
    from ldm.modules.encoders.text_encoder import TextEncoder

__all__ = [
    "ALIASES", "EMBEDDED_MODEL", "PUBLISHED_CONFIG", "REGISTERED", "ROOT", "STABLE_DIFFUSION_CONFIG", "VARIANTS",
    "add_model_flags", "announce_config", "check_config", "check_files", "compare_state", "config_beside",
    "find_config", "get_obj_from_str", "instantiate_from_config", "load_config", "load_model", "load_model_config",
    "load_model_from_config", "load_weights", "load_words", "merge_configs", "meta_model", "model_config",
    "read_state_dict", "read_weights", "resolve_folder", "text_encoder", "trust_targets", "with_tokenizer",
    "with_variant",
]

PACKAGES.update({"improvement", "make_log_new", "setup"})

# Targets as published configs name them, and where they are here.
ALIASES.update({
    "main.DataModuleFromConfig": "ldm.data.data_module.DataModuleFromConfig",
    "main.ImageLogger": "make_log_new.ImageLogger",
    "main.SetupCallback": "setup.SetupCallback",
})

EMBEDDED_MODEL = ROOT / "models/ldm/emoji/model.ckpt"
PUBLISHED_CONFIG = ROOT / "configs/latent-diffusion/txt2img-1p4B-eval_with_tokens.yaml"
STABLE_DIFFUSION_CONFIG = ROOT / "configs/stable-diffusion/v1-inference.yaml"

CLIP = "ldm.modules.encoders.modules.FrozenCLIPEmbedder"

# What makes a variant of a base model's config.
VARIANTS: dict[str, dict[str, Any]] = {
    "v1": {"model": {
        "target": "improvement.v1.post_BERT.PostBERTDiffusion",
        "params": {"personalization_config": {"target": "improvement.v1.post_BERT.PostBERTManager"}},
    }},
    "v2": {"model": {"params": {"cond_stage_config": {"target": "improvement.v2.pre_BERT.AlignedEmbedder"}}}},
}


# Flags and configs ---------------------------------------------------------------------------------------------------

MODEL_FLAGS: dict[str, dict[str, Any]] = {
    "--ckpt_path": {"metavar": "CKPT", "default": os.path.relpath(EMBEDDED_MODEL), "help": "the model's "
                    "checkpoint, or folder of diffusers"},
    "--config": {"metavar": "YAML", "help": "the model's config; default: config.yaml beside the checkpoint, else "
                 "that of Stable Diffusion 1.x or of the published 1.45 B model, whichever the checkpoint is"},
    "--embedding_path": {"nargs": "+", "metavar": "FILE", "help": "learned words: files such as embeddings.pt, .bin or "
                         ".safetensors, each word by its own name; the only word is * too"},
    "--placeholder_string": {"nargs": "+", "type": word, "metavar": "NAME", "default": [], "help": "names for words "
                             "whose files have none for them, or one that is taken, in order; default: the file's "
                             "name, as in <my-cat>"},
    "--variant": {"choices": VARIANTS, "help": "the model as v1 or v2 makes it"},
    "--gpus": {"metavar": "NUMBER", "type": gpu_number, "help": "number of the GPU to use; default: the first if there "
               "is one, else the CPU"},
    "--tf32": {"action": "store_true", "help": "on an NVIDIA GPU: float32 is multiplied as TF32, which is faster and "
               "has 10 bits of mantissa"},
    "--trust_targets": {"action": "store_true", "help": "let the config name classes that are not of this project and "
                        "run any code: only for a config that you trust as you would a program"},
}
SEVERAL_GPUS = {"metavar": "LIST", "type": gpu_numbers, "help": "numbers of the GPUs to train on, 0 or 0,1; default: "
                "the first if there is one, else the CPU"}


def add_model_flags(parser: argparse._ActionsContainer, *names: str, without: Iterable[str] = (),
                    several_gpus: bool = False) -> None:
    """Add the flags that all commands with a model share: those named, or all but those in `without`; --trust_targets
    in any case. A command that works on several GPUs at once says so."""
    if isinstance(parser, CommandParser):
        parser = parser.add_argument_group("model" if "--embedding_path" in without or names else "model and words")
    flags = MODEL_FLAGS | ({"--gpus": SEVERAL_GPUS} if several_gpus else {})
    without = {*without, *(["--placeholder_string"] if "--embedding_path" in without else [])}
    for name in dict.fromkeys([*names, "--trust_targets"]) if names else [n for n in MODEL_FLAGS if n not in without]:
        parser.add_argument(name, **flags[name])


def check_files(*files: str | Path | Iterable[str | Path] | None) -> None:
    """Raises UserError for a file that is not there or is none, such as a folder that holds no model; None and lists
    are taken too."""
    for file in files:
        if isinstance(file, str | Path):
            if not is_model_folder(file):
                check_regular(file)
        elif file is not None:
            check_files(*file)


def config_beside(checkpoint: str | Path) -> Path | None:
    """The config.yaml that lies beside a checkpoint, if there is one; in a folder of diffusers, or its index."""
    is_folder = is_model_folder(checkpoint)
    beside = (Path(checkpoint) if is_folder else Path(checkpoint).parent) / "config.yaml"
    return beside if beside.is_file() else Path(checkpoint) / MODEL_INDEX if is_folder else None


def load_model_config(path: Path) -> DictConfig:
    """A config that `config_beside` has found: as it is written, or as a folder's JSON files make it."""
    return OmegaConf.create(folder_config(path.parent)) if path.name == MODEL_INDEX else load_config(path)


def announce_config(path: Path) -> None:
    """Say which config lies beside a checkpoint and is used, unless it is one of this project's own."""
    if not path.resolve().is_relative_to(ROOT) and path.name != MODEL_INDEX:
        say(f"the model's config is {path}, beside its checkpoint")


def find_config(ckpt_path: str | Path, config: str | Path | None = None) -> Path:
    """The config of a checkpoint: the one given, else the one beside it, else that of the published model whose text
    encoder it has."""
    return Path(config or config_beside(ckpt_path) or (
        STABLE_DIFFUSION_CONFIG if has_clip(ckpt_path) else PUBLISHED_CONFIG))


def has_clip(ckpt_path: str | Path) -> bool:
    """Whether a checkpoint holds Stable Diffusion's text encoder, by its names; not if it cannot be read."""
    try:
        state = os.stat(ckpt_path)
        return _has_clip(str(ckpt_path), state.st_mtime_ns, state.st_size)
    except (UserError, OSError, ValueError):
        return False


@functools.lru_cache(8)
def _has_clip(path: str, *state: int) -> bool:
    return any(name.startswith("cond_stage_model.transformer.text_model.") for name in read_state_dict(path))


def with_variant(config: DictConfig, variant: str | None) -> DictConfig:
    """A config as a variant changes it. Raises UserError for v2 before a text encoder that is not latent diffusion's
    own."""
    text = OmegaConf.select(config, "model.params.cond_stage_config.target")
    if variant == "v2" and ALIASES.get(text, text) == CLIP:
        raise UserError("--variant v2 goes before latent diffusion's text encoder, and this model has Stable "
                        "Diffusion's; leave it out, and write prompts in English")
    return merge_configs(config, VARIANTS[variant] if variant else {})


def model_config(ckpt_path: str | Path, config: str | Path | None = None, variant: str | None = None) -> DictConfig:
    """The config that `find_config` finds, as a variant changes it, its model checked. Raises UserError for a value
    that the model cannot have."""
    path = find_config(ckpt_path, config)
    merged = with_variant(load_model_config(path), variant)
    try:
        return check_config(merged, ["model"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


# Weights -------------------------------------------------------------------------------------------------------------

# What else weights are called in checkpoints: with what wrappers put into names, DistributedDataParallel and
# torch.compile, and as transformers called CLIP's at other times.
OTHER_NAMES = ((r"(?<![^.])(?:module|_orig_mod)\.", ""),
               (r"^(cond_stage_model\.transformer)\.(?=embeddings\.|encoder\.|final_layer_norm\.)", r"\1.text_model."))


def read_state_dict(path: str | Path, model: torch.nn.Module | None = None) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint, by name: its `state_dict`, or the file itself if it is one; packed ones unpacked.

    Those of a folder of diffusers come under the names of the model, which is by default the one that it describes.
    """
    import torch

    from ldm.serialization import read_tensors, unpack_weights

    if is_model_folder(path):
        model = model or meta_model(model_config(path), path)
        return read_folder(path, model.state_dict())
    content = read_tensors(path)
    weights = content.get("state_dict", content)
    weights = {k: v for k, v in weights.items() if torch.is_tensor(v)} if isinstance(weights, dict) else {}
    if not weights:
        raise UserError(f"{path}: holds no weights (keys: {', '.join(map(shown, list(content)[:6])) or 'none'})")
    if not all(isinstance(name, str) for name in weights):
        raise UserError(f"{path}: holds weights whose names are no text; give a model's checkpoint")
    for pattern, replacement in OTHER_NAMES:
        weights = {re.sub(pattern, replacement, name): weight for name, weight in weights.items()}
    try:
        return unpack_weights(weights)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def compare_state(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]
                  ) -> tuple[list[str], list[str], list[str]]:
    """(missing, unexpected, misshapen) names of a state dict against a model. Names under `embedding_manager.` and
    buffers do not count as missing: the model makes them itself; nor do `position_ids`, which count from 0, as
    unexpected."""
    own = model.state_dict()
    parameters = {n for n, _ in model.named_parameters() if not n.startswith("embedding_manager.")}
    missing = sorted(parameters - set(weights))
    unexpected = sorted(n for n in set(weights) - set(own)
                        if not n.startswith("embedding_manager.") and not n.endswith(".position_ids"))
    misshapen = sorted(n for n in set(weights) & parameters if weights[n].shape != own[n].shape)
    return missing, unexpected, misshapen


def _some(names: list[str]) -> str:
    return ", ".join(map(shown, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_weights(model: torch.nn.Module, path: str | Path, verbose: bool = False) -> dict[str, torch.Tensor]:
    """Those weights of a checkpoint that a model has, averages among them where there are any: mapped from the file,
    in its number format.

    Unexpected names are reported on stderr. Raises UserError when a weight is missing, has another shape or is not made
    of finite real numbers, as far as `check_weights` looks.
    """
    from ldm.serialization import check_weights

    weights = read_state_dict(path, model)
    missing, unexpected, misshapen = compare_state(model, weights)
    if missing:
        raise UserError(f"{path} is not a checkpoint of this model: {len(missing)} weights are missing "
                        f"({_some(missing)}); give the config it was trained with")
    if misshapen:
        shapes = model.state_dict()
        name = misshapen[0]
        raise UserError(f"{path} is not a checkpoint of this model: {len(misshapen)} weights have another shape "
                        f"({name}: {list(weights[name].shape)}, the config makes {list(shapes[name].shape)})")
    if unexpected:
        say(f"{path}: {len(unexpected)} entries are not part of this model and are left out: "
            f"{', '.join(map(shown, unexpected)) if verbose else _some(unexpected)}")
    own = [n for n, _ in model.named_parameters() if not n.startswith("embedding_manager.")]
    own += [n for n, _ in model.named_buffers() if n.startswith("model_ema.") and n in weights]
    expected = model.state_dict()
    try:
        check_weights(weights, {n: expected[n] for n in own})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return {n: weights[n] for n in own}


def load_weights(model: torch.nn.Module, path: str | Path, verbose: bool = False) -> None:
    """Map the weights of a checkpoint into the model, as float32, without a second copy. Raises UserError as
    `read_weights` does."""
    weights = read_weights(model, path, verbose)
    model.load_state_dict({n: w.float() if w.is_floating_point() else w for n, w in weights.items()},
                          strict=False, assign=True)
    if verbose:
        say(f"{path}: {len(weights)} weights loaded")


# Models --------------------------------------------------------------------------------------------------------------

def meta_model(config: Mapping[str, Any], ckpt: str | Path | None) -> LatentDiffusion:
    """The model a config describes, for a checkpoint if there is one, with shapes but without weights.

    Raises UserError for a config without a model.
    """
    from ldm.modules.meta import without_weights

    if "model" not in config:
        raise UserError("the config has no `model:`; give a model's config")
    model = config["model"] if ckpt is None else with_tokenizer(config["model"], ckpt)
    with without_weights():
        return instantiate_from_config(model)


def with_tokenizer(model: Mapping[str, Any], ckpt: str | Path) -> Mapping[str, Any]:
    """A model's config whose text encoder reads its tokenizer from the folder that its checkpoint is, where that has
    one and the config names no folder itself."""
    folder = Path(ckpt) / "tokenizer"
    text = OmegaConf.select(OmegaConf.create(dict(model)), "params.cond_stage_config")
    if not text or not is_model_folder(ckpt) or not folder.is_dir():
        return model
    names = accepted_parameters(get_obj_from_str(text["target"])) or ()
    name = next((n for n in ("tokenizer", "version") if n in names), None)
    if name is None or Path(resolve_folder(str((text.get("params") or {}).get(name)))).is_dir():
        return model
    return merge_configs(model, {"params": {"cond_stage_config": {"params": {name: str(folder)}}}})


def load_model_from_config(config: Mapping[str, Any], ckpt: str | Path, verbose: bool = False) -> LatentDiffusion:
    """Build `config.model` and fill it from a checkpoint: an eval-mode model on the CPU, its weights frozen.

    The model is built without memory for its weights, which are then mapped from the file; its embedding manager
    starts from the loaded token embeddings. Raises UserError as `load_weights` does.
    """
    from ldm.modules.meta import without_garbage_collection

    with without_garbage_collection():
        model = meta_model(config, ckpt)
        load_weights(model, ckpt, verbose)
        model.weights_loaded()
        return model.to("cpu").eval()


def load_words(model: LatentDiffusion, paths: str | Path | Sequence[str | Path], names: Sequence[str] = ()) -> None:
    """Give the model the words of files, and say on stderr how each is written in prompts; names as
    `ldm.placeholders.call_words` has them."""
    words = model.embedding_manager.load(paths, names)
    for loaded in words:
        also = " or *" * (len(words) == 1 and loaded.name != "*")
        same = next((f", as {other.file} does" for other in words if other.file != loaded.file
                     and other.own is not None and other.own == loaded.own != loaded.name), "")
        say(f"{loaded.name}{also}: {loaded}{same}")


def load_model(opt: argparse.Namespace) -> LatentDiffusion:
    """The model that the flags of `add_model_flags` name, with its learned words if they name a file, on the device
    they name."""
    from ldm.devices import allow_tf32, first_device

    device = first_device(opt.gpus)
    if getattr(opt, "tf32", False):
        allow_tf32(device)
    if not opt.config:
        announce_config(find_config(opt.ckpt_path))
    config = model_config(opt.ckpt_path, opt.config, opt.variant)
    model = load_model_from_config(config, opt.ckpt_path)
    if getattr(opt, "embedding_path", None):
        load_words(model, opt.embedding_path, opt.placeholder_string)
    elif getattr(opt, "placeholder_string", None):
        raise UserError("--placeholder_string names the words of --embedding_path, and that is missing")
    return model.to(device)


def text_encoder(opt: argparse.Namespace, weights: bool = True) -> TextEncoder:
    """The text encoder of the model that the flags name, for those who need nothing else of it; without weights, for
    its vocabulary. Raises UserError for a checkpoint of another model."""
    from ldm.serialization import check_weights

    model = meta_model(model_config(opt.ckpt_path, opt.config), opt.ckpt_path)
    encoder = model.cond_stage_model
    if weights:
        prefix, state = "cond_stage_model.", read_state_dict(opt.ckpt_path, model)
        own = {n: state[prefix + n] for n, _ in encoder.named_parameters() if prefix + n in state}
        try:
            check_weights(own, dict(encoder.named_parameters()))
        except UserError as error:
            raise UserError(f"{opt.ckpt_path}: of its text encoder {error}") from error
        encoder.load_state_dict({n: w.float() for n, w in own.items()}, strict=False, assign=True)
    return encoder.eval()
