# PYTHON_ARGCOMPLETE_OK
"""Train the emoji world's CLIP, the judge of pictures: python -m pretrain.clip --run pretrain/runs/clip

It sees every concept, held-out ones too: it measures, and never helps to draw.
"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from evaluation.measures import JUDGE, background, both_right, interval, ranks
from ldm.cli import run_command
from ldm.data.emoji import COLOURS
from ldm.files import write_bytes
from ldm.progress import bar
from ldm.util import ROOT
from load import check_files
from pretrain.flags import check_world, parser
from pretrain.world import Concept, Scene, all_concepts, check_packages, held_out, render

if TYPE_CHECKING:
    import torch
    from transformers import CLIPModel, PreTrainedTokenizerBase

    from ldm.judge import CLIPEvaluator
    from pretrain.stream import Batch

TOKENIZER = ROOT / "models/ldm/emoji/tokenizer"
SIDE = 64


def new_clip(tokenizer: PreTrainedTokenizerBase, size: int) -> CLIPModel:
    """A CLIP of 5 M parameters for square pictures of a size, cut into 8 x 8 patches, and the emoji model's words."""
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 192, "intermediate_size": 768, "num_attention_heads": 6, "projection_dim": 128}
    text = {**tower, "num_hidden_layers": 3, "vocab_size": len(tokenizer), "max_position_embeddings": 32,
            "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.cls_token_id,
            "eos_token_id": tokenizer.sep_token_id}
    vision = {**tower, "num_hidden_layers": 6, "image_size": size, "patch_size": size // 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    config._attn_implementation = "eager"  # on a CPU faster to train than the fused kernel
    return CLIPModel(config)


class CaptionIds:
    """Makes of a batch its pictures, the token ids int64 [B, L] of their captions, and what they show."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the forward pass takes."""
        ids = self.tokenizer([texts[0] for texts in batch.captions], padding="max_length", truncation=True,
                             max_length=32, return_tensors="pt")["input_ids"]
        return batch.pixels, ids, batch.shown


def clean_renders(concept: Concept, size: int) -> list[Image.Image]:
    """The concept as it is, on every background."""
    rng = random.Random(concept.name)
    return [render(Scene((concept,), colour), rng, size) for colour in COLOURS]


def judge_quality(evaluator: CLIPEvaluator, features: torch.Tensor, size: int) -> dict[str, Any]:
    """How well the judge reads real renders it has not seen: the ceiling of all that is measured with it."""
    concepts, colours = list(all_concepts()), list(COLOURS)
    index = {c: i for i, c in enumerate(concepts)}
    rng = random.Random("quality")
    report: dict[str, Any] = {}
    for title, chosen, copies in (("seen", [c for c in concepts if c not in set(held_out())], 1),
                                  ("heldout", held_out(), 8)):
        scenes = [Scene((c,), rng.choice(colours)) for c in chosen for _ in range(copies)]
        pictures = [render(s, rng, size) for s in scenes]
        rank = ranks(evaluator.encode_images(pictures), features, [index[s.concepts[0]] for s in scenes])
        pairs = [Scene((c, rng.choice(concepts)), rng.choice(colours)) for c in chosen]
        report |= {
            f"{title}/top1": interval(rank < 1), f"{title}/top5": interval(rank < 5),
            f"{title}/background": interval(background(p) == s.colour for p, s in zip(pictures, scenes, strict=True)),
            f"{title}/both": interval(both_right(
                evaluator, [render(s, rng, size) for s in pairs], features,
                [[index[c] for c in s.concepts] for s in pairs])),
        }
    return report


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """A matrix or kernel in multiples of a power of two, at most 31 in each row: as good, and its file compresses."""
    if weight.dim() < 2:
        return weight
    largest = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True)
    step = (largest / 31).clamp(min=1e-6).log2().ceil().exp2()
    return (weight / step).round() * step


def finish(model: CLIPModel, tokenizer: PreTrainedTokenizerBase, out: Path, device: torch.device, size: int
           ) -> dict[str, Any]:
    """Write the judge: the model, the concepts with their features, and how well it reads real renders: that."""
    import torch
    from transformers import CLIPImageProcessor

    from ldm.judge import CLIPEvaluator
    from ldm.serialization import write_tensors

    model.load_state_dict({name: rounded(weight) for name, weight in model.state_dict().items()})
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    CLIPImageProcessor(size={"height": size, "width": size}, do_center_crop=False, image_mean=[0.5] * 3,
                       image_std=[0.5] * 3).save_pretrained(out)
    evaluator = CLIPEvaluator(str(out), device)
    unseen = set(held_out())
    features = torch.stack([evaluator.encode_images(clean_renders(c, size)).mean(dim=0)
                            for c in bar(all_concepts(), desc="concepts")])
    features = torch.nn.functional.normalize(features, dim=1)
    write_tensors(out / "concepts.safetensors", {"features": features.half()})
    write_bytes(out / "concepts.json", json.dumps(
        [{"name": c.name, "name_ko": c.name_ko, "slug": c.slug, "kind": c.kind, "group": c.group,
          "held_out": c in unseen} for c in all_concepts()], indent=0, ensure_ascii=False).encode())
    quality = judge_quality(evaluator, features, size)
    write_bytes(out / "quality.json", json.dumps(quality, indent=1).encode())
    print(json.dumps(quality, indent=1))
    return quality


def main(arguments: list[str] | None = None) -> None:
    """Train the judge, or go on with it; once all pictures are seen, write it to --out."""
    flags = parser("Train the emoji world's CLIP.", "python -m pretrain.clip --run pretrain/runs/clip",
                   pictures=2_000_000, batch_size=192, learning_rate=1e-3)
    flags.add_argument("--out", type=Path, default=JUDGE, metavar="FOLDER", help="folder for the finished model")
    flags.add_argument("--tokenizer", type=Path, default=TOKENIZER, metavar="FOLDER",
                       help="folder of pretrain.tokenizer")
    opt = flags.parse_args(arguments)
    check_files(opt.tokenizer / "vocab.txt")
    check_world(opt)
    import torch
    from transformers import AutoTokenizer

    from pretrain.losses import ClipLoss
    from pretrain.stage import Stage, new_fabric
    from pretrain.stream import open_world

    world = open_world(opt, sealed=False)
    fabric = new_fabric(opt)
    torch.manual_seed(opt.seed)
    tokenizer, size = AutoTokenizer.from_pretrained(opt.tokenizer), opt.size or SIDE
    model = new_clip(tokenizer, size).train()
    module = ClipLoss(model, len(world.names))

    stage = Stage("clip", opt, fabric, module, module.trained, world, size, alike=True, prepare=CaptionIds(tokenizer))
    stage.run()
    check_packages()
    stage.write_made({"quality": finish(model, tokenizer, opt.out, fabric.device, size)})


if __name__ == "__main__":
    run_command(main)
