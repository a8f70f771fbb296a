"""What a learned word was made from: kept in its file, and compared with the model it is used with."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ldm.filetypes import shown

MAX_TEXT = 2**22      # letters of all provenance in a file; beyond, the start vectors are left out
MAX_PICTURES = 10_000
SAMPLE = 1024         # numbers of a weight that its identity is made of: the first, the middle and the last so many


@dataclass(frozen=True)
class Provenance:
    """How a word came to be, as far as it is known."""

    text_encoder: str | None = None    # `weights_identity` of the text encoder that it was learned through
    model: str | None = None           # name of the model's checkpoint, as the program that trained it wrote it
    init_word: str | None = None       # the word that learning started from
    start: torch.Tensor | None = None  # float32 [n, dim]: the vectors that learning started from
    step: int | None = None            # steps learned
    rate: float | None = None          # learning rate of the optimizer
    pictures: tuple[str, ...] = ()     # SHA-256 of the pixels of each picture learned from
    version: str | None = None         # of this project, where it was that

    def at(self, step: int | None = None, vectors: int | None = None) -> Provenance:
        """The same at another step, and of the first so many vectors."""
        start = self.start if self.start is None or vectors is None else self.start[:vectors]
        return replace(self, step=self.step if step is None else step, start=start)


def encode_provenance(provenance: Mapping[str, Provenance]) -> str:
    """The provenance of words as one line of JSON, the same on every machine: {name: {field: value}}, without what is
    not known, start vectors as base64 of little-endian float32."""
    def text(leave_out: tuple[str, ...] = ()) -> str:
        entries = {name: {f.name: _plain(getattr(p, f.name)) for f in fields(p)
                          if f.name not in leave_out and getattr(p, f.name) not in (None, ())}
                   for name, p in provenance.items()}
        return json.dumps({name: entry for name, entry in entries.items() if entry}, sort_keys=True)

    whole = text()
    return whole if len(whole) <= MAX_TEXT else text(leave_out=("start",))


def _plain(value: Any) -> Any:
    if not torch.is_tensor(value):
        return value
    numbers = value.detach().cpu().to(torch.float32).contiguous().numpy().astype("<f4")
    return {"shape": list(value.shape), "float32": base64.b64encode(numbers.tobytes()).decode()}


def decode_provenance(text: Any, shapes: Mapping[str, torch.Size]) -> dict[str, Provenance]:
    """Undo `encode_provenance` for the words of such shapes [n, dim]. What is not as it should be is not known: a word
    is none the worse for what a stranger wrote about it."""
    try:
        entries = json.loads(text) if isinstance(text, str) and len(text) <= MAX_TEXT else {}
        entries = entries if isinstance(entries, dict) else {}
    except (ValueError, RecursionError):
        return {}
    return {name: _read(entries[name], shape) for name, shape in shapes.items() if isinstance(entries.get(name), dict)}


def _read(entry: dict[str, Any], shape: torch.Size) -> Provenance:
    def value(name: str, *kinds: type) -> Any:
        found = entry.get(name)
        short = not isinstance(found, str) or len(found) <= 200
        return found if type(found) in kinds and short and (not isinstance(found, int) or 0 <= found < 2**63) else None

    pictures = value("pictures", list) or []
    plain = all(isinstance(p, str) and len(p) <= 64 for p in pictures) and len(pictures) <= MAX_PICTURES
    return Provenance(
        value("text_encoder", str), value("model", str), value("init_word", str), _vectors(entry.get("start"), shape),
        value("step", int), value("rate", float, int), tuple(pictures) if plain else (), value("version", str))


def _vectors(start: Any, shape: torch.Size) -> torch.Tensor | None:
    """float32 [n, dim] of such a shape and finite, or None."""
    try:
        numbers = np.frombuffer(base64.b64decode(start["float32"], validate=True), "<f4").astype(np.float32)
        vectors = torch.from_numpy(numbers).reshape(shape)
    except (ValueError, TypeError, KeyError, RuntimeError):
        return None
    return vectors if bool(vectors.isfinite().all()) else None


def weights_identity(module: nn.Module) -> str:
    """16 hexadecimal digits that tell the weights of a module from others at little cost: of the names and shapes of
    its parameters and of some numbers of each, in half precision, so that a copy in half precision is the same.

    To read every number of the published text encoder, 2 GB, would take seconds; training changes them everywhere.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(module.named_parameters()):
        numbers = weight.detach().flatten()
        middle = max(0, len(numbers) // 2 - SAMPLE // 2)
        digest.update(f"{name} {list(weight.shape)}".encode())
        for part in (numbers[:SAMPLE], numbers[middle : middle + SAMPLE], numbers[-SAMPLE:]):
            digest.update(part.to("cpu", torch.float16).numpy().tobytes())
    return digest.hexdigest()[:16]


def warn_of_another_model(path: str | Path, provenance: Mapping[str, Provenance], text_encoder: nn.Module) -> None:
    """Say so on stderr, in one line, when words of a file were learned through another text encoder than this one."""
    learned = {name: p for name, p in provenance.items() if p.text_encoder}
    if not learned:
        return
    here = weights_identity(text_encoder)
    if others := [name for name, p in learned.items() if p.text_encoder != here]:
        known = learned[others[0]]
        print(f"warning: {path}: {' '.join(map(shown, others))} was learned through another text encoder "
              f"({f'of {shown(known.model)}, ' * bool(known.model)}{shown(known.text_encoder)}) than this model's "
              f"({here}); it may mean nothing here", file=sys.stderr)
