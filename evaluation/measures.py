"""What is measured: ranks among concepts, backgrounds, both of two things, intervals; and the judge that measures.

Figures are means over concepts with 95 % bootstrap intervals, {"value", "low", "high", "n"}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ldm.cli import print_table
from ldm.data.emoji import COLOURS
from ldm.files import write_bytes
from ldm.progress import say
from ldm.util import ROOT

if TYPE_CHECKING:
    import torch

    from ldm.judge import CLIPEvaluator

JUDGE = ROOT / "models/clip/emoji"  # the CLIP that measures the embedded model
PUBLISHED_JUDGE = "openai/clip-vit-base-patch32"  # and the one for models of real pictures


def interval(values: Iterable[float], repeats: int = 2000) -> dict[str, Any]:
    """Mean of values with its 95 % bootstrap interval: {"value", "low", "high", "n"}."""
    v = np.asarray(list(values), dtype=float)
    draws = np.random.default_rng(0).integers(len(v), size=(repeats, len(v)))
    low, high = np.percentile(v[draws].mean(axis=1), [2.5, 97.5])
    return {"value": float(v.mean()), "low": float(low), "high": float(high), "n": len(v)}


def ratio(above: Sequence[float] | np.ndarray, below: Sequence[float] | np.ndarray, repeats: int = 2000
          ) -> dict[str, Any]:
    """Mean of above over mean of below, paired, with its 95 % bootstrap interval: {"value", "low", "high", "n"}."""
    a, b = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    draws = np.random.default_rng(0).integers(len(a), size=(repeats, len(a)))
    ratios = a[draws].mean(axis=1) / np.maximum(b[draws].mean(axis=1), 1e-9)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return {"value": float(a.mean() / max(b.mean(), 1e-9)), "low": float(low), "high": float(high), "n": len(a)}


def ranks(features: torch.Tensor, references: torch.Tensor, targets: list[int]) -> np.ndarray:
    """For each feature [N, D], how many of the references [M, D] are nearer than its target: 0 is top-1."""
    similarity = features @ references.T
    own = similarity[range(len(targets)), targets]
    return (similarity > own[:, None]).sum(dim=1).numpy()


def background(picture: Image.Image) -> str:
    """The named colour nearest to the median of the picture's outermost pixels."""
    pixels = np.asarray(picture.convert("RGB"), dtype=float)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    names = list(COLOURS)
    distances = [np.linalg.norm(np.median(edge, axis=0) - COLOURS[name][0]) for name in names]
    return names[int(np.argmin(distances))]


def both_right(judge: CLIPEvaluator, pictures: list[Image.Image], references: torch.Tensor,
               targets: list[list[int]]) -> list[bool]:
    """Whether each picture shows its two things side by side, in either order: of its left and its right cell, each
    has another of the two among the five nearest concepts."""
    halves = []
    for picture in pictures:
        w, h = picture.size
        halves += [picture.crop((x, h // 4, x + w // 2, h - h // 4)).resize((w, h), Image.Resampling.BICUBIC)
                   for x in (0, w // 2)]
    top = (judge.encode_images(halves) @ references.T).topk(5).indices.reshape(len(pictures), 2, 5).tolist()
    return [(a in left and b in right) or (b in left and a in right)
            for (a, b), (left, right) in zip(targets, top, strict=True)]


def write_report(report: dict[str, dict], path: Path) -> None:
    """Write {metric: interval} as JSON."""
    write_bytes(path, json.dumps(report, indent=1).encode())


def print_report(report: dict[str, dict], path: Path | None) -> None:
    """Print {metric: interval} as a table; with a path, write it there as JSON too."""
    rows = [(name, r["value"], r["low"], r["high"], r["n"]) for name, r in report.items()]
    print_table(("metric", "value", "low", "high", "n"), rows)
    if path:
        write_report(report, path)
        say(path)
