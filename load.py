"""Loading by name: a string to an object, a config to an instance, a config and a checkpoint to a model."""

import importlib
import inspect
import sys
import warnings
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldm.errors import UserError
from ldm.serialization import read_tensors, unpack_weights

ROOT = Path(__file__).resolve().parent

# Targets as published configs name them, and where they are here.
ALIASES = {
    "main.DataModuleFromConfig": "ldm.data.data_module.DataModuleFromConfig",
    "main.ImageLogger": "make_log_new.ImageLogger",
    "main.SetupCallback": "setup.SetupCallback",
}


def get_obj_from_str(string: str, reload: bool = False):
    """The object a dotted name stands for: "torch.nn.Identity" -> that class. Raises UserError where there is none."""
    string = ALIASES.get(string, string)
    module_name, _, name = string.rpartition(".")
    try:
        module = importlib.import_module(module_name)
        return getattr(importlib.reload(module) if reload else module, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"target {string!r} cannot be loaded: {error}") from None


def accepted_parameters(target) -> set[str] | None:
    """Names of the arguments a class takes, through its base classes' `**kwargs`; None if it takes any name."""
    names: set[str] = set()
    for cls in inspect.getmro(target) if inspect.isclass(target) else (target,):
        if inspect.isclass(cls) and "__init__" not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__ if inspect.isclass(cls) else cls).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names - {"self"}
    return None


def instantiate_from_config(config, **kwargs):
    """Build `config.target` with `config.params` and kwargs.

    A parameter that the target does not take is left out and named in one warning: published configs carry
    parameters that have lost their meaning. Raises UserError if there is no target or it refuses its arguments.
    """
    if "target" not in config:
        raise UserError(f"the config has no `target:` to instantiate (keys: {', '.join(config) or 'none'})")
    target = get_obj_from_str(config["target"])
    params = config.get("params") or {}
    params = dict(OmegaConf.to_container(params, resolve=True) if isinstance(params, DictConfig) else params)
    accepted = None if target is torch.nn.Identity else accepted_parameters(target)
    unused = [] if accepted is None else sorted(set(params) - accepted)
    if unused:
        warnings.warn(f"{config['target']}: parameters without a meaning here are left out: {', '.join(unused)}",
                      stacklevel=2)
    params = {k: v for k, v in params.items() if k not in unused} | kwargs
    try:
        inspect.signature(target).bind(**params)
    except TypeError as error:
        raise UserError(f"{config['target']}: {error}") from None
    try:
        return target(**params)
    except ValueError as error:
        raise UserError(f"{config['target']}: {error}") from None


def load_config(*paths: str | Path) -> DictConfig:
    """Read YAML files and merge them, later ones over earlier ones. Raises UserError for one that cannot be read."""
    configs = []
    for path in paths:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such config file")
        try:
            config = OmegaConf.load(path)
        except (OmegaConfBaseException, ValueError, OSError) as error:
            raise UserError(f"{path}: not a YAML config ({' '.join(str(error).split())})") from None
        except Exception as error:  # PyYAML's errors share no public base with OmegaConf's
            if type(error).__module__.partition(".")[0] != "yaml":
                raise
            raise UserError(f"{path}: not a YAML config ({' '.join(str(error).split())})") from None
        if not isinstance(config, DictConfig):
            raise UserError(f"{path}: a config must be a mapping")
        configs.append(config)
    return OmegaConf.merge(*configs)


def resolve_folder(name: str) -> str:
    """A folder named in a config: as it is, inside this project, or in its models/ under the name it has on the model
    hub; any other name is left for the hub."""
    for folder in (Path(name), ROOT / name, ROOT / "models" / name):
        if folder.is_dir():
            return str(folder)
    return name


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint file, by name: its `state_dict`, or the file itself if it is one; packed ones
    unpacked."""
    content = read_tensors(path)
    weights = content.get("state_dict", content)
    weights = {k: v for k, v in weights.items() if torch.is_tensor(v)} if isinstance(weights, dict) else {}
    if not weights:
        raise UserError(f"{path}: holds no weights (keys: {', '.join(map(str, list(content)[:6])) or 'none'})")
    return unpack_weights(weights)


def compare_state(model: torch.nn.Module, weights: dict[str, torch.Tensor]):
    """(missing, unexpected, misshapen) names of a state dict against a model. Names under `embedding_manager.` and
    buffers do not count as missing: the model makes them itself."""
    own = model.state_dict()
    parameters = {n for n, _ in model.named_parameters() if not n.startswith("embedding_manager.")}
    missing = sorted(parameters - set(weights))
    unexpected = sorted(n for n in set(weights) - set(own) if not n.startswith("embedding_manager."))
    misshapen = sorted(n for n in set(weights) & parameters if weights[n].shape != own[n].shape)
    return missing, unexpected, misshapen


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def load_weights(model: torch.nn.Module, path: str | Path, verbose: bool = False) -> None:
    """Map the weights of a checkpoint into the model, as float32, without a second copy.

    Unexpected names are reported on stderr. Raises UserError when a weight is missing or has another shape.
    """
    weights = read_state_dict(path)
    missing, unexpected, misshapen = compare_state(model, weights)
    if missing:
        raise UserError(f"{path} is not a checkpoint of this model: {len(missing)} weights are missing "
                        f"({_some(missing)}); give the config it was trained with")
    if misshapen:
        own = model.state_dict()
        name = misshapen[0]
        raise UserError(f"{path} is not a checkpoint of this model: {len(misshapen)} weights have another shape "
                        f"({name}: {list(weights[name].shape)}, the config makes {list(own[name].shape)})")
    if unexpected:
        print(f"{path}: {len(unexpected)} entries are not part of this model and are left out: "
              f"{', '.join(unexpected) if verbose else _some(unexpected)}", file=sys.stderr)
    own = [n for n, _ in model.named_parameters() if not n.startswith("embedding_manager.")]
    own += [n for n, _ in model.named_buffers() if n.startswith("model_ema.") and n in weights]
    model.load_state_dict({n: weights[n].float() if weights[n].is_floating_point() else weights[n] for n in own},
                          strict=False, assign=True)
    if verbose:
        print(f"{path}: {len(own)} weights loaded", file=sys.stderr)


def load_model_from_config(config, ckpt: str | Path, verbose: bool = False):
    """Build `config.model` and fill it from a checkpoint: an eval-mode model on the CPU, its weights frozen.

    The model is built without memory for its weights, which are then mapped from the file; its embedding manager
    starts from the loaded token embeddings. Raises UserError as `load_weights` does.
    """
    if "model" not in config:
        raise UserError("the config has no `model:`; give a model's config")
    with torch.device("meta"):
        model = instantiate_from_config(config["model"])
    load_weights(model, ckpt, verbose)
    model.weights_loaded()
    return model.to("cpu").eval()
