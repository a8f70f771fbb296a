"""The embedded model's report card: python -m evaluation.emoji_suite --json report.json

Does it draw what its words say (seen/), does a word learned from five pictures draw what they show (heldout/), how far
does the init word get without training (initword/), and how well would real pictures do (ceiling/)? All measured with
models/clip/emoji, a ruler that knows every concept.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

import train_new
from check.check_learned import contact_sheet
from check.common import VARIANTS, load_checked_model, model_flags, print_table
from evaluation.clip_eval import CLIPEvaluator
from ldm.cli import CommandParser, run_command
from ldm.data.personalized import find_images, open_image
from ldm.errors import UserError
from ldm.models.diffusion.dpm_solver import DPMSolverSampler
from ldm.serialization import read_tensors, write_bytes
from load import ROOT
from make_log_new import save_image, to_image
from pretrain.world import COLOURS, with_article
from txt2img import sample_prompt

RULER = ROOT / "models/clip/emoji"
CONFIGS = {None: ROOT / "configs/emoji/finetune.yaml", "v1": ROOT / "configs/emoji/finetune-v1.yaml",
           "v2": ROOT / "configs/emoji/finetune-v2.yaml"}
PARTS = ("seen", "heldout", "initword", "ceiling")
COMPANIONS = ("red apple", "banana", "tiger", "hamburger", "penguin", "sunflower")


def interval(values: Iterable[float], repeats: int = 2000) -> dict:
    """Mean of values with its 95 % bootstrap interval: {"value", "low", "high", "n"}."""
    values = np.asarray(list(values), dtype=float)
    draws = np.random.default_rng(0).integers(len(values), size=(repeats, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return {"value": float(values.mean()), "low": float(low), "high": float(high), "n": len(values)}


def print_report(report: dict[str, dict], path: Path | None) -> None:
    """Print {metric: interval} as a table; with a path, write it there as JSON too."""
    rows = [(name, r["value"], r["low"], r["high"], r["n"]) for name, r in report.items()]
    print_table(("metric", "value", "low", "high", "n"), rows)
    if path:
        write_bytes(path, json.dumps(report, indent=1).encode())
        print(path, file=sys.stderr)


def ranks(features: torch.Tensor, references: torch.Tensor, targets: list[int]) -> np.ndarray:
    """For each feature [N, D], how many of the references [M, D] are nearer than its target: 0 is top-1."""
    similarity = features @ references.T
    own = similarity[torch.arange(len(targets)), torch.tensor(targets)]
    return (similarity > own[:, None]).sum(dim=1).numpy()


def background(picture: Image.Image) -> str:
    """The named colour nearest to the median of the picture's outermost pixels."""
    pixels = np.asarray(picture.convert("RGB"), dtype=float)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    names = list(COLOURS)
    distances = [np.linalg.norm(np.median(edge, axis=0) - COLOURS[name][0]) for name in names]
    return names[int(np.argmin(distances))]


def both_right(ruler: CLIPEvaluator, pictures: list[Image.Image], references: torch.Tensor,
               targets: list[list[int]]) -> list[bool]:
    """Whether each picture shows its two things side by side, in either order: of its left and its right cell, each
    has another of the two among the five nearest concepts."""
    halves = []
    for picture in pictures:
        w, h = picture.size
        halves += [picture.crop((x, h // 4, x + w // 2, h - h // 4)).resize((w, h), Image.Resampling.BICUBIC)
                   for x in (0, w // 2)]
    top = (ruler.encode_images(halves) @ references.T).topk(5).indices.reshape(len(pictures), 2, 5).tolist()
    return [(a in left and b in right) or (b in left and a in right)
            for (a, b), (left, right) in zip(targets, top, strict=True)]


class Suite:
    """Model, ruler and names, and how to draw and to judge with them."""

    def __init__(self, opt):
        self.opt = opt
        self.model = load_checked_model(opt)
        self.ruler = CLIPEvaluator(str(RULER))
        self.references = read_tensors(RULER / "concepts.safetensors")["features"].float()
        self.concepts = json.loads((RULER / "concepts.json").read_text(encoding="utf-8"))
        self.index = {c["name"]: i for i, c in enumerate(self.concepts)}
        self.by_slug = {c["slug"]: c for c in self.concepts}

    def held_out_folders(self) -> list[Path]:
        """The folders of pictures whose name is a held-out concept's, or those of them that --concepts asks for."""
        root = self.opt.data_root
        folders = {f.name: f for f in sorted(root.iterdir()) if self.by_slug.get(f.name, {}).get("held_out")}
        if not folders:
            raise UserError(f"{root}: no folder here is named like a held-out concept")
        if unknown := set(self.opt.concepts or ()) - set(folders):
            raise UserError(f"{', '.join(sorted(unknown))}: not among the held-out concepts in {root}")
        return [folders[name] for name in self.opt.concepts or folders][: 2 if self.opt.quick else None]

    def draw(self, prompts: list[str], seed: int = 0) -> list[Image.Image]:
        """One picture for each prompt; the seeds follow each other."""
        shape = (self.model.channels, self.model.image_size, self.model.image_size)
        pictures = []
        for start in range(0, len(prompts), 32):
            part = prompts[start : start + 32]
            seeds = [seed + start + i for i in range(len(part))]
            pictures += [to_image(x) for x in sample_prompt(self.model, part, seeds, shape, DPMSolverSampler,
                                                            self.opt.ddim_steps, self.opt.scale, verbose=False)]
        return pictures

    def ranks(self, pictures, targets: list[int]) -> np.ndarray:
        return ranks(self.ruler.encode_images(pictures), self.references, targets)

    def seen(self) -> dict:
        """Prompts with words the model was trained on."""
        rng, colours = random.Random(0), list(COLOURS)
        concepts = [c["name"] for c in self.concepts if not c["held_out"]]
        singles = rng.sample(concepts, 16) if self.opt.quick else concepts
        named = [rng.choice(colours) for _ in singles]
        pictures = self.draw([f"{with_article(n)} on {with_article(c)} background"
                              for n, c in zip(singles, named, strict=True)])
        rank = self.ranks(pictures, [self.index[n] for n in singles])
        pairs = [rng.sample(concepts, 2) for _ in range(8 if self.opt.quick else 200)]
        double = self.draw([f"{with_article(a)} and {with_article(b)} on {with_article(rng.choice(colours))} background"
                            for a, b in pairs], seed=5000)
        both = both_right(self.ruler, double, self.references, [[self.index[n] for n in pair] for pair in pairs])
        return {"seen/top1": interval(rank < 1), "seen/top5": interval(rank < 5),
                "seen/background": interval(background(p) == c for p, c in zip(pictures, named, strict=True)),
                "seen/both": interval(both)}

    def learn(self, folder: Path, overrides: tuple[str, ...] = (), name: str = "runs") -> Path:
        """Learn the word of a folder of pictures as the model's variant does, unless an earlier call under this name
        did: its embedding file."""
        runs, run = self.opt.out / name, f"{'?' * len('2026-01-01T00-00-00')}_{folder.name}"
        if not (done := sorted(runs.glob(f"{run}/learned"))):
            arguments = ["--base", CONFIGS[self.opt.variant], "-t", "--actual_resume", self.opt.ckpt_path,
                         "--name", folder.name, "-l", runs, "--datadir_in_name", "false", "--data_root", folder,
                         "--init_word", self.opt.init_word or self.by_slug[folder.name]["kind"],
                         "lightning.callbacks.image_logger.params.disabled=true",
                         *self.opt.override, *overrides]
            train_new.main([str(a) for a in arguments], VARIANTS.get(self.opt.variant))
            done = [max(runs.glob(run)) / "learned"]
            done[0].touch()  # a run that was killed has embeddings too, but not this
        return done[-1].parent / "checkpoints/embeddings.pt"

    def judge(self, word: str, concept: dict, training: list[Image.Image], plain: int = 4) -> dict[str, list]:
        """What prompts with the word draw, against the concept and its training pictures; and the pictures, plain of
        them of the word alone."""
        target, copies = self.index[concept["name"]], 2 if self.opt.quick else 4
        colours = random.Random(concept["name"]).sample(list(COLOURS), copies)
        things = random.Random(concept["name"]).sample(COMPANIONS, copies)
        alone = self.draw([f"a photo of a {word}"] * (copies if self.opt.quick else plain))
        edits = self.draw([f"a {word} on {with_article(c)} background" for c in colours])
        pairs = self.draw([f"a {word} and {with_article(t)}" for t in things])
        rank = self.ranks(alone, [target] * len(alone))
        return {
            "top1": list(rank < 1), "top5": list(rank < 5),
            "clip_i": self.ruler.img_to_img_similarity(training, alone).tolist(),
            "background": [background(p) == c for p, c in zip(edits, colours, strict=True)],
            "both": both_right(self.ruler, pairs, self.references, [[target, self.index[t]] for t in things]),
            "pictures": [*alone, *edits, *pairs],
        }

    def words(self, folders: list[Path], parts: tuple[str, ...] = ("heldout", "initword")) -> dict:
        """Words learned from folders of pictures, and their init words. Each concept counts once in an interval."""
        report: dict[str, list] = {}
        for folder in tqdm(folders, desc="held-out concepts"):
            concept = self.by_slug[folder.name]
            training = [open_image(path) for path in find_images(folder)]
            rows = [(folder.name, training)]
            for title in parts:
                word = "*" if title == "heldout" else concept["kind"]
                if title == "heldout":
                    self.model.embedding_manager.load(self.learn(folder))
                found = self.judge(word, concept, training)
                rows.append((f"{title}: {word}", found.pop("pictures")))
                for name, values in found.items():
                    report.setdefault(f"{title}/{name}", []).append(np.mean(values))
            save_image(contact_sheet(rows, 96), self.opt.out / f"{folder.name}.png")
        return {name: interval(values) for name, values in report.items()}


def ceiling() -> dict:
    """What real renders get from the ruler, measured when it was made."""
    return {f"ceiling/{name}": value for name, value in json.loads((RULER / "quality.json").read_text()).items()}


def suite_flags(parser: CommandParser, out: str) -> CommandParser:
    """Add what a Suite needs to know."""
    parser.add_argument("--data_root", type=Path, default=ROOT / "dataset", help="folder of folders of pictures")
    parser.add_argument("--concepts", nargs="+", help="folders in --data_root; default: all held-out concepts there")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for pictures and learned words; words that "
                        "are there are not learned again")
    parser.add_argument("--quick", action="store_true", help="a few concepts and prompts only")
    parser.add_argument("--ddim_steps", type=int, default=20, help="steps of DPM-Solver++")
    parser.add_argument("--scale", type=float, help="guidance scale; default: the model's own")
    parser.add_argument("--init_word", help="start all words from this one; default: the kind that each concept is of")
    parser.add_argument("--override", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the training config")
    parser.add_argument("-d", "--debug", action="store_true", help="show tracebacks")
    return model_flags(parser)


def main(arguments: list[str] | None = None) -> None:
    parser = CommandParser(description="Measure the embedded model: words it knows, and words it learns.",
                           formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write {metric: {value, low, high, n}}")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    suite = Suite(opt)
    words = [part for part in ("heldout", "initword") if part in opt.parts]
    folders = suite.held_out_folders() if words else []  # first: a wrong name must not cost minutes
    report = suite.seen() if "seen" in opt.parts else {}
    if words:
        report |= suite.words(folders, words)
    if "ceiling" in opt.parts:
        report |= ceiling()
    print_report(report, opt.json)


if __name__ == "__main__":
    run_command(main)
