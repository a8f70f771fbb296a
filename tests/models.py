"""Small models with random weights, made by the libraries whose layouts they are in."""

import json
from pathlib import Path

import torch

from tests.conftest import ROOT

UNET = {"sample_size": 8, "block_out_channels": (32, 64), "layers_per_block": 2, "cross_attention_dim": 32,
        "attention_head_dim": 4, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
AUTOENCODER = {"sample_size": 64, "block_out_channels": (32, 32, 64, 64), "layers_per_block": 1,
               "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
         "set_alpha_to_one": False, "steps_offset": 1}


def lively(module):
    """The module with no weight so small that nothing depends on it."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1) if parameter.dim() > 1 else parameter.data.add_(
            torch.randn_like(parameter) * 0.05)
    return module.eval()


def ldm_pipeline():
    """diffusers' pipeline of the published latent diffusion model."""
    from diffusers import AutoencoderKL, DDIMScheduler, LDMTextToImagePipeline, UNet2DConditionModel
    from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel
    from transformers import BertTokenizer

    bert = LDMBertModel(LDMBertConfig(d_model=32, encoder_layers=2, encoder_ffn_dim=128))
    return LDMTextToImagePipeline(
        vqvae=lively(AutoencoderKL(**AUTOENCODER)), bert=lively(bert), unet=lively(UNet2DConditionModel(**UNET)),
        tokenizer=BertTokenizer.from_pretrained(ROOT / "models/bert-base-uncased"), scheduler=DDIMScheduler(**NOISE))


def clip_tokenizer():
    """A tokenizer of CLIP's class that has the letters, and four words."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    merges, pieces = [], []
    for word in ("photo", "a cat", "of", "sculpture"):
        for part in word.split():
            done = part[:1] if len(part) > 1 else part
            for letter in [*part[1:-1], part[-1] + "</w>"] if len(part) > 1 else []:
                if (done, letter) not in merges:
                    merges.append((done, letter))
                done += letter
                pieces.append(done)
    names = [*letters, *(letter + "</w>" for letter in letters), *dict.fromkeys(pieces), "<|startoftext|>",
             "<|endoftext|>"]
    return CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=merges, model_max_length=77)


def stable_diffusion_pipeline():
    """diffusers' pipeline of Stable Diffusion 1.x."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = clip_tokenizer()
    clip = CLIPTextModel(CLIPTextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                        num_attention_heads=4, vocab_size=len(tokenizer), projection_dim=32,
                                        bos_token_id=len(tokenizer) - 2, eos_token_id=len(tokenizer) - 1))
    return StableDiffusionPipeline(
        vae=lively(AutoencoderKL(**AUTOENCODER)), text_encoder=lively(clip), unet=lively(UNet2DConditionModel(**UNET)),
        tokenizer=tokenizer, scheduler=DDIMScheduler(**NOISE), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False)


def as_in_2022(folder: Path) -> None:
    """Rewrite a folder as the first versions of diffusers did: pickles, and other names in the autoencoder."""
    import safetensors.torch

    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for file in list(folder.rglob("*.safetensors")):
        weights = safetensors.torch.load_file(file)
        if file.parent.name in ("vqvae", "vae"):
            for new, name in old.items():
                weights = {n.replace(f".{new}.", f".{name}."): w for n, w in weights.items()}
        name = "pytorch_model.bin" if file.stem == "model" else file.stem + ".bin"
        torch.save(weights, file.with_name(name))
        file.unlink()
    for file in folder.glob("*/*config.json"):  # keys that came later
        content = json.loads(file.read_text())
        kept = {k: v for k, v in content.items() if k not in (
            "scaling_factor", "mid_block_type", "use_quant_conv", "prediction_type", "conv_in_kernel", "shift_factor",
            "transformer_layers_per_block", "resnet_time_scale_shift", "rescale_betas_zero_snr")}
        file.write_text(json.dumps(kept))
