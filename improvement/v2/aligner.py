"""v2's aligner: a translation decoder from any language to the English text encoder's tokens, copying placeholders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ldm.errors import UserError
from ldm.modules.encoders.text_encoder import Placeholders
from ldm.modules.meta import without_weights
from ldm.serialization import check_weights, pack_weights, read_tensors, unpack_weights, write_tensors

IGNORE_INDEX = -100  # the label of a position without a loss, as torch.nn.functional.cross_entropy has it

MAX_SIZE, MAX_LAYERS = 2**16, 64  # of what an aligner's file asks for

# Names in files of earlier versions -> names here.
RENAMED = {
    "aligner": {"dim": "memory_dim", "slots": "max_target_len", "width": "d_model"},
    "state_dict": {"inward": "memory_projection", "heard": "input_projection", "slots": "position_embeddings",
                   "outward": "output_projection", "sharpness": "logit_scale", "query": "copy_query",
                   "key": "copy_key"},
}


@dataclass
class SourceEncoding:
    """The encoder's output for a batch of source sentences, and where placeholders of learned words stand in them."""

    memory: torch.Tensor                 # [B, M, memory_dim]: the encoder's states, one a source token
    mask: torch.Tensor                   # bool [B, M]: True for tokens, False for padding
    placeholders: list[dict[int, str]]   # for each sentence: source position -> the placeholder there

    @property
    def copy_mask(self) -> torch.Tensor:
        """bool [B, M]: True at the source positions that may be copied, those of placeholders."""
        mask = torch.zeros_like(self.mask)
        for row, placeholders in enumerate(self.placeholders):
            mask[row, list(placeholders)] = True
        return mask


class Aligner(nn.Module):
    """Transformer decoder (Vaswani et al., arXiv 1706.03762, section 3.1) with a pointer to copy from the source.

    Its vocabulary is the English text encoder's, whose token embeddings serve as input and output embeddings
    (section 3.4): vocabulary logits are scaled cosines with them. Placeholders of learned words are copied from the
    source (pointer-generator, See et al., arXiv 1704.04368, section 2.2), so that their vectors enter unchanged; copy
    logits share one softmax with the vocabulary's (CopyNet, Gu et al., arXiv 1603.06393, section 3.2), without a gate.

    Throughout, B is the batch, M the source length, N the target length and V the size of the vocabulary. Ids of the
    extended vocabulary are token ids below V, and V + m for a copy of source position m.
    """

    def __init__(
        self,
        memory_dim: int,        # width of the encoder's output
        token_dim: int,         # width of the text encoder's token embeddings
        max_target_len: int,    # tokens of an English prompt, at most
        d_model: int = 192,     # width of the decoder
        n_layer: int = 3,
        heads: int = 6,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.sizes = {"memory_dim": memory_dim, "token_dim": token_dim, "max_target_len": max_target_len,
                      "d_model": d_model, "n_layer": n_layer, "heads": heads}
        self.memory_projection, self.input_projection = nn.Linear(memory_dim, d_model), nn.Linear(token_dim, d_model)
        self.position_embeddings = nn.Parameter(nn.init.normal_(torch.empty(max_target_len, d_model), std=0.02))
        layer = nn.TransformerDecoderLayer(d_model, heads, 4 * d_model, dropout, "gelu", batch_first=True,
                                           norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, n_layer, nn.LayerNorm(d_model))
        self.output_projection = nn.Linear(d_model, token_dim)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))  # its logarithm, as in CLIP
        self.copy_query, self.copy_key = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def check_fit(self, memory_dim: int, token_embeddings: torch.Tensor, file: str | Path) -> None:
        """Raises UserError unless this aligner is from encoder outputs of width memory_dim to token_embeddings
        [V, token_dim]; the message names file."""
        expected = (self.sizes["memory_dim"], self.sizes["token_dim"])
        if expected != (memory_dim, token_embeddings.shape[1]):
            raise UserError(f"{file}: an aligner from width {expected[0]} to {expected[1]}, but the multilingual "
                            f"encoder has {memory_dim} and the token embeddings have {token_embeddings.shape[1]}")

    def forward(self, source: SourceEncoding, token_embeddings: torch.Tensor,
                prefix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Next-token predictions after every part of a target prefix, as in teacher forcing.

        token_embeddings [V, token_dim] are the text encoder's, prefix [B, N - 1] ids of the extended vocabulary.
        Returns the decoder's outputs in the space of the token embeddings [B, N, token_dim] and logits over the
        extended vocabulary [B, N, V + M], -inf for source positions without a placeholder.
        """
        memory, V = self.memory_projection(source.memory), len(token_embeddings)
        tokens = self.input_projection(token_embeddings[prefix.clamp(max=V - 1)])
        copies = memory.gather(1, (prefix - V).clamp(min=0)[..., None].expand(-1, -1, memory.shape[-1]))
        inputs = torch.where((prefix < V)[..., None], tokens, copies)
        # Shifted right: what precedes the first token is a zero vector, not a token of its own.
        h = F.pad(inputs, (0, 0, 1, 0)) + self.position_embeddings[: prefix.shape[1] + 1]
        causal_mask = nn.Transformer.generate_square_subsequent_mask(h.shape[1], device=h.device, dtype=h.dtype)
        h = self.decoder(h, memory, tgt_mask=causal_mask, tgt_is_causal=True, memory_key_padding_mask=~source.mask)
        outputs = self.output_projection(h)
        cosines = self.logit_scale.exp() * F.normalize(outputs, dim=-1) @ F.normalize(token_embeddings, dim=-1).T
        copy_logits = self.copy_query(h) @ self.copy_key(memory).mT / memory.shape[-1] ** 0.5
        copy_logits = copy_logits.masked_fill(~source.copy_mask[:, None], -torch.inf)
        return outputs, torch.cat([cosines, copy_logits], dim=-1)

    def greedy_decode(self, source: SourceEncoding, token_embeddings: torch.Tensor, eos_id: int) -> torch.Tensor:
        """Ids of the extended vocabulary [B, N], the likeliest token at each position, until every row has eos_id.

        Every placeholder of the source is copied once, neither twice nor never: See et al.'s coverage (section 2.3)
        as a constraint.
        """
        V, uncopied = len(token_embeddings), source.copy_mask.clone()
        prefix = torch.empty(len(uncopied), 0, dtype=torch.long, device=token_embeddings.device)
        ended = torch.zeros(len(uncopied), dtype=torch.bool, device=token_embeddings.device)
        while (left := len(self.position_embeddings) - prefix.shape[1]) and not ended.all():
            logits = self(source, token_embeddings, prefix)[1][:, -1]
            logits[:, V:].masked_fill_(~uncopied, -torch.inf)
            to_copy = uncopied.sum(dim=1)
            logits[to_copy > 0, eos_id] = -torch.inf
            logits[to_copy >= left, :V] = -torch.inf  # the positions left are just enough for the copies
            token = logits.argmax(dim=-1)
            uncopied &= token[:, None] != V + torch.arange(uncopied.shape[1], device=token_embeddings.device)
            prefix, ended = torch.cat([prefix, token[:, None]], dim=1), ended | (token == eos_id)
        return prefix

    def translate(self, source: SourceEncoding, token_embeddings: torch.Tensor,
                  placeholder_ids: Placeholders, eos_id: int, pad_id: int) -> torch.Tensor:
        """Token ids [B, max_target_len], on the CPU, of the greedy translation: a copy becomes the token id of its
        placeholder, and pad_id follows eos_id."""
        translation = self.greedy_decode(source, token_embeddings, eos_id).cpu()
        ids = translation.clone()  # whose own ids past the vocabulary are those of learned words
        for row, placeholders in enumerate(source.placeholders):
            for position, placeholder in placeholders.items():
                ids[row, translation[row] == len(token_embeddings) + position] = int(placeholder_ids[placeholder])
        after_eos = ((ids == eos_id).cumsum(dim=1) - (ids == eos_id).long()) > 0
        ids = F.pad(ids.masked_fill(after_eos, pad_id), (0, len(self.position_embeddings) - ids.shape[1]),
                    value=pad_id)
        return ids


def copy_labels(target_ids: torch.Tensor, source: SourceEncoding, placeholder_ids: Placeholders,
                vocab_size: int) -> torch.Tensor:
    """Labels [B, N] in the extended vocabulary for target token ids [B, N]: the k-th token of a placeholder is a copy
    of its k-th occurrence in the source; IGNORE_INDEX where the source has none."""
    labels = target_ids.clone()
    for row, placeholders in enumerate(source.placeholders):
        for placeholder, token_id in placeholder_ids.items():
            sources = [position for position, name in placeholders.items() if name == placeholder]
            for k, position in enumerate((target_ids[row] == int(token_id)).nonzero()[:, 0].tolist()):
                labels[row, position] = vocab_size + sources[k] if k < len(sources) else IGNORE_INDEX
    return labels


def save_aligner(aligner: Aligner, path: str | Path) -> None:
    """Write the aligner's sizes and its weights, packed (ldm.serialization.pack_weights)."""
    write_tensors(path, {"aligner": aligner.sizes, "state_dict": pack_weights(aligner.state_dict(), bits=6)})


def load_aligner(path: str | Path) -> Aligner:
    """The aligner of a file that save_aligner wrote, with names of now or before. Raises UserError for other files."""
    content = read_tensors(path)
    try:
        sizes, weights = _renamed(content, "aligner"), unpack_weights(_renamed(content, "state_dict"))
        if not all(type(size) is int and 0 < size <= MAX_SIZE for size in sizes.values()):
            raise UserError("its sizes are no sizes")
        if sizes.get("n_layer", 1) > MAX_LAYERS:
            raise UserError(f"it has more layers than {MAX_LAYERS}")
        with without_weights():  # no memory before it is known that the file has as much
            expected = Aligner(**sizes).state_dict()
        check_weights(weights, expected)
        aligner = Aligner(**sizes)
        aligner.load_state_dict({name: weight.float() for name, weight in weights.items()})
    except (KeyError, TypeError, RuntimeError, AttributeError, AssertionError, UserError) as error:
        why = f" ({error})" if isinstance(error, UserError) else ""
        raise UserError(f"{path}: not an aligner{why}; improvement/v2/train_aligner.py writes them") from error
    return aligner


def _renamed(content: dict[str, Any], entry: str) -> dict[str, Any]:
    """An entry of an aligner's file with the names of RENAMED, which stand before the first dot of a weight's name."""
    return {".".join([RENAMED[entry].get(first, first), *rest]): value
            for name, value in content[entry].items() for first, *rest in [name.split(".")]}
