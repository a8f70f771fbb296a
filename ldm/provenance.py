"""What a learned word was made from: kept in its file, and compared with the model it is used with."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ldm.filetypes import shown
from ldm.progress import say
from ldm.util import version

if TYPE_CHECKING:
    from ldm.models.diffusion.ddpm import LatentDiffusion
    from ldm.modules.embedding_manager import EmbeddingManager

MAX_TEXT = 2**22      # letters of all provenance in a file; beyond, the start vectors are left out
MAX_PICTURES = 10_000
SAMPLE = 1024         # numbers of a weight that its identity is made of: the first, the middle and the last so many


@dataclass(frozen=True)
class Provenance:
    """How a word came to be, as far as it is known."""

    text_encoder: str | None = None    # `weights_identity` of the text encoder that it was learned through
    model: str | None = None           # name of the model's checkpoint, as the program that trained it wrote it
    init_word: str | None = None       # the word that learning started from
    start: torch.Tensor | None = field(default=None, compare=False)  # float32 [n, dim]: the vectors at the beginning
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
        return json.dumps(entries, sort_keys=True)

    whole = text()
    return whole if len(whole) <= MAX_TEXT else text(leave_out=("start",))


def _plain(value: Any) -> Any:
    if not torch.is_tensor(value):
        return value
    numbers = value.detach().cpu().to(torch.float32).contiguous().numpy().astype("<f4")
    return {"shape": list(value.shape), "float32": base64.b64encode(numbers.tobytes()).decode()}


def decode_provenance(text: Any, shapes: Mapping[str, torch.Size]) -> dict[str, Provenance]:
    """Undo `encode_provenance` for the words of such shapes [n, dim] of which something is known. What is not as it
    should be is not known: a word is none the worse for what a stranger wrote about it."""
    entries = _entries(text)
    known = {name: _read(entries[name], shape) for name, shape in shapes.items() if isinstance(entries.get(name), dict)}
    return {name: p for name, p in known.items() if p != Provenance() or p.start is not None}


def only_name(text: Any) -> str | None:
    """The name of the word that a provenance is of, if it is one word's."""
    names = list(_entries(text))
    return names[0] if len(names) == 1 else None


def _entries(text: Any) -> dict[str, Any]:
    try:
        entries = json.loads(text) if isinstance(text, str) and len(text) <= MAX_TEXT else {}
    except (ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


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


def note_provenance(model: LatentDiffusion, checkpoint: str | Path, keys: Iterable[str], from_file: bool) -> None:
    """Let the words that a model is about to learn know what they are made from: the vectors that they have now, the
    checkpoint the model was loaded from, the keys of the pictures in a data set, and whether a file gave the start."""
    manager = model.embedding_manager
    words = {} if from_file else dict(zip(manager.placeholder_strings, manager.initializer_words, strict=False))
    common = Provenance(
        text_encoder=weights_identity(manager.embedder), model=Path(checkpoint).name, rate=model.learning_rate,
        pictures=tuple(found[1] for key in keys if (found := re.search(r"\|([0-9a-f]{64})\b", key))), version=version())
    manager.provenance = {p: replace(common, init_word=words.get(p), start=vectors.detach().cpu().clone())
                          for p, vectors in manager.string_to_param_dict.items()}


def kept_start(manager: EmbeddingManager) -> str:
    """What a training state keeps of the provenance: what learning started from, which nothing tells later."""
    return encode_provenance({p: Provenance(init_word=known.init_word, start=known.start)
                              for p, known in manager.provenance.items()})


def take_start(manager: EmbeddingManager, kept: Any) -> None:
    """Take back what `kept_start` gave. What it does not have stays as it is."""
    shapes = {p: known.start.shape for p, known in manager.provenance.items() if known.start is not None}
    for p, then in decode_provenance(kept, shapes).items():
        if then.start is not None:
            manager.provenance[p] = replace(manager.provenance[p], init_word=then.init_word, start=then.start)


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
        say(f"warning: {path}: {' '.join(map(shown, others))} was learned through another text encoder "
            f"({f'of {shown(known.model)}, ' * bool(known.model)}{shown(known.text_encoder)}) than this model's "
            f"({here}); it may mean nothing here")
