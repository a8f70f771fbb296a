"""Two learned words in one prompt: learned apart, in a run each, or together in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from evaluation.measures import both_right, interval
from evaluation.suite import CONFIGS, Suite
from ldm.data.pictures import contact_sheet, find_images, open_images, save_image
from ldm.files import write_bytes
from ldm.progress import bar
from load import load_config

SIGNS = ("*", "&")  # how prompts write the two
STEPS = "lightning.trainer.max_steps="
MANAGER = "model.params.personalization_config.params"


def in_one_file(suite: Suite, folders: tuple[Path, Path]) -> Path:
    """The words of two folders, each learned alone, in one file."""
    from ldm.embedding_files import read_embeddings
    from ldm.serialization import write_tensors

    words = {sign: read_embeddings(suite.learn(folder))["*"] for sign, folder in zip(SIGNS, folders, strict=True)}
    path = suite.opt.out / "pairs" / f"{folders[0].name}+{folders[1].name}.safetensors"
    write_tensors(path, words)
    return path


def learn_together(suite: Suite, folders: tuple[Path, Path]) -> Path:
    """The words of two folders, learned in one run of as many steps as two: each picture's captions, the config's
    templates, name its own word."""
    config = load_config(CONFIGS[suite.variant])
    folder = suite.opt.out / "pairs" / f"{folders[0].name}+{folders[1].name}"
    for sign, source in zip(SIGNS, folders, strict=True):
        captions = "\n".join(t.replace("{}", sign) for t in config.data.params.train.params.templates)
        for picture in find_images(source):
            write_bytes(folder / f"{source.name}-{picture.name}", picture.read_bytes())
            write_bytes(folder / f"{source.name}-{picture.stem}.txt", captions.encode())
    kinds = [suite.opt.init_word or suite.by_slug[f.name]["kind"] for f in folders]
    said = [o.removeprefix(STEPS) for o in suite.opt.override if o.startswith(STEPS)]
    steps = 2 * int(said[-1] if said else OmegaConf.select(config, STEPS.rstrip("=")))
    overrides = (f"{MANAGER}.placeholder_strings={json.dumps(SIGNS)}",
                 f"{MANAGER}.initializer_words={json.dumps(kinds)}", f"{STEPS}{steps}")
    return suite.learn(folder, overrides, "together", kinds[0])


def measure_pair(suite: Suite, folders: tuple[Path, Path]) -> dict[str, Any]:
    """What prompts with the two words of the model draw: both in one picture, in either order; each alone; and the
    pictures of both."""
    targets, copies = [suite.index[suite.by_slug[f.name]["name"]] for f in folders], 2 if suite.opt.quick else 4
    a, b = SIGNS
    pairs = suite.draw([f"a {a} and a {b}"] * copies + [f"a {b} and a {a}"] * copies)
    alone = suite.draw([f"a photo of a {sign}" for sign in SIGNS for _ in range(copies)])
    ranks = suite.ranks(alone, [target for target in targets for _ in range(copies)])
    return {"both": both_right(suite.judge, pairs, suite.references, [targets] * len(pairs)),
            "top1": list(ranks < 1), "top5": list(ranks < 5), "pictures": pairs}


def two_words(suite: Suite, folders: list[Path], together: bool = False) -> dict[str, Any]:
    """Words of each folder and the one that follows it, learned apart; and with `together` those of every second such
    pair, as learned together too, beside them. A pair counts once in an interval."""
    found: dict[str, list[float]] = {}
    pairs = list(zip(folders, folders[1:], strict=False))
    for number, pair in enumerate(bar(pairs, desc="pairs of words")):
        both_ways = together and number % 2 == 0  # no folder twice
        rows = [(f"{sign}: {folder.name}", open_images(folder)) for sign, folder in zip(SIGNS, pair, strict=True)]
        means: dict[str, dict[str, float]] = {}
        for way, learn in (("apart", in_one_file), ("together", learn_together))[: 1 + both_ways]:
            suite.model.embedding_manager.load(learn(suite, pair))
            values = measure_pair(suite, pair)
            rows.append((way, values.pop("pictures")))
            means[way] = {name: float(np.mean(v)) for name, v in values.items()}
        found.setdefault("two_words/both", []).append(means["apart"]["both"])
        for name in means.get("together", {}):
            found.setdefault(f"together/{name}", []).append(means["together"][name])
            found.setdefault(f"together_minus_apart/{name}", []).append(means["together"][name] - means["apart"][name])
        save_image(contact_sheet(rows, 96), suite.opt.out / "pairs" / f"{pair[0].name}+{pair[1].name}.png")
    return {name: interval(values) for name, values in found.items()}
