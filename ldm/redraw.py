"""A picture drawn again: the flags of txt2img.py that its parameters stand for, and what has changed since."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ldm.cli import count, guidance, on_off, one_of, picture_seed, pixels, share, strength, word
from ldm.errors import UserError
from ldm.parameters import Parameters
from ldm.util import ROOT

HASHES = re.compile(r"(Model|Config|Aligner|Embedding( \d+)?) hash")


def where_it_is(name: str) -> str:
    """A file as a picture names it, or where it is in the project's folder."""
    return str(ROOT / name) if not Path(name).exists() and (ROOT / name).exists() else name


def _several(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda text: [kind(part) for part in text.split()]


def _listed(text: str) -> list[str]:
    words = json.loads(text)
    if not isinstance(words, list):
        raise ValueError("is no list")
    return [word(str(w)) for w in words]


# What a picture says: {name: (flag, how its text is read)}. Its size and its embeddings are read below.
FLAGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Steps": ("ddim_steps", count), "Sampler": ("sampler", one_of("ddim", "plms", "dpm_solver")),
    "Eta": ("ddim_eta", share), "CFG scale": ("scale", guidance), "Seed": ("seed", picture_seed),
    "Precision": ("precision", one_of("full", "bf16", "fp16")), "Batch size": ("batch_size", count),
    "Variant": ("variant", lambda text: None if text == "base" else one_of("v1", "v2")(text)),
    "Model": ("ckpt_path", where_it_is), "Config": ("config", where_it_is),
    "Placeholder strings": ("placeholder_string", _listed), "Strength": ("strength", _several(strength)),
    "Initial words": ("init_word", _listed), "TF32": ("tf32", on_off), "Compiled": ("compile", on_off),
}
# Flags that belong to another one, and fall with it where that is given anew.
BELONGS = {"config": "ckpt_path", "placeholder_string": "embedding_path", "strength": "embedding_path",
           "init_word": "embedding_path", "ddim_eta": "sampler"}


def flags_of(picture: Parameters, path: str, given: set[str]) -> dict[str, Any]:
    """{flag: value} that draw a picture again, but for the flags that are given. Raises UserError for a value that its
    flag does not take."""
    prompt, negative_prompt, settings = picture
    found: dict[str, Any] = {"prompt": [prompt], "negative_prompt": negative_prompt, "n_samples": 1, "n_iter": 1,
                             "batch_size": 1}
    texts = {name: (flag, kind, settings[name]) for name, (flag, kind) in FLAGS.items() if name in settings}
    if size := re.fullmatch(r"(\d+)x(\d+)", settings.get("Size", "")):
        texts |= {"Size": ("W", pixels, size[1]), "Size ": ("H", pixels, size[2])}
    for name, (flag, kind, text) in texts.items():
        if flag not in given:
            try:
                found[flag] = kind(text)
            except (argparse.ArgumentTypeError, ValueError) as error:
                raise UserError(f"--like {path}: its {name.strip()} is {text[:60]!r}, which this program does not "
                                "take; give another flag in its place") from error
    numbered = sorted(((int(match[1] or 1), value) for name, value in settings.items()
                       if (match := re.fullmatch(r"Embedding(?: (\d{1,4}))?", name))))
    if numbered:
        found["embedding_path"] = [where_it_is(value) for _, value in numbered]
    return {flag: value for flag, value in found.items()
            if flag not in given and not (flag in BELONGS and BELONGS[flag] in given)}


def changes(was: Mapping[str, str], now: Mapping[str, Any]) -> Iterator[str]:
    """What is no longer what a picture was made with, a phrase each: files that have the same name and another content,
    and this project's version."""
    for name in (n for n in was if HASHES.fullmatch(n) or n == "Version"):
        file = name.removesuffix(" hash")
        same = name == "Version" or Path(was.get(file, "")).name == Path(str(now.get(file, ""))).name
        if same and name in now and str(now[name]) != was[name]:
            yield f"{name} was {was[name]} and is {now[name]}"
