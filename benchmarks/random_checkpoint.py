"""Write a checkpoint of random weights for a config: python -m benchmarks.random_checkpoint --config YAML --out CKPT

With the published 1.45 B config this stands in for the published checkpoint where only time and memory matter.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import math
from pathlib import Path
from typing import TYPE_CHECKING

from ldm.cli import CommandParser, run_command, training_seed
from load import ROOT, check_files, instantiate_from_config, load_config

if TYPE_CHECKING:
    import torch

    from ldm.modules.encoders.modules import BERTEmbedder


def random_weights(model: torch.nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of float32 for a model on the meta device, by name, of a size at which nothing grows or fades."""
    import torch

    torch.manual_seed(seed)
    return {name: torch.randn(p.shape, device="cpu") / math.sqrt(math.prod(p.shape[1:])) if p.dim() > 1 else
            torch.full(p.shape, float(name.endswith("weight")), device="cpu")
            for name, p in model.named_parameters() if not name.startswith("embedding_manager.")}


def write_multilingual(folder: Path, text_encoder: BERTEmbedder) -> None:
    """Random weights of xlm-roberta-base's size with the embedded model's vocabulary, and an aligner from there to the
    text encoder."""
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaModel

    from improvement.v2.aligner import Aligner, save_aligner

    encoder = XLMRobertaModel(XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1))
    encoder.half().save_pretrained(folder)
    AutoTokenizer.from_pretrained(ROOT / "models/multilingual/emoji").save_pretrained(folder)
    token_dim = text_encoder.token_embeddings.embedding_dim
    save_aligner(Aligner(2 * encoder.config.hidden_size, token_dim, text_encoder.max_seq_len),
                 folder / "aligner.pt")


def main(arguments: list[str] | None = None) -> None:
    """Write the checkpoint."""
    parser = CommandParser(
        description="Write a checkpoint of random weights for a config.",
        example="python -m benchmarks.random_checkpoint --out model.ckpt")
    parser.add_argument("--config", default="configs/latent-diffusion/txt2img-1p4B-finetune.yaml", metavar="YAML",
                        help="the model's config")
    parser.add_argument("--out", type=Path, required=True, metavar="CKPT", help="where the checkpoint goes")
    parser.add_argument("--multilingual", type=Path, metavar="FOLDER", help="write a stand-in for xlm-roberta-base and "
                        "an aligner there too")
    parser.add_argument("--seed", type=training_seed, default=0, help="seed of everything random")
    opt = parser.parse_args(arguments)
    check_files(opt.config)
    import torch

    torch.manual_seed(opt.seed)
    model = instantiate_from_config(load_config(opt.config).model)
    for parameter in model.parameters():
        if not parameter.any():  # branches that start at zero would do no work
            torch.nn.init.normal_(parameter, std=0.02)
    if opt.multilingual:
        write_multilingual(opt.multilingual, model.cond_stage_model)
    opt.out.parent.mkdir(parents=True, exist_ok=True)
    # straight to the file: a second copy in memory would not fit beside the model on a small machine
    torch.save({"state_dict": {n: v for n, v in model.state_dict().items()
                               if not n.startswith("embedding_manager.")}}, opt.out)


if __name__ == "__main__":
    run_command(main)
