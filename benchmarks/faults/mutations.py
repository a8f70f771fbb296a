"""Damaged and odd files of words and weights: each is read well or refused in one line.

    python -m benchmarks.faults mutations [--count N] [--seed S]
"""

from __future__ import annotations

import codecs
import copy
import gzip
import io
import json
import os
import random
import struct
import tarfile
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from benchmarks.faults.trial import trial
from improvement.v1.post_BERT import PostBERTManager
from improvement.v2.aligner import load_aligner
from ldm.errors import UserError
from ldm.modules.embedding_manager import EmbeddingManager
from load import ROOT, load_config, load_model_from_config, read_state_dict

COUNT = 600
GOLDEN = ROOT / "tests/golden/dev"
Reader = Callable[[Path], Any]


# Readers -------------------------------------------------------------------------------------------------------------

class Readers:
    """What the commands do with a file: take words, words with an adapter, an aligner, weights."""

    def __init__(self) -> None:
        self.config = load_config(GOLDEN / "config.yaml")
        self.model = load_model_from_config(self.config, GOLDEN / "model.ckpt")
        self.words: EmbeddingManager = self.model.embedding_manager
        self.adapter = PostBERTManager(self.model.cond_stage_model, placeholder_strings=["*"])

    def _take(self, manager: EmbeddingManager, path: Path) -> Any:
        manager = copy.copy(manager)
        manager.load(path)
        return [dict(manager.string_to_param_dict.items()), *manager.state_dict().values()]

    def word(self, path: Path) -> Any:
        """Learned words, for the base model."""
        return self._take(self.words, path)

    def word_with_adapter(self, path: Path) -> Any:
        """Learned words and what v1 learned with them."""
        return self._take(self.adapter, path)

    def model_weights(self, path: Path) -> Any:
        """A checkpoint into a model."""
        return dict(load_model_from_config(self.config, path).state_dict())

    def weights(self, path: Path) -> Any:
        """The weights of a checkpoint, as check_model and training look at them; they need not be finite."""
        return {name: weight.shape for name, weight in read_state_dict(path).items()}

    def aligner(self, path: Path) -> Any:
        """v2's aligner."""
        return dict(load_aligner(path).state_dict())


# Damage --------------------------------------------------------------------------------------------------------------

def saved(content: Any, **options: Any) -> bytes:
    """A file of torch.save."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


OLDER = {"_use_new_zipfile_serialization": False}


def good_files(readers: Readers) -> list[tuple[str, bytes, Reader]]:
    """Files of every format and every kind, small ones, and what reads them."""
    published = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.randn(2, 16))})
    word = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": published}
    flat = {"*": torch.randn(3, 16), "&": torch.randn(16)}
    with tempfile.TemporaryDirectory() as folder:
        readers.adapter.save(Path(folder, "v1.pt"))
        adapter = Path(folder, "v1.pt").read_bytes()
    few = {"state_dict": OrderedDict(a=torch.randn(8, 8), b=torch.randn(8).half(), c=torch.arange(4)), "epoch": 3}
    return [
        ("published word", (GOLDEN / "embeddings.pt").read_bytes(), readers.word),
        ("word", saved(word), readers.word),
        ("word, older format", saved(word, **OLDER), readers.word),
        ("word, web", saved({**word, "string_to_param": flat, "name": "x", "step": 1}), readers.word),
        ("word, bin", saved(flat), readers.word),
        ("word, bin, older format", saved(flat, **OLDER), readers.word),
        ("word, safetensors", safetensors.torch.save(flat), readers.word),
        ("word with adapter", adapter, readers.word_with_adapter),
        ("few weights", saved(few), readers.weights),
        ("few weights, older format", saved(few, **OLDER), readers.weights),
        ("few weights, safetensors", safetensors.torch.save(few["state_dict"]), readers.weights),  # type: ignore[arg-type]
        ("training checkpoint", (ROOT / "logs/example_green_apple/checkpoints/last.ckpt").read_bytes(),
         readers.weights),
        ("model", (GOLDEN / "model.ckpt").read_bytes(), readers.model_weights),
        ("aligner", (ROOT / "models/multilingual/emoji/aligner.pt").read_bytes(), readers.aligner),
    ]


def mutated(data: bytes, draw: random.Random) -> tuple[str, bytes]:
    """A file damaged in one of eight ways, most often at one of its ends, where its structure is."""
    size = len(data)
    where = draw.choice([draw.randrange(size), draw.randrange(min(size, 2048)), size - 1 - draw.randrange(
        min(size, 2048))])
    length = min(draw.choice([1, 2, 4, 8, 64, 512, 4096]), size - where)
    noise = draw.randbytes(length)
    kind = draw.choice(["flip", "flips", "cut", "insert", "delete", "double", "zero", "noise", "move"])
    if kind in ("flip", "flips"):
        changed = bytearray(data)
        for _ in range(1 if kind == "flip" else 16):
            changed[where if kind == "flip" else draw.randrange(size)] ^= 1 << draw.randrange(8)
        return f"{kind} at {where}", bytes(changed)
    rest = data[where + length:]
    other = draw.randrange(size)
    return f"{kind} {length} at {where}", {
        "cut": data[:where], "insert": data[:where] + noise + data[where:], "delete": data[:where] + rest,
        "double": data[:where] + data[where:where + length] * 2 + rest,
        "zero": data[:where] + b"\0" * length + rest, "noise": data[:where] + noise + rest,
        "move": data[:where] + data[other:other + length] + rest,
    }[kind]


# Odd contents --------------------------------------------------------------------------------------------------------

def odd_files(readers: Readers) -> Iterator[tuple[str, bytes, Reader]]:
    """Whole files with something in them that no word, no model and no aligner has; and files of other kinds."""
    for title, content in odd_words().items():
        yield f"word: {title}", saved({"string_to_param": {"*": content}}), readers.word
        if torch.is_tensor(content) and content.layout == torch.strided and not content.is_quantized:
            yield f"flat word: {title}", saved({"*": content}), readers.word
    for title, words in odd_dictionaries().items():
        yield f"words: {title}", saved(words), readers.word
    for title, data in other_kinds().items():
        yield f"{title} as a word", data, readers.word
        yield f"{title} as a model", data, readers.model_weights
    model = torch.load(GOLDEN / "model.ckpt", weights_only=True)["state_dict"]
    for title, change in odd_weights().items():
        weights = dict(model)
        yield f"model: {title}", saved(change(weights)), readers.model_weights
    aligner = torch.load(ROOT / "models/multilingual/emoji/aligner.pt", weights_only=True)
    for title, sizes in odd_sizes().items():
        yield f"aligner: {title}", saved({**aligner, "aligner": sizes(dict(aligner["aligner"]))}), readers.aligner
    adapter = {"string_to_param": {"*": torch.randn(1, 16)}, **readers.adapter.companions()}
    for title, change in odd_adapters().items():
        yield f"adapter: {title}", saved(change(copy.deepcopy(adapter))), readers.word_with_adapter


def odd_words() -> dict[str, Any]:
    """What a word may be in a file: tensors of every kind, and what is none."""
    good = torch.randn(2, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # layouts of torch that are in their beta
        odd: dict[str, Any] = {"CSR": good.to_sparse_csr(), "nested": torch.nested.nested_tensor([good, good[:1]])}
    odd |= {
        "zero rows": good[:0], "zero width": good[:, :0], "a number": torch.tensor(1.0), "3 dimensions": good[None],
        "5 dimensions": good[None, None, None], "wide": torch.randn(1, 17), "narrow": torch.randn(15),
        "2,000,000 rows": torch.zeros(2_000_000, 16, dtype=torch.half), "2,000 rows": torch.zeros(2000, 16),
        "expanded": torch.randn(1, 16).expand(100_000_000, 16), "sparse": good.to_sparse(),
        "meta": good.to("meta"), "conjugated": good.to(torch.complex64).conj(),
        "negated": torch._neg_view(good),
        "a list": [1.0] * 16, "a text": "x", "nothing": None, "an array": good.numpy(), "a dictionary": {"x": good},
        "a transposed tensor": torch.randn(16, 2).T, "with gradient": good.clone().requires_grad_(),
    }
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool,
                  torch.complex64, torch.float8_e4m3fn, torch.uint16):
        odd[str(dtype)] = good.abs().to(dtype)
    for value in (float("nan"), float("inf"), -float("inf"), 1e30, 1e300):
        odd[f"{value} in it"] = torch.full((1, 16), value, dtype=torch.float64)
    odd["one NaN in float16"] = torch.cat([good, good.new_full((1, 16), float("nan"))]).half()
    return odd


def odd_dictionaries() -> dict[str, Any]:
    """Files of words that are put together wrongly."""
    good = torch.randn(16)
    keys = {"a number": 5, "nothing": None, "bytes": b"*", "empty": "", "a space": " ", "long": "x" * 100_000,
            "a line break": "a\nb", "an escape": "\x1b[31m*", "two tokens": "two words", "a surrogate": "\ud800",
            "a tuple": ("*",), "a method's name": "keys", "a dot": ".", "a dunder": "__class__", "[PAD]": "[PAD]"}
    return {
        "a list": [good], "a tensor": good, "nothing": None, "a text": "x", "empty": {}, "empty words": {
            "string_to_param": {}}, "a list of words": {"string_to_param": [good]}, "words that are a tensor": {
            "string_to_param": good}, "nested": {"embedding": {"string_to_param": {"*": good}}},
        "a model's weights": {"state_dict": {"a": good}}, "5,000 words": {str(i): good for i in range(5000)},
        "a module": torch.nn.Linear(2, 2), "tokens that are none": {"string_to_token": [1], "string_to_param": {
            "*": good}}, "an adapter that is a number": {"string_to_param": {"*": good}, "post_BERT": 1},
        **{f"a key that is {title}": {"string_to_param": {key: good}} for title, key in keys.items()},
        **{f"a flat key that is {title}": {key: good} for title, key in keys.items()},
    }


def other_kinds() -> dict[str, bytes]:
    """Files that are something else."""
    tar, archive, script = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        file.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with zipfile.ZipFile(archive, "w") as file2:
        file2.writestr("model.ckpt", b"x" * 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript has had its time
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
    return {
        "nothing": b"", "one byte": b"\x80", "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid "
        b"sha256:0\nsize 5\n", "a web page": b"<!DOCTYPE html><html><head><title>404</title></head></html>",
        "text": b"hello\n" * 100, "Korean": "사과".encode() * 1000, "JSON": json.dumps({"*": [1.0] * 16}).encode(),
        "YAML": (GOLDEN / "config.yaml").read_bytes(), "a program": b"\x7fELF" + b"\0" * 100, "zeros": b"\0" * 5000,
        "a picture": next((ROOT / "dataset/green_apple").glob("*.png")).read_bytes(), "gzip": gzip.compress(b"x" * 99),
        "tar": tar.getvalue(), "zip": archive.getvalue(), "TorchScript": script.getvalue(), "UTF-16": "hello".encode(
            "utf-16"), "noise": random.Random(0).randbytes(5000),
        "a model of another kind": saved({"a": torch.ones(3)}),
        "an empty safetensors": safetensors.torch.save({}), "a safetensors length": struct.pack("<Q", 10) + b"{",
    }


def odd_weights() -> dict[str, Callable[[dict[Any, Any]], Any]]:
    """Changes to the weights of a model, to what is saved."""
    name, norm = "model.diffusion_model.out.2.weight", "model.diffusion_model.out.0.weight"

    def put(change: Callable[[torch.Tensor], Any], at: str = name) -> Callable[[dict[Any, Any]], Any]:
        return lambda weights: {"state_dict": {**weights, at: change(weights[at])}}

    return {
        "as it is": lambda w: {"state_dict": w}, "flat": lambda w: w, "a list": lambda w: {"state_dict": [*w.values()]},
        "a list of pairs": lambda w: {"state_dict": [*w.items()]}, "a text": lambda w: {"state_dict": "x"},
        "nothing": lambda w: {"state_dict": None}, "empty": lambda w: {"state_dict": {}},
        "nested": lambda w: {"model": {"state_dict": w}}, "nested twice": lambda w: {"state_dict": {"state_dict": w}},
        "prefixed": lambda w: {f"module.{n}": v for n, v in w.items()},
        "numbers": lambda w: dict(enumerate(w.values())),
        "a number among the names": lambda w: {"state_dict": {**w, 5: w[name]}},
        "nothing among the names": lambda w: {"state_dict": {**w, None: w[name]}},
        "a name of control characters": lambda w: {"state_dict": {**w, "\x1b[2J\nerror": w[name]}},
        "a long name": lambda w: {"state_dict": {**w, "x" * 1_000_000: w[name]}},
        "missing": lambda w: {"state_dict": {n: v for n, v in w.items() if n != name}},
        "a text for a weight": put(lambda w: "x"), "a list for a weight": put(lambda w: w.tolist()),
        "an array for a weight": put(lambda w: w.float().numpy()), "integers": put(lambda w: w.int()),
        "truth": put(lambda w: w > 0), "complex": put(lambda w: w.to(torch.complex64)),
        "bfloat16": put(lambda w: w.bfloat16()), "float64": put(lambda w: w.double()), "sparse": put(
            lambda w: w.to_sparse()), "meta": put(lambda w: w.to("meta")), "transposed": put(lambda w: w.mT),
        "more dimensions": put(lambda w: w[None]), "no dimensions": put(lambda w: w.sum()),
        "empty weight": put(lambda w: w[:0]), "NaN": put(lambda w: w * float("nan")),
        "infinity": put(lambda w: w / 0), "one NaN": put(lambda w: torch.where(torch.arange(len(w)) == 0, float("nan"),
                                                                             w), norm),
        "too large for float32": put(lambda w: w.double() * 0 + 1e300),
        "a step too many": lambda w: {"state_dict": {**w, f"{name}.step": torch.ones(1_000_000)}},
        "packed with a step of another shape": lambda w: {"state_dict": {
            **w, name: torch.zeros(100_000, 1, dtype=torch.int8), f"{name}.step": torch.ones(1, 100_000)}},
        "packed without a step": put(lambda w: w.to(torch.int8)),
        "expanded": put(lambda w: torch.zeros(1).expand(10**9)),
        "a word with no text": lambda w: {"state_dict": {**w, "embedding_manager.x": 5}},
        "averages of another shape": lambda w: {"state_dict": {**w, "model_ema.decay": torch.ones(2, 2)}},
    }


def odd_sizes() -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Changes to an aligner's sizes."""
    odd: dict[str, Callable[[dict[str, Any]], Any]] = {
        "as it is": lambda s: s, "a list": lambda s: [*s], "nothing": lambda s: None, "empty": lambda s: {},
        "another name": lambda s: {**s, "x": 1}, "a number for a name": lambda s: {**s, 1: 1},
    }
    for value in (0, -1, 2.5, "2", None, True, 7, 10**5, 10**9, 2**70, float("nan"), [1], torch.ones(2)):
        odd[f"d_model or width {value}"] = lambda s, v=value: {  # type: ignore[misc]
            n: v if n in ("d_model", "width") else old for n, old in s.items()}
        odd[f"n_layer {value}"] = lambda s, v=value: {**s, "n_layer": v}  # type: ignore[misc]
        odd[f"heads {value}"] = lambda s, v=value: {**s, "heads": v}  # type: ignore[misc]
    return odd


def odd_adapters() -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Changes to a word with an adapter."""
    down = "adapter.down.weight"

    def put(value: Any, at: Any = down) -> Callable[[dict[str, Any]], Any]:
        return lambda content: {**content, "post_BERT": {**content["post_BERT"], at: value}}

    return {
        "as it is": lambda c: c, "of an earlier version": lambda c: {
            k: v for k, v in c.items() if k not in ("post_BERT_gate", "post_BERT_alone")},
        "a gate that is a list": lambda c: {**c, "post_BERT_gate": [1]}, "a gate of nothing": lambda c: {
            **c, "post_BERT_gate": {}}, "a gate and no vectors": lambda c: {
            k: v for k, v in c.items() if k != "post_BERT_alone"}, "vectors and no gate": lambda c: {
            k: v for k, v in c.items() if k != "post_BERT_gate"},
        "too many vectors": lambda c: {**c, "post_BERT_alone": torch.ones(10**6, 16)},
        "vectors without dimensions": lambda c: {**c, "post_BERT_alone": torch.tensor(1.0)},
        "vectors that are not finite": lambda c: {**c, "post_BERT_alone": torch.full((1, 16), float("inf"))},
        "nothing": lambda c: {**c, "post_BERT": None}, "a list": lambda c: {
            **c, "post_BERT": [1]}, "another key": put(torch.ones(1), 5), "odd names": put(
            torch.ones(1), "transformer.layers."), "more layers": put(torch.ones(1), "transformer.layers.99.0.weight"),
        "no number": put("x"), "a list for a weight": put([1, 2]), "no dimensions": put(torch.tensor(5.0)),
        "wide and empty": put(torch.empty(10**9, 0)), "integers": put(torch.ones(64, 16, dtype=torch.long)),
        "NaN": put(torch.full((64, 16), float("nan"))), "another width": put(torch.ones(64, 17)),
        "everywhere is a tensor": lambda c: {**c, "post_BERT_everywhere": torch.ones(2)},
        "everywhere is a text": lambda c: {**c, "post_BERT_everywhere": "no"},
        "10,000 layers": lambda c: {**c, "post_BERT": {**c["post_BERT"], **{
            f"transformer.layers.{i}.x": torch.ones(1) for i in range(10_000)}}},
    }


# Trials --------------------------------------------------------------------------------------------------------------

def not_files(folder: Path) -> dict[str, Path]:
    """Paths that lead to no regular file. A pipe that is opened hangs."""
    (folder / "folder.pt").mkdir()
    os.mkfifo(folder / "pipe.pt")
    (folder / "loop.pt").symlink_to(folder / "loop.pt")
    (folder / "broken.pt").symlink_to(folder / "none.pt")
    return {"a folder": folder / "folder.pt", "a pipe": folder / "pipe.pt", "a loop": folder / "loop.pt",
            "a broken link": folder / "broken.pt", "zeros without end": Path("/dev/zero"),
            "a name too long": folder / ("x" * 300), "nowhere": folder / "none/none.pt", "a NUL": Path("a\0b")}


def run(seed: int = 0, count: int = COUNT) -> tuple[int, int, list[str]]:
    """(good, total, failures) of so many damaged files, and of all odd ones."""
    draw, readers, failures, total = random.Random(seed), Readers(), list[str](), 0
    for codec in ("cp437", "utf-8-sig", "raw-unicode-escape", "latin-1"):
        codecs.lookup(codec)
    good = good_files(readers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def attempt(title: str, read: Reader, path: Path) -> None:
            nonlocal total
            total += 1
            if wrong := trial([lambda: read(path)], folder):
                failures.append(f"{title}: {wrong.strip().splitlines()[-1]}")

        file = folder / "file.pt"
        for title, data, read in good:
            file.write_bytes(data)
            try:
                read(file)  # what is imported late is imported now
            except UserError as error:
                failures.append(f"{title}, undamaged: {error}")
        for title, data, read in odd_files(readers):
            file.write_bytes(data)
            attempt(title, read, file)
        file.unlink()
        for title, path in not_files(folder).items():
            for read in (readers.word, readers.model_weights, readers.aligner):
                attempt(title, read, path)
        for i in range(count):
            title, data, read = good[i % len(good)]
            damage, changed = mutated(data, draw)
            file.write_bytes(changed)
            attempt(f"{title}, {damage}", read, file)
    return total - len(failures), total, failures
