"""The embedded model, its judge and its concepts: what the suites draw, learn and measure with."""

from __future__ import annotations

import argparse
import json
import random
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf

import train_new
from evaluation.measures import JUDGE, background, both_right, ranks
from ldm.cli import count, guidance
from ldm.data.emoji import COLOURS, with_article
from ldm.data.pictures import find_images, to_images
from ldm.errors import UserError
from ldm.files import file_identity, write_bytes
from load import ROOT, add_model_flags, check_files, load_config, load_model, model_config

if TYPE_CHECKING:
    from PIL import Image

CONFIGS = {None: ROOT / "configs/emoji/finetune.yaml", "v1": ROOT / "configs/emoji/finetune-v1.yaml",
           "v2": ROOT / "configs/emoji/finetune-v2.yaml"}
# Words learned as the training command does by itself: what it is given, and which file is taken. Other words are
# learned in all the steps of the config, and have no best one.
BY_ITSELF: dict[str, tuple[tuple[str, ...], str]] = {
    "auto_word": (("--init_word", "auto"), "embeddings.pt"),
    "auto_stop": (("--stop", "auto", "--judge", "models/clip/emoji"), "embeddings.pt"),
    "best_step": (("--stop", "auto", "--judge", "models/clip/emoji"), "embeddings_best.pt"),
    "best_of_all": (("--judge", "models/clip/emoji"), "embeddings_best.pt"),
}
COMPANIONS = ("red apple", "banana", "tiger", "hamburger", "penguin", "sunflower")


def read_concepts() -> list[dict[str, Any]]:
    """What the judge knows: the name, slug and kind of each concept, and whether it is held out."""
    return json.loads((JUDGE / "concepts.json").read_text(encoding="utf-8"))


def held_out_folders(opt: Namespace) -> list[Path]:
    """The folders of pictures whose name is a held-out concept's, or those of them that --concepts asks for. Raises
    UserError for others."""
    if not opt.data_root.is_dir():
        raise UserError(f"--data_root {opt.data_root}: no such folder")
    held_out = {c["slug"] for c in read_concepts() if c["held_out"]}
    folders = {f.name: f for f in sorted(opt.data_root.iterdir()) if f.name in held_out}
    if not folders:
        raise UserError(f"{opt.data_root}: no folder here is named like a held-out concept")
    if unknown := set(opt.concepts or ()) - set(folders):
        raise UserError(f"{', '.join(sorted(unknown))}: not among the held-out concepts in {opt.data_root}")
    return [folders[name] for name in opt.concepts or folders][: 2 if opt.quick else None]


class Suite:
    """Model, judge and names, and how to draw and to measure with them."""

    def __init__(self, opt: Namespace, variant: str | None = None) -> None:
        """opt: the flags of `suite_flags`, whatever variant they name. Raises UserError, before anything slow, for
        files and concepts that are not there."""
        self.opt, self.variant = opt, variant
        self.sampler = "dpm_solver", opt.ddim_steps  # by name, and its steps
        check_files(opt.ckpt_path, opt.config)
        self.concepts = read_concepts()
        self.index = {c["name"]: i for i, c in enumerate(self.concepts)}
        self.by_slug = {c["slug"]: c for c in self.concepts}
        if opt.concepts:
            held_out_folders(opt)

        from ldm.judge import CLIPEvaluator
        from ldm.serialization import read_tensors

        self.model = load_model(Namespace(**vars(opt) | {"variant": variant}))
        self.judge = CLIPEvaluator(str(JUDGE))
        self.references = read_tensors(JUDGE / "concepts.safetensors")["features"].float()

    def draw(self, prompts: list[str], seed: int = 0) -> list[Image.Image]:
        """One picture for each prompt, by `self.sampler`; the seeds follow each other."""
        from ldm.generate import sample_prompt

        pictures: list[Image.Image] = []
        for start in range(0, len(prompts), 32):
            part = prompts[start : start + 32]
            seeds = [seed + start + i for i in range(len(part))]
            pictures += to_images(sample_prompt(self.model, part, seeds, *self.sampler, self.opt.scale))
        return pictures

    def ranks(self, pictures: list[Image.Image], targets: list[int]) -> np.ndarray:
        """For each picture, how many concepts are nearer to it than its own: 0 is top-1."""
        return ranks(self.judge.encode_images(pictures), self.references, targets)

    def learn(self, folder: Path, overrides: tuple[str, ...] = (), name: str = "runs", init_word: str | None = None,
              base: Path | None = None) -> Path:
        """Learn the word of a folder of pictures as the model's variant does, unless an earlier call under this name
        learned it from all the same: its embedding file. A folder that is not a concept's needs an init word.
        base: another config than the variant's."""
        runs, base = self.opt.out / name, base or CONFIGS[self.variant]
        init_word = init_word or self.opt.init_word or self.by_slug[folder.name]["kind"]
        overrides = (*self.opt.override, *overrides)
        request = json.dumps({
            "word": folder.name, "init_word": init_word, "variant": self.variant, "overrides": overrides,
            "base": OmegaConf.to_yaml(load_config(base)),
            "model": OmegaConf.to_yaml(model_config(self.opt.ckpt_path, None)),
            "checkpoint": file_identity(self.opt.ckpt_path),
            "pictures": {p.name: file_identity(p) for p in [*find_images(folder), *sorted(folder.glob("*.txt"))]},
        }, indent=1, ensure_ascii=False).encode()
        for done in sorted(runs.glob("*/learned")):
            if done.read_bytes() == request:
                return done.parent / "checkpoints/embeddings.pt"
        before = set(runs.glob("*"))
        arguments = ["--base", base, "-t", "--actual_resume", self.opt.ckpt_path, "--name", folder.name, "-l", runs,
                     "--datadir_in_name", "false", "--data_root", folder, "--init_word", init_word,
                     "lightning.callbacks.image_logger.params.disabled=true", "--stop", "off", "--judge", "off",
                     *overrides]
        train_new.main([str(a) for a in arguments], self.variant)
        run = max(r for r in set(runs.glob("*")) - before if r.name.partition("_")[2].startswith(folder.name))
        write_bytes(run / "learned", request)  # a run that was killed has embeddings too, but not this
        return run / "checkpoints/embeddings.pt"

    def learn_by_itself(self, folder: Path, name: str) -> Path:
        """The word of a folder of pictures as one of BY_ITSELF has it; those that are learned alike are one run."""
        given, file = BY_ITSELF[name]
        run = next(other for other, (arguments, _) in BY_ITSELF.items() if arguments == given)
        return self.learn(folder, given, run).with_name(file)

    def measure(self, word: str, concept: dict[str, Any], training: list[Image.Image], plain: int = 4
                ) -> dict[str, list[Any]]:
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
            "clip_i": self.judge.img_to_img_similarity(training, alone).tolist(),
            "background": [background(p) == c for p, c in zip(edits, colours, strict=True)],
            "both": both_right(self.judge, pairs, self.references, [[target, self.index[t]] for t in things]),
            "pictures": [*alone, *edits, *pairs],
        }


def suite_flags(parser: argparse.ArgumentParser, out: str) -> argparse.ArgumentParser:
    """Add what a Suite needs to know."""
    parser.add_argument("--data_root", type=Path, default=ROOT / "dataset", metavar="FOLDER",
                        help="folder of folders with pictures")
    parser.add_argument("--concepts", nargs="+", help="folders in --data_root; default: all held-out concepts there")
    parser.add_argument("--out", type=Path, default=Path(out), metavar="FOLDER",
                        help="folder for pictures and learned words; words "
                        "that are there are not learned again")
    parser.add_argument("--quick", action="store_true", help="a few concepts and prompts only")
    parser.add_argument("--ddim_steps", type=count, default=20, help="sampling steps, of DPM-Solver++")
    parser.add_argument("--scale", type=guidance, help="guidance scale: 1 is none; default: the model's own")
    parser.add_argument("--init_word", metavar="WORD",
                        help="start all words from this one; default: the kind that each concept is of")
    parser.add_argument("--override", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the training config")
    add_model_flags(parser, without=["--embedding_path"])
    return parser
