"""What the weights of a latent diffusion model are called in a folder of diffusers, by rule.

The names follow from the order of the blocks. The published code counts a network's blocks through; diffusers counts
them per resolution, and those of the autoencoder's decoder from the lowest resolution on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

UNET, AUTOENCODER, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."

UNET_ENDS = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
             "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out"}
UNET_RESNET = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
               "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut"}
MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}

AUTOENCODER_RULES = (
    (r"^encoder\.down\.(\d+)\.", r"encoder.down_blocks.\1."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."), (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.block\.(\d+)\.", r".resnets.\1."), (r"\.attn\.(\d+)\.", r".attentions.\1."),
    (r"\.(down|up)sample\.conv\.", r".\1samplers.0.conv."),
    (r"\.nin_shortcut\.", ".conv_shortcut."), (r"\.norm_out\.", ".conv_norm_out."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."), (r"(\.attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)
BERT_ENDS = {"transformer.token_emb": "model.embed_tokens", "transformer.pos_emb.emb": "model.embed_positions",
             "transformer.norm": "model.layer_norm", "transformer.to_logits": "to_logits"}
BERT_LAYERS = {"to_q": "self_attn.q_proj", "to_k": "self_attn.k_proj", "to_v": "self_attn.v_proj",
               "to_out": "self_attn.out_proj", "net.0.0": "fc1", "net.2": "fc2"}

# How folders were written at other times, by the name a component has today: the autoencoder's attention until 2023,
# and text encoders by transformers 5.
OTHER_TIMES = (
    (r"(\.attentions\.\d+)\.query\.", r"\1.to_q."), (r"(\.attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(\.attentions\.\d+)\.value\.", r"\1.to_v."), (r"(\.attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
    (r"^(embeddings|encoder\.layers|final_layer_norm)\.", r"text_model.\1."),
)


def _unet_name(name: str, blocks: int) -> str:
    """The name in `unet/`; a resolution takes so many blocks of the input, the step to the next one among them."""
    stem, _, last = name.rpartition(".")
    if stem in UNET_ENDS:
        return f"{UNET_ENDS[stem]}.{last}"
    if match := re.fullmatch(r"middle_block\.(\d)\.(.+)", name):
        place, inner = f"mid_block.{MIDDLE[match[1]]}", match[2]
    elif match := re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", name):
        level, number = divmod(int(match[2]) - (match[1] == "input"), blocks)
        side, inner = "down" if match[1] == "input" else "up", match[4]
        if inner.startswith(("op.", "conv.")):
            return f"{side}_blocks.{level}.{side}samplers.0.conv.{last}"
        place = f"{side}_blocks.{level}.{'attentions' if match[3] != '0' else 'resnets'}.{number}"
    else:
        return name
    stem, _, last = inner.rpartition(".")
    return f"{place}.{UNET_RESNET.get(stem, stem)}.{last}"


def _autoencoder_name(name: str, levels: int) -> str:
    name = re.sub(r"^decoder\.up\.(\d+)\.", lambda m: f"decoder.up_blocks.{levels - 1 - int(m[1])}.", name)
    return _replaced(name, AUTOENCODER_RULES)


def _bert_name(name: str) -> str:
    stem, _, last = name.rpartition(".")
    if stem in BERT_ENDS:
        return f"{BERT_ENDS[stem]}.{last}"
    match = re.fullmatch(r"transformer\.attn_layers\.layers\.(\d+)\.(\d)\.(.+)", name)
    if match is None:
        return name
    layer, is_feed_forward = divmod(int(match[1]), 2)
    stem, _, last = match[3].rpartition(".")
    inner = BERT_LAYERS.get(stem, stem) if match[2] == "1" else (
        "final_layer_norm" if is_feed_forward else "self_attn_layer_norm")
    return f"model.layers.{layer}.{inner}.{last}"


def _replaced(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def folder_names(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """{name: (component, name in it)} of a model's weights: component is `unet`, `autoencoder` or `text`. Other names
    are left out: schedules, averages and learned words are in no such folder."""
    names = list(names)
    inputs = {m[1] for n in names if (m := re.match(r"model\.diffusion_model\.input_blocks\.(\d+)\.", n))}
    steps = sum(bool(re.fullmatch(r"model\.diffusion_model\.input_blocks\.\d+\.0\.op\.weight", n)) for n in names)
    levels = len({m[1] for n in names if (m := re.match(r"first_stage_model\.decoder\.up\.(\d+)\.", n))})
    is_clip = any(n.startswith(f"{TEXT}transformer.text_model.") for n in names)
    rules: dict[str, tuple[str, Callable[[str], str]]] = {
        UNET: ("unet", lambda n: _unet_name(n, len(inputs) // (steps + 1))),
        AUTOENCODER: ("autoencoder", lambda n: _autoencoder_name(n, levels)),
        TEXT: ("text", (lambda n: n.removeprefix("transformer.")) if is_clip else _bert_name),
    }
    return {name: (part, rule(name.removeprefix(prefix))) for name in names
            for prefix, (part, rule) in rules.items() if name.startswith(prefix)}


def name_today(name: str) -> str:
    """The name that a weight of a folder has in one that is written today."""
    return _replaced(name, OTHER_TIMES)
