"""The JSON files of a diffusers folder, and this project's config for the same model: each from the other.

What a JSON file does not say has the value that diffusers gives it. What changes the network in a way that this
project's classes do not know is refused by name, in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ldm.checks import given
from ldm.errors import UserError
from ldm.filetypes import shown
from ldm.schema import Positive, Width, check, show
from ldm.targets import ALIASES

VERSION = "0.30.0"  # of diffusers: files as it wrote them, and later versions read
MODEL, FIRST_STAGE = "ldm.models.diffusion.ddpm.LatentDiffusion", "ldm.models.autoencoder.AutoencoderKL"
NETWORKS, TEXT_ENCODERS = "ldm.modules.diffusionmodules.openaimodel.UNetModel", "ldm.modules.encoders.modules."

# Of each class: keys with the one value that this project's class has. All but a few are diffusers' defaults.
UNET = {
    "center_input_sample": False, "flip_sin_to_cos": True, "freq_shift": 0, "mid_block_type": "UNetMidBlock2DCrossAttn",
    "only_cross_attention": False, "downsample_padding": 1, "mid_block_scale_factor": 1, "act_fn": "silu",
    "norm_num_groups": 32, "norm_eps": 1e-5, "num_attention_heads": None, "dual_cross_attention": False,
    "class_embed_type": None, "addition_embed_type": None, "num_class_embeds": None, "encoder_hid_dim": None,
    "encoder_hid_dim_type": None, "resnet_time_scale_shift": "default", "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1, "time_embedding_type": "positional", "time_embedding_dim": None,
    "time_embedding_act_fn": None, "timestep_post_act": None, "time_cond_proj_dim": None, "conv_in_kernel": 3,
    "conv_out_kernel": 3, "attention_type": "default", "cross_attention_norm": None,
    "reverse_transformer_layers_per_block": None}
AUTOENCODER = {
    "act_fn": "silu", "shift_factor": None, "latents_mean": None, "latents_std": None, "use_quant_conv": True,
    "use_post_quant_conv": True, "mid_block_add_attention": True}
BERT = {"activation_function": "gelu", "encoder_attention_heads": 8, "head_dim": 64, "scale_embedding": False}
CLIP = {"layer_norm_eps": 1e-5}
SCHEDULER = {"trained_betas": None, "rescale_betas_zero_snr": False}

# Schedules and predictions by their names there; "linear" is linear in the square roots here, in beta there.
SCHEDULES = {"scaled_linear": "linear", "linear": "sqrt_linear", "squaredcos_cap_v2": "cosine"}
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v"}

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Folder:
    """The JSON files of a folder: (where it is, what it says) of each part."""

    unet: tuple[str, Config]
    autoencoder: tuple[str, Config]
    text: tuple[str, Config]
    scheduler: tuple[str, Config]


class _File:
    """One JSON file of a model, whose values are checked as they are taken."""

    def __init__(self, path: str, content: Config, fixed: Config, *classes: str) -> None:
        self.path, self.content = path, content
        named = content.get("_class_name") or next(iter(content.get("architectures") or []), None)
        if classes and named is not None and named not in classes:
            raise UserError(f"{path}: of a {shown(named)}, and this project has {' or '.join(classes)}")
        for key, value in fixed.items():
            self.refuse_unless(content.get(key, value) == value, key, value)

    def refuse_unless(self, fits: bool, key: str, allowed: Any) -> None:
        """Raises UserError for a key whose value this project's classes do not know."""
        if not fits:
            raise UserError(f"{self.path}: {key}={shown(self.content.get(key))}: this project's class has "
                            f"{shown(allowed)} there")

    def take(self, key: str, default: Any, kind: Any = Width) -> Any:
        """The value of a key, or the default. Raises UserError for one of another kind."""
        return check(f"{self.path}: {key}", self.content.get(key, default), kind)

    def one_of(self, key: str, default: str, known: Mapping[str, str]) -> str:
        """What stands here for the value of a key."""
        value = self.content.get(key, default)
        self.refuse_unless(isinstance(value, str) and value in known, key, ", ".join(known))
        return known[value]

    def levels(self, key: str, default: Sequence[int]) -> tuple[int, list[int]]:
        """The width of the first level, and that of each as a multiple of it."""
        widths = self.take(key, list(default), list[Width])
        first = (widths or [0])[0]
        self.refuse_unless(bool(widths) and len(widths) <= 16 and not any(w % first for w in widths), key,
                           "multiples of the first")
        return first, [w // first for w in widths]


# From there to here --------------------------------------------------------------------------------------------------

def model_params(folder: Folder) -> dict[str, Any]:
    """The parameters of a LatentDiffusion for what a folder holds. Raises UserError for what is none."""
    unet, autoencoder = _unet(folder.unet), _autoencoder(folder.autoencoder)
    scheduler = _File(*folder.scheduler, SCHEDULER)  # any will do: the noise is that of training, whatever draws
    is_clip, text = _text(folder.text)
    return {
        "linear_start": scheduler.take("beta_start", 1e-4, float),
        "linear_end": scheduler.take("beta_end", 2e-2, float),
        "timesteps": scheduler.take("num_train_timesteps", 1000),
        "beta_schedule": scheduler.one_of("beta_schedule", "linear", SCHEDULES),
        "parameterization": scheduler.one_of("prediction_type", "epsilon", PREDICTIONS),
        "first_stage_key": "image", "cond_stage_key": "caption", "image_size": unet["image_size"],
        "channels": unet["in_channels"], "conditioning_key": "crossattn", "use_ema": False,
        "scale_factor": _File(*folder.autoencoder, {}).take("scaling_factor", 0.18215, Positive),
        **({"guidance_scale": 7.5} if is_clip else {}),
        "personalization_config": {"target": "ldm.modules.embedding_manager.EmbeddingManager", "params": {
            "placeholder_strings": ["*"], "initializer_words": ["sculpture"]}},
        "unet_config": {"target": NETWORKS, "params": unet},
        "first_stage_config": {"target": FIRST_STAGE, "params": autoencoder},
        "cond_stage_config": {"target": TEXT_ENCODERS + ("FrozenCLIPEmbedder" if is_clip else "BERTEmbedder"),
                              "params": text},
    }


def _unet(part: tuple[str, Config]) -> dict[str, Any]:
    file = _File(*part, UNET, "UNet2DConditionModel")
    width, mult = file.levels("block_out_channels", (320, 640, 1280, 1280))
    cross = ["CrossAttnDownBlock2D"] * (len(mult) - 1) + ["DownBlock2D"]
    down = file.take("down_block_types", cross, list[str])
    file.refuse_unless(len(down) == len(mult) and set(down) <= set(cross), "down_block_types", cross[0])
    up = [name.replace("Down", "Up") for name in reversed(down)]
    file.refuse_unless(list(file.take("up_block_types", up, list[str])) == up, "up_block_types", up)
    params = {
        "image_size": file.take("sample_size", 64), "in_channels": file.take("in_channels", 4),
        "out_channels": file.take("out_channels", 4), "model_channels": width, "channel_mult": mult,
        "num_res_blocks": file.take("layers_per_block", 2),
        "attention_resolutions": [2**i for i, name in enumerate(down) if name == cross[0]],
        "transformer_depth": file.take("transformer_layers_per_block", 1),
        "context_dim": file.take("cross_attention_dim", 1280), "dropout": file.take("dropout", 0.0, float)}
    # the number of heads, whatever its name
    heads = file.take("attention_head_dim", 8, int | list[int])
    each = [heads] * len(mult) if isinstance(heads, int) else heads
    file.refuse_unless(len(each) == len(mult) and min(each) > 0, "attention_head_dim", "a number for each level")
    if len(set(each)) == 1:
        return params | {"num_heads": each[0]}
    sizes = {width * m / n for m, n in zip(mult, each, strict=True)}
    file.refuse_unless(len(sizes) == 1 and min(sizes).is_integer(), "attention_head_dim", "heads of one width")
    return params | {"num_head_channels": int(min(sizes))}


def _autoencoder(part: tuple[str, Config]) -> dict[str, Any]:
    file = _File(*part, AUTOENCODER, "AutoencoderKL")
    width, mult = file.levels("block_out_channels", (64,))
    size, latents = file.take("sample_size", 32), file.take("latent_channels", 4)
    down = file.take("down_block_types", ["DownEncoderBlock2D"], list[str])
    file.refuse_unless(list(down) == ["DownEncoderBlock2D"] * len(mult), "down_block_types", "DownEncoderBlock2D")
    up = ["UpDecoderBlock2D"] * len(mult)
    file.refuse_unless(list(file.take("up_block_types", up, list[str])) == up, "up_block_types", "UpDecoderBlock2D")
    return {"embed_dim": latents, "ddconfig": {
        "double_z": True, "z_channels": latents, "resolution": size, "in_channels": file.take("in_channels", 3),
        "out_ch": file.take("out_channels", 3), "ch": width, "ch_mult": mult,
        "num_res_blocks": file.take("layers_per_block", 1), "attn_resolutions": [], "dropout": 0.0,
        "norm_groups": file.take("norm_num_groups", 32)}}


def _text(part: tuple[str, Config]) -> tuple[bool, dict[str, Any]]:
    """(whether it is CLIP's, parameters) of the text encoder."""
    if "d_model" in part[1]:
        file = _File(*part, BERT, "LDMBertModel")
        width = file.take("d_model", 1280)
        file.refuse_unless(file.take("encoder_ffn_dim", 5120) == 4 * width, "encoder_ffn_dim", 4 * width)
        return False, {"n_embed": width, "n_layer": file.take("encoder_layers", 32),
                       "vocab_size": file.take("vocab_size", 30522),
                       "max_seq_len": file.take("max_position_embeddings", 77)}
    file = _File(*part, CLIP, "CLIPTextModel", "CLIPTextModelWithProjection")
    return True, {
        "n_embed": file.take("hidden_size", 512), "n_layer": file.take("num_hidden_layers", 12),
        "n_head": file.take("num_attention_heads", 8), "n_hidden": file.take("intermediate_size", 2048),
        "hidden_act": file.take("hidden_act", "quick_gelu", str), "vocab_size": file.take("vocab_size", 49408),
        "max_length": file.take("max_position_embeddings", 77)}


# From here to there --------------------------------------------------------------------------------------------------

class _Params:
    """The parameters of a config, or their defaults; the first that diffusers has no class for is refused."""

    def __init__(self, key: str, config: Any, target: str) -> None:
        self.key, self.config = key, config
        if ALIASES.get(config["target"], config["target"]) != target:
            raise UserError(f"{key}.target={show(config['target'])}: diffusers has no class for it")

    def __getitem__(self, name: str) -> Any:
        return given(self.config, name)

    def refuse_unless(self, fits: bool, name: str) -> None:
        """Raises UserError for a parameter whose value no class of diffusers has."""
        if not fits:
            raise UserError(f"{self.key}.params.{name}={show(self[name])}: diffusers has no class for that")


def folder_files(model: Config) -> dict[str, dict[str, Any]]:
    """What the JSON files say for a model of a config, by the name of the folder that each is for.

    Raises UserError for a model that diffusers has no classes for.
    """
    key = "model.params"
    params = _Params("model", model, MODEL)
    text = params["cond_stage_config"]
    is_clip = text["target"] == f"{TEXT_ENCODERS}FrozenCLIPEmbedder"
    unet = _Params(f"{key}.unet_config", params["unet_config"], NETWORKS)
    autoencoder = _Params(f"{key}.first_stage_config", params["first_stage_config"], FIRST_STAGE)
    files = {
        "unet": _unet_file(unet, params["image_size"]),
        "vae" if is_clip else "vqvae": _autoencoder_file(autoencoder, params["scale_factor"]),
        "text_encoder" if is_clip else "bert": (_clip_file if is_clip else _bert_file)(_Params(
            f"{key}.cond_stage_config", text, TEXT_ENCODERS + ("FrozenCLIPEmbedder" if is_clip else "BERTEmbedder"))),
        "scheduler": {  # DDIM as the published code has it: from step 1 on, down to the first noise level
            "_class_name": "DDIMScheduler", "_diffusers_version": VERSION, "beta_start": params["linear_start"],
            "beta_end": params["linear_end"], "beta_schedule": _named(SCHEDULES, params["beta_schedule"]),
            "num_train_timesteps": params["timesteps"], "clip_sample": False, "set_alpha_to_one": False,
            "steps_offset": 1, "prediction_type": _named(PREDICTIONS, params["parameterization"]), **SCHEDULER},
    }
    params.refuse_unless(params["beta_schedule"] != "cosine" or params["cosine_s"] == 8e-3, "cosine_s")
    libraries = {name: ["diffusers", content["_class_name"]] if "_class_name" in content else
                 ["transformers" if is_clip else "latent_diffusion", content["architectures"][0]]
                 for name, content in files.items()}
    pipeline = "StableDiffusionPipeline" if is_clip else "LDMTextToImagePipeline"
    nothing = {"safety_checker": [None, None], "feature_extractor": [None, None],
               "requires_safety_checker": False} if is_clip else {}
    return files | {"": {"_class_name": pipeline, "_diffusers_version": VERSION, **libraries,
                         "tokenizer": ["transformers", "CLIPTokenizer" if is_clip else "BertTokenizer"], **nothing}}


def _named(names: Mapping[str, str], value: str) -> str:
    return next(theirs for theirs, ours in names.items() if ours == value)


def _unet_file(unet: _Params, size: int) -> dict[str, Any]:
    for name in ("pooled_context", "context_map"):
        unet.refuse_unless(not unet[name], name)
    mult = list(unet["channel_mult"])
    unet.refuse_unless(mult[0] == 1, "channel_mult")
    widths = [unet["model_channels"] * m for m in mult]
    down = [f"{'CrossAttn' * (2**i in unet['attention_resolutions'])}DownBlock2D" for i in range(len(mult))]
    heads = unet["num_heads"] if unet["num_heads"] != -1 else [w // unet["num_head_channels"] for w in widths]
    return {"_class_name": "UNet2DConditionModel", "_diffusers_version": VERSION, **UNET,
            "sample_size": size, "in_channels": unet["in_channels"], "out_channels": unet["out_channels"],
            "block_out_channels": widths, "layers_per_block": unet["num_res_blocks"], "down_block_types": down,
            "up_block_types": [name.replace("Down", "Up") for name in reversed(down)],
            "transformer_layers_per_block": unet["transformer_depth"], "cross_attention_dim": unet["context_dim"],
            "attention_head_dim": heads, "dropout": unet["dropout"]}  # heads: their number, whatever the name


def _autoencoder_file(autoencoder: _Params, scale: float) -> dict[str, Any]:
    config = autoencoder["ddconfig"]
    mult, latents = list(config["ch_mult"]), config["z_channels"]
    autoencoder.refuse_unless(not config["attn_resolutions"], "ddconfig")
    autoencoder.refuse_unless(config.get("patch", 1) == 1, "ddconfig")
    autoencoder.refuse_unless(autoencoder["embed_dim"] == latents, "embed_dim")
    return {"_class_name": "AutoencoderKL", "_diffusers_version": VERSION, **AUTOENCODER,
            "in_channels": config["in_channels"], "out_channels": config["out_ch"], "latent_channels": latents,
            "block_out_channels": [config["ch"] * m for m in mult], "layers_per_block": config["num_res_blocks"],
            "down_block_types": ["DownEncoderBlock2D"] * len(mult), "up_block_types": ["UpDecoderBlock2D"] * len(mult),
            "norm_num_groups": config.get("norm_groups", 32), "sample_size": config["resolution"],
            "scaling_factor": scale}


def _bert_file(text: _Params) -> dict[str, Any]:
    return {"architectures": ["LDMBertModel"], "model_type": "ldmbert", **BERT, "d_model": text["n_embed"],
            "encoder_layers": text["n_layer"], "num_hidden_layers": text["n_layer"],
            "encoder_ffn_dim": 4 * text["n_embed"], "vocab_size": text["vocab_size"],
            "max_position_embeddings": text["max_seq_len"], "pad_token_id": 0}


def _clip_file(text: _Params) -> dict[str, Any]:
    return {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", **CLIP, "hidden_size": text["n_embed"],
            "projection_dim": text["n_embed"], "bos_token_id": text["vocab_size"] - 2,
            "eos_token_id": text["vocab_size"] - 1, "num_hidden_layers": text["n_layer"],
            "num_attention_heads": text["n_head"], "intermediate_size": text["n_hidden"],
            "hidden_act": text["hidden_act"], "vocab_size": text["vocab_size"],
            "max_position_embeddings": text["max_length"]}
