"""Train the emoji world's CLIP, the judge of pictures: python -m pretrain.clip --run pretrain/runs/clip

It sees every concept, held-out ones too: it measures, and never helps to draw.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from evaluation.measures import JUDGE, background, both_right, interval, ranks
from ldm.cli import run_command
from ldm.data.emoji import COLOURS
from ldm.files import write_bytes
from ldm.progress import bar
from ldm.util import ROOT
from pretrain.autoencoder import to_pixels
from pretrain.bank import captions, render_bank
from pretrain.checkpoint import Run, parser
from pretrain.world import Concept, Scene, all_concepts, check_packages, held_out, render

if TYPE_CHECKING:
    import torch
    from transformers import CLIPModel, PreTrainedTokenizerBase

    from ldm.judge import CLIPEvaluator

TOKENIZER = ROOT / "models/ldm/emoji/tokenizer"
SIDE = 64
CAPTIONS_PER_PICTURE = 3
SEVERAL = -1  # stands for the concept of a picture that shows two


def new_clip() -> CLIPModel:
    """A CLIP of 5 M parameters for 64 px pictures and the emoji model's words."""
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    tower = {"hidden_size": 192, "intermediate_size": 768, "num_attention_heads": 6, "projection_dim": 128}
    text = {**tower, "num_hidden_layers": 3, "vocab_size": len(tokenizer), "max_position_embeddings": 32,
            "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.cls_token_id,
            "eos_token_id": tokenizer.sep_token_id}
    vision = {**tower, "num_hidden_layers": 6, "image_size": SIDE, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    config._attn_implementation = "eager"  # on a CPU faster to train than the fused kernel
    return CLIPModel(config)


def soften(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Pictures [B, 3, H, W], half of the time blurred, always a little noisy: a judge must not trip over small faults
    of a model."""
    import torch
    import torch.nn.functional as F

    if rng.random() < 0.5:
        reach = torch.arange(-2, 3)
        kernel = torch.exp(-reach.square() / (2 * rng.uniform(0.3, 1.2) ** 2))
        kernel = (kernel / kernel.sum()).to(pictures).expand(3, 1, 1, 5)
        pictures = F.conv2d(pictures, kernel, padding=(0, 2), groups=3)
        pictures = F.conv2d(pictures, kernel.mT, padding=(2, 0), groups=3)
    return pictures + rng.uniform(0, 0.1) * torch.randn_like(pictures)


def draw_rows(order: np.ndarray, size: int, rng: np.random.Generator, run: int = 8) -> np.ndarray:
    """Rows of a batch: half of it at random, half in runs of neighbours in Unicode's order, which look alike and are
    hard to tell apart. `order` sorts the pictures by what they show."""
    stride = len(order) // len(all_concepts()) + 1
    starts = rng.integers(len(order) - run * stride, size=size // (2 * run))
    runs = (starts[:, None] + stride * np.arange(run)).ravel()
    return np.concatenate([order[runs], rng.integers(len(order), size=size - len(runs))])


def clean_renders(concept: Concept) -> list[Image.Image]:
    """The concept as it is, on every background."""
    rng = random.Random(concept.name)
    return [render(Scene((concept,), colour), rng, SIDE) for colour in COLOURS]


def judge_quality(evaluator: CLIPEvaluator, features: torch.Tensor) -> dict[str, Any]:
    """How well the judge reads real renders it has not seen: the ceiling of all that is measured with it."""
    concepts, colours = list(all_concepts()), list(COLOURS)
    index = {c: i for i, c in enumerate(concepts)}
    rng = random.Random("quality")
    report: dict[str, Any] = {}
    for title, chosen, copies in (("seen", [c for c in concepts if c not in set(held_out())], 1),
                                  ("heldout", held_out(), 8)):
        scenes = [Scene((c,), rng.choice(colours)) for c in chosen for _ in range(copies)]
        pictures = [render(s, rng, SIDE) for s in scenes]
        rank = ranks(evaluator.encode_images(pictures), features, [index[s.concepts[0]] for s in scenes])
        pairs = [Scene((c, rng.choice(concepts)), rng.choice(colours)) for c in chosen]
        report |= {
            f"{title}/top1": interval(rank < 1), f"{title}/top5": interval(rank < 5),
            f"{title}/background": interval(background(p) == s.colour for p, s in zip(pictures, scenes, strict=True)),
            f"{title}/both": interval(both_right(
                evaluator, [render(s, rng, SIDE) for s in pairs], features,
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


def finish(model: CLIPModel, tokenizer: PreTrainedTokenizerBase, out: Path, device: torch.device) -> None:
    """Write the judge: the model, the concepts with their features, and how well it reads real renders."""
    import torch
    from transformers import CLIPImageProcessor

    from ldm.judge import CLIPEvaluator
    from ldm.serialization import write_tensors

    model.load_state_dict({name: rounded(weight) for name, weight in model.state_dict().items()})
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    CLIPImageProcessor(size={"height": SIDE, "width": SIDE}, do_center_crop=False, image_mean=[0.5] * 3,
                       image_std=[0.5] * 3).save_pretrained(out)
    evaluator = CLIPEvaluator(str(out), device)
    unseen = set(held_out())
    features = torch.stack([evaluator.encode_images(clean_renders(c)).mean(dim=0)
                            for c in bar(all_concepts(), desc="concepts")])
    features = torch.nn.functional.normalize(features, dim=1)
    write_tensors(out / "concepts.safetensors", {"features": features.half()})
    write_bytes(out / "concepts.json", json.dumps(
        [{"name": c.name, "name_ko": c.name_ko, "slug": c.slug, "kind": c.kind, "group": c.group,
          "held_out": c in unseen} for c in all_concepts()], indent=0, ensure_ascii=False).encode())
    quality = judge_quality(evaluator, features)
    write_bytes(out / "quality.json", json.dumps(quality, indent=1).encode())
    print(json.dumps(quality, indent=1))


def main(arguments: list[str] | None = None) -> None:
    """Train the judge, or go on with it, and write it to --out."""
    flags = parser("Train the emoji world's CLIP.", "python -m pretrain.clip --run pretrain/runs/clip",
                   minutes=25, batch_size=192, learning_rate=1e-3)
    flags.add_argument("--out", type=Path, default=JUDGE, metavar="FOLDER", help="folder for the finished model")
    opt = flags.parse_args(arguments)
    check_packages()
    import torch
    import torch.nn.functional as F
    from transformers import AutoTokenizer

    from ldm.devices import first_device, mixed_precision
    from ldm.optim import muon_and_adam

    torch.manual_seed(opt.seed)
    device = first_device()
    model, tokenizer = new_clip().train(), AutoTokenizer.from_pretrained(TOKENIZER)

    place = {c: i for i, c in enumerate(all_concepts())}
    parts: list[np.ndarray] = []
    texts: list[tuple[str, ...]] = []
    places: list[int] = []
    for batch, scenes in render_bank(opt.pictures, opt.seed, groups=(), pixels=SIDE):
        parts.append(batch)
        texts += zip(*(captions([(s, k + i) for s, k in scenes]) for i in range(CAPTIONS_PER_PICTURE)), strict=True)
        places += [place[s.concepts[0]] if len(s.concepts) == 1 else SEVERAL for s, _ in scenes]
    pictures, shown = np.concatenate(parts), np.array(places)
    order = np.argsort(shown, kind="stable")
    ids = tokenizer([t for ts in texts for t in ts], padding="max_length", truncation=True, max_length=32,
                    return_tensors="pt")["input_ids"].reshape(len(texts), CAPTIONS_PER_PICTURE, -1)
    # beside the captions of the batch, every concept has a vector to be told from; they are dropped in the end
    prototypes = torch.nn.Embedding(len(place), model.config.projection_dim, device=device)
    both = torch.nn.ModuleDict({"clip": model, "prototypes": prototypes}).to(device)
    run = Run(opt.run, opt.minutes, {"both": both}, muon_and_adam(both, opt.learning_rate))
    rng = np.random.default_rng(opt.seed + run.step)
    steps, right = bar(desc="clip", initial=run.step), 0.0
    answers = torch.arange(opt.batch_size, device=device)
    while run.tick():
        rows = draw_rows(order, opt.batch_size, rng)
        x = soften(to_pixels(pictures[rows], device), rng)
        which = torch.from_numpy(rng.integers(CAPTIONS_PER_PICTURE, size=opt.batch_size))
        with mixed_precision(device):
            found = model(input_ids=ids[torch.from_numpy(rows), which].to(device), pixel_values=x)
        logits = found.logits_per_image.float()
        named = model.logit_scale.exp() * found.image_embeds.float() @ F.normalize(prototypes.weight, dim=1).T
        run.update((F.cross_entropy(logits, answers) + F.cross_entropy(logits.T, answers)) / 2
                   + F.cross_entropy(named, torch.from_numpy(shown[rows]).to(device), ignore_index=SEVERAL))
        right = 0.99 * right + 0.01 * float((logits.argmax(dim=1) == answers).float().mean())
        steps.update()
        if run.step % 500 == 0:
            steps.write(f"step {run.step}  minute {run.elapsed / 60:.1f}  found among {opt.batch_size}: {right:.3f}")
            run.save()
    run.save()

    finish(model, tokenizer, opt.out, device)


if __name__ == "__main__":
    run_command(main)
