"""Files of learned words: the formats that programs exchange them in, told by content, read and written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ldm.errors import UserError
from ldm.filetypes import shown
from ldm.placeholders import MAX_PLACEHOLDER, STAR
from ldm.provenance import Provenance, decode_provenance, encode_provenance, only_name
from ldm.serialization import FLOATS, read_metadata, read_tensors, write_tensors

if TYPE_CHECKING:
    from ldm.modules.encoders.text_encoder import TextEncoder

# What a file of words may hold. A prompt has 77 tokens, and the entries of token embeddings are below 10.
MAX_WORDS, MAX_VECTORS, MAX_NUMBER = 4096, 1024, 65504.0

PUBLISHED, DIFFUSERS, A1111, KOHYA = "published", "diffusers", "a1111", "kohya"
PROVENANCE = "provenance"
# what v1 adds to the published layout
ADAPTER = ("post_BERT", "post_BERT_everywhere", "post_BERT_gate", "post_BERT_alone")

# Width of token embeddings -> the models that have it, the size of their vocabulary, and the token of * in it.
WIDTHS = {
    192: ("this project's embedded model", 2423, 14),
    768: ("Stable Diffusion 1.x (CLIP ViT-L/14)", 49408, 265),
    1024: ("Stable Diffusion 2.x (OpenCLIP ViT-H/14)", 49408, 265),
    1280: ("the published 1.45 B latent diffusion model (BERT)", 30522, 1008),
    4096: ("a model with T5-XXL as its text encoder", 32128, None),
}


@dataclass
class Words:
    """What a file of learned words holds."""

    vectors: dict[str, torch.Tensor]                              # name -> float32 [n, dim]
    format: str = PUBLISHED                                       # a key of FORMATS
    named: bool = True                                            # False: the file has no name for its word, here *
    token_ids: dict[str, int] = field(default_factory=dict)       # name -> token, where the file says it
    provenance: dict[str, Provenance] = field(default_factory=dict)  # of the words whose provenance is known
    adapter: dict[str, Any] = field(default_factory=dict)         # what goes with a word of v1

    @property
    def widths(self) -> set[int]:
        """How wide the vectors are: one number, in all but odd files."""
        return {v.shape[1] for v in self.vectors.values()}

    @property
    def own_names(self) -> list[str | None]:
        """The name of each word in the file; None where it has none."""
        return [name if self.named else None for name in self.vectors]

    def renamed(self, names: Mapping[str, str]) -> Words:
        """The same with other names for some words: {old: new}. Raises UserError for a name that is taken."""
        def under(entries: dict[str, Any]) -> dict[str, Any]:
            return {names.get(name, name): value for name, value in entries.items()}

        if len(under(self.vectors)) < len(self.vectors):
            raise UserError("two words would have one name")
        ids = {name: i for name, i in self.token_ids.items() if name not in names}  # a token belongs to its name
        return replace(self, vectors=under(self.vectors), provenance=under(self.provenance), token_ids=ids,
                       named=self.named or bool(names))

    def with_tokens_of(self, encoder: TextEncoder) -> Words:
        """The same with the tokens that a text encoder reads names as, if it is one that the words can be for; names of
        several pieces are added tokens, which no text encoder has yet."""
        table, tokenizer = encoder.token_embeddings, encoder.tknz_fn
        if self.widths != {table.embedding_dim}:
            return self
        pieces = {name: tokenizer.ids(name) for name in self.vectors if name not in self.token_ids}
        single = {name: ids[0] for name, ids in pieces.items() if len(ids) == 1 and ids[0] != tokenizer.unknown_id}
        return replace(self, token_ids=self.token_ids | single)


# Reading -------------------------------------------------------------------------------------------------------------

def read_words(path: str | Path) -> Words:
    """The words of a file in any of FORMATS, whatever it is called. Raises UserError for any other file: what it is
    instead, where that can be told, and for words that cannot be any (`_vectors`)."""
    content = read_tensors(path)
    metadata = read_metadata(path)
    refuse_others(path, content)
    words = Words({})
    entries = content.get("string_to_param", content)
    if "string_to_param" in content:
        if not isinstance(entries, dict):
            raise UserError(f"{path}: its string_to_param is no dictionary of words and their vectors")
        name = content.get("name")
        if list(entries) == [STAR] and isinstance(name, str) and name.strip():
            words.format, entries = A1111, {name: entries[STAR]}
    elif torch.is_tensor(content.get("emb_params")):
        words.format, words.named, entries = KOHYA, False, {STAR: content["emb_params"]}
    else:  # beside the words there may be a name, a step and the like
        words.format, entries = DIFFUSERS, {p: v for p, v in content.items() if torch.is_tensor(v) and v.dim()}
    if not entries:
        raise UserError(f"{path}: holds no embeddings; give an embeddings.pt that training wrote")
    if len(entries) > MAX_WORDS:
        raise UserError(f"{path}: holds {len(entries)} tensors, a model's weights rather than words; give an "
                        "embeddings.pt that training wrote")
    words.vectors = {p: _vectors(path, p, v) for p, v in entries.items()}
    words.adapter = {k: content[k] for k in ADAPTER if k in content}
    words.token_ids = _token_ids(content.get("string_to_token"), words.vectors)
    _read_provenance(words, content, metadata)
    return words


def read_embeddings(path: str | Path) -> dict[str, torch.Tensor]:
    """{name: float32 [n, dim]} of a file of words, as `read_words` finds it."""
    return read_words(path).vectors


def refuse_others(path: str | Path, content: Mapping[Any, Any]) -> None:
    """Raises UserError for what people also call embeddings, or keep beside them, and what is no word for one text
    encoder."""
    keys = {k for k in content if isinstance(k, str)}
    what = None
    if {"clip_l", "clip_g"} <= keys or {"text_encoders_0", "text_encoders_1"} <= keys:
        three = " 3" if keys & {"t5", "t5xxl"} else " XL"
        what = (f"a word for Stable Diffusion{three}: vectors for several text encoders at once (768 wide for CLIP "
                "ViT-L, 1280 for OpenCLIP ViT-bigG), and this model has one; learn the word again here")
    elif {"clip_l"} < keys and keys & {"t5", "t5xxl"}:
        what = ("a word for FLUX: vectors for several text encoders at once (CLIP ViT-L and T5), and this model has "
                "one; learn the word again here")
    elif any(re.search(r"lora_.*\.(weight|alpha)$|\.(hada|lokr)_\w+$", k) for k in keys):
        what = "a LoRA, which changes a model's weights, not a word"
    elif any(type(k) is int and type(v) is tuple for k, v in content.items()):
        what = "a hypernetwork of AUTOMATIC1111, which changes a model's attention, not a word"
    if what:
        raise UserError(f"{path}: {what}")


def describe_width(width: int) -> str:
    """A width in words, with the model that has it where one is known."""
    return f"{width} wide, for {WIDTHS[width][0]}" if width in WIDTHS else f"{width} wide"


def misfit(path: str | Path, name: str, width: int, expected: int) -> UserError:
    """What to say of a word that is not as wide as the text encoder's token embeddings."""
    known = f"it is for {WIDTHS[width][0]}" if width in WIDTHS else "it was learned for another model"
    return UserError(f"{path}: the embedding of {shown(repr(name))} is {width} wide, the text encoder {expected}; "
                     f"{known}")


def is_name(name: Any) -> bool:
    """Whether something can be a word's name in a file: text that is neither empty nor long, in one line."""
    return (isinstance(name, str) and bool(name.strip()) and len(name) <= MAX_PLACEHOLDER
            and not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in name))


def _vectors(path: str | Path, placeholder: Any, vectors: Any) -> torch.Tensor:
    """Vectors as a file has them, [dim] or [n, dim] -> float32 [n, dim]. Raises UserError for what is no word: other
    names than text, other tensors than 1 to MAX_VECTORS vectors of finite real numbers."""
    if not is_name(placeholder):
        raise UserError(f"{path}: one of its placeholders is empty, too long or no text; a placeholder is a single "
                        "sign such as *")
    what = f"{path}: the embedding of {shown(repr(placeholder))}"
    if not torch.is_tensor(vectors) or vectors.dtype not in FLOATS:
        kind = str(vectors.dtype).removeprefix("torch.") if torch.is_tensor(vectors) else "no plain tensor"
        raise UserError(f"{what} is not of real numbers ({kind}); give an embeddings.pt that training wrote")
    if vectors.dim() not in (1, 2) or not vectors.numel():
        raise UserError(f"{what} has the shape {list(vectors.shape)}; a word has one or several vectors, [n, width]")
    if vectors.dim() == 2 and len(vectors) > MAX_VECTORS:
        raise UserError(f"{what} has {len(vectors):,} vectors, more than any prompt has room for ({MAX_VECTORS:,})")
    vectors = vectors.detach().float().reshape(-1, vectors.shape[-1])
    if not bool((vectors.abs() <= MAX_NUMBER).all()):
        raise UserError(f"{what} holds numbers that are not finite (NaN, infinity) or too large for any text encoder; "
                        "its training went wrong or the file is damaged; take an earlier embeddings_gs-*.pt")
    return vectors


def _token_ids(entries: Any, names: Iterable[str]) -> dict[str, int]:
    """{name: token} where a file says it in numbers, or in tensors of one."""
    entries = entries if isinstance(entries, dict) else {}
    found = {n: entries.get(n) for n in names}
    ids = {n: int(i) if torch.is_tensor(i) and i.numel() == 1 and not i.is_floating_point() else i
           for n, i in found.items()}
    return {n: i for n, i in ids.items() if type(i) is int and 0 <= i < 2**31}


def _read_provenance(words: Words, content: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Take what a file says of its words' making, and the name of a word that has none but there."""
    text = content.get(PROVENANCE, metadata.get(PROVENANCE))
    if not words.named and is_name(name := only_name(text)):
        words.named, words.vectors = True, {str(name): v for v in words.vectors.values()}
    shapes = {name: vectors.shape for name, vectors in words.vectors.items()}
    words.provenance = decode_provenance(text, shapes)
    if words.format == A1111 and not words.provenance:
        step, model = content.get("step"), content.get("sd_checkpoint_name")
        (name,) = words.vectors
        made = Provenance(model=model if isinstance(model, str) and len(model) <= 200 else None,
                           step=step if type(step) is int and 0 <= step < 2**63 else None)
        words.provenance = {name: made} if made != Provenance() else {}


# Writing -------------------------------------------------------------------------------------------------------------

def format_for(path: str | Path, format: str | None = None) -> str:
    """The format to write a file in: the one given, else the one that goes with its suffix. Raises UserError where the
    two do not go together."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".pt", ".bin", ".safetensors"):
        raise UserError(f"{path}: no program looks for words in a file called so; give it the suffix .pt, .bin or "
                        ".safetensors")
    if format is None:
        return DIFFUSERS if suffix in (".bin", ".safetensors") else PUBLISHED
    if format == PUBLISHED and suffix == ".safetensors":
        raise UserError(f"{path}: the published format is one of torch.save; give the file the suffix .pt")
    return format


def write_words(path: str | Path, words: Words, format: str | None = None) -> None:
    """Write words in a format of FORMATS, by default the one that goes with the suffix (`format_for`), whole or not at
    all. Raises UserError for what the format has no room for."""
    format = format_for(path, format)
    if words.adapter and format != PUBLISHED:
        raise UserError(f"{path}: an adapter goes with this word, and only a .pt file holds both")
    if format in (A1111, KOHYA) and len(words.vectors) > 1:
        names = " ".join(map(shown, words.vectors))
        raise UserError(f"{path}: a file of the format {format} holds one word, and here are {len(words.vectors)} "
                        f"({names}); write each into a file of its own")
    vectors = {name: v.detach().to("cpu", torch.float32).clone() for name, v in words.vectors.items()}
    if format == A1111 and Path(path).suffix.lower() == ".safetensors":
        format = KOHYA  # what AUTOMATIC1111 exchanges as safetensors
    content, metadata = FORMATS[format](path, replace(words, vectors=vectors))
    write_tensors(path, content, metadata)


def _published(path: str | Path, words: Words) -> tuple[dict[str, Any], dict[str, str]]:
    """What the published code reads and writes. A token that no file and no model told is one past the vocabulary."""
    width = next(iter(words.vectors.values())).shape[1]
    _, vocabulary, star = WIDTHS.get(width, ("", 2**20, None))
    ids = dict(words.token_ids) if star is None else {STAR: star} | words.token_ids
    for name in words.vectors:
        ids.setdefault(name, max([vocabulary - 1, *ids.values()]) + 1)
    content = {"string_to_token": {name: torch.tensor(ids[name]) for name in words.vectors},
               "string_to_param": parameter_dict(words.vectors), **words.adapter}
    return content | ({PROVENANCE: encode_provenance(words.provenance)} if words.provenance else {}), {}


def _diffusers(path: str | Path, words: Words) -> tuple[dict[str, Any], dict[str, str]]:
    """{name: [n, dim]}: nothing else may stand in the file."""
    return words.vectors, _metadata(words)


def _a1111(path: str | Path, words: Words) -> tuple[dict[str, Any], dict[str, str]]:
    """What AUTOMATIC1111 saves, and with it diffusers reads: the word is called `name`."""
    ((name, vectors),) = words.vectors.items()
    known = words.provenance.get(name, Provenance())
    title = Path(path).stem if name == STAR else name
    content = {"string_to_token": {STAR: 265}, "string_to_param": {STAR: vectors}, "name": title, "step": known.step,
               "sd_checkpoint": None, "sd_checkpoint_name": known.model}
    return content | ({PROVENANCE: encode_provenance({title: known})} if words.provenance else {}), {}


def _kohya(path: str | Path, words: Words) -> tuple[dict[str, Any], dict[str, str]]:
    """{emb_params: [n, dim]}: a word without a name, called as its file is. Its own name is in the provenance."""
    ((name, vectors),) = words.vectors.items()
    return {"emb_params": vectors}, _metadata(replace(words, provenance={name: Provenance()} | words.provenance))


# How programs write words: (path, words) -> (content, metadata of a safetensors file).
FORMATS: dict[str, Callable[[str | Path, Words], tuple[dict[str, Any], dict[str, str]]]] = {
    PUBLISHED: _published, DIFFUSERS: _diffusers, A1111: _a1111, KOHYA: _kohya}


def _metadata(words: Words) -> dict[str, str]:
    """The metadata of a safetensors file. One entry, since safetensors writes several in any order."""
    return {PROVENANCE: encode_provenance(words.provenance)} if words.provenance else {}


def parameter_dict(vectors: Mapping[str, torch.Tensor]) -> nn.ParameterDict:
    """Words as published files have them, under any names: ParameterDict's own methods refuse those with a dot in them
    and those of its attributes."""
    words = nn.ParameterDict()
    for name, value in vectors.items():
        words._parameters[name] = nn.Parameter(value)
        words._keys[name] = None
    return words
