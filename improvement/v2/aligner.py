"""v2's aligner: a translation decoder from any language to the English text encoder's tokens, copying placeholders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from improvement.v2.names import ADJECTIVES, NameTokens
from ldm.errors import UserError
from ldm.modules.encoders.text_encoder import Placeholders
from ldm.modules.meta import without_weights
from ldm.serialization import check_weights, pack_weights, read_tensors, unpack_weights, write_tensors

IGNORE_INDEX = -100  # the label of a position without a loss, as torch.nn.functional.cross_entropy has it

UNSAID = 2.0  # what a name that is hardly anything else costs a translation that does not have it, in nats

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
    ids: torch.Tensor | None = None      # [B, M]: the source tokens
    names: list[dict[int, str]] | None = None  # source position -> the English name of the thing that is named there
    sure: torch.Tensor | None = None     # bool [B, M]: the names among these that are hardly anything else

    @property
    def placeholder_mask(self) -> torch.Tensor:
        """bool [B, M]: True at the source positions of placeholders."""
        mask = torch.zeros_like(self.mask)
        for row, placeholders in enumerate(self.placeholders):
            mask[row, list(placeholders)] = True
        return mask

    @property
    def copy_mask(self) -> torch.Tensor:
        """bool [B, M]: True at the source positions that may be copied, those of placeholders and of names."""
        mask = self.placeholder_mask
        for row, names in enumerate(self.names or ()):
            mask[row, list(names)] = True
        return mask

    @property
    def groups(self) -> torch.Tensor:
        """int64 [B, M]: the same at positions of which one copy is enough, those of the same thing's name."""
        groups = torch.arange(self.mask.shape[1], device=self.mask.device).repeat(len(self.mask), 1)
        for row, names in enumerate(self.names or ()):
            first: dict[str, int] = {}
            for position, name in names.items():
                if name not in ADJECTIVES:
                    groups[row, position] = first.setdefault(name, position)
        return groups

    def repeated(self, times: int) -> SourceEncoding:
        """Each sentence so many times, one beside the other."""
        def rows(values: list[dict[int, str]]) -> list[dict[int, str]]:
            return [row for row in values for _ in range(times)]

        return SourceEncoding(self.memory.repeat_interleave(times, dim=0), self.mask.repeat_interleave(times, dim=0),
                              rows(self.placeholders), None, rows(self.names) if self.names else None,
                              None if self.sure is None else self.sure.repeat_interleave(times, dim=0))

    def only(self, row: int) -> SourceEncoding:
        """One sentence of the batch."""
        return SourceEncoding(self.memory[row : row + 1], self.mask[row : row + 1], self.placeholders[row : row + 1],
                              None, self.names[row : row + 1] if self.names else None)


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
        gaps: int = 0,          # 1: it can tell which source tokens are not understood
        dropout: float = 0.0,
    ):
        super().__init__()
        self.sizes = {"memory_dim": memory_dim, "token_dim": token_dim, "max_target_len": max_target_len,
                      "d_model": d_model, "n_layer": n_layer, "heads": heads}
        if gaps:
            self.sizes["gaps"] = 1
        self.memory_projection, self.input_projection = nn.Linear(memory_dim, d_model), nn.Linear(token_dim, d_model)
        self.position_embeddings = nn.Parameter(nn.init.normal_(torch.empty(max_target_len, d_model), std=0.02))
        layer = nn.TransformerDecoderLayer(d_model, heads, 4 * d_model, dropout, "gelu", batch_first=True,
                                           norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, n_layer, nn.LayerNorm(d_model))
        self.output_projection = nn.Linear(d_model, token_dim)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))  # its logarithm, as in CLIP
        self.copy_query, self.copy_key = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.gap = nn.Sequential(nn.Linear(memory_dim, d_model), nn.GELU(), nn.Linear(d_model, 1)) if gaps else None

    def check_fit(self, memory_dim: int, token_embeddings: torch.Tensor, file: str | Path) -> None:
        """Raises UserError unless this aligner is from encoder outputs of width memory_dim to token_embeddings
        [V, token_dim]; the message names file."""
        expected = (self.sizes["memory_dim"], self.sizes["token_dim"])
        if expected != (memory_dim, token_embeddings.shape[1]):
            raise UserError(f"{file}: an aligner from width {expected[0]} to {expected[1]}, but the multilingual "
                            f"encoder has {memory_dim} and the token embeddings have {token_embeddings.shape[1]}")

    def forward(self, source: SourceEncoding, token_embeddings: torch.Tensor,
                prefix: torch.Tensor, last: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Next-token predictions after every part of a target prefix, as in teacher forcing.

        token_embeddings [V, token_dim] are the text encoder's, prefix [B, N - 1] ids of the extended vocabulary.
        Returns the decoder's outputs in the space of the token embeddings [B, N, token_dim] and logits over the
        extended vocabulary [B, N, V + M], -inf for source positions that cannot be copied; of the last position alone
        if `last`, so that N is 1.
        """
        memory, V = self.memory_projection(source.memory), len(token_embeddings)
        tokens = self.input_projection(token_embeddings[prefix.clamp(max=V - 1)])
        copies = memory.gather(1, (prefix - V).clamp(min=0)[..., None].expand(-1, -1, memory.shape[-1]))
        inputs = torch.where((prefix < V)[..., None], tokens, copies)
        # Shifted right: what precedes the first token is a zero vector, not a token of its own.
        h = F.pad(inputs, (0, 0, 1, 0)) + self.position_embeddings[: prefix.shape[1] + 1]
        causal_mask = nn.Transformer.generate_square_subsequent_mask(h.shape[1], device=h.device, dtype=h.dtype)
        h = self.decoder(h, memory, tgt_mask=causal_mask, tgt_is_causal=True, memory_key_padding_mask=~source.mask)
        h = h[:, -1:] if last else h
        outputs = self.output_projection(h)
        cosines = self.logit_scale.exp() * F.normalize(outputs, dim=-1) @ F.normalize(token_embeddings, dim=-1).T
        copy_logits = self.copy_query(h) @ self.copy_key(memory).mT / memory.shape[-1] ** 0.5
        copy_logits = copy_logits.masked_fill(~source.copy_mask[:, None], -torch.inf)
        return outputs, torch.cat([cosines, copy_logits], dim=-1)

    def decode(self, source: SourceEncoding, token_embeddings: torch.Tensor, eos_id: int, beams: int = 1
               ) -> torch.Tensor:
        """Ids of the extended vocabulary [B, N]: the likeliest translation that a beam search finds, by its mean
        log-probability a token (Wu et al., arXiv 1609.08144, section 7, with alpha 1).

        The end is never forbidden; a translation that leaves out a name that is hardly anything else is less likely by
        `UNSAID` (Wu et al.'s coverage penalty). No placeholder and no thing's name is copied twice; translations that
        copy all placeholders are preferred to those that do not, and what is missing then is put in by `put_in` (See et
        al.'s coverage, section 2.3, as a rule).
        """
        V, K, N = len(token_embeddings), beams, len(self.position_embeddings)
        B, M = source.copy_mask.shape
        device = token_embeddings.device
        wide = source.repeated(K)
        uncopied, needed, groups = wide.copy_mask, wide.placeholder_mask, wide.groups
        prefix = torch.empty(B * K, 0, dtype=torch.long, device=device)
        ended = torch.zeros(B * K, dtype=torch.bool, device=device)
        scores = torch.full((B, K), -torch.inf, device=device)
        scores[:, 0] = 0.0  # all beams are alike at first: one of them counts
        lengths = torch.zeros(B * K, device=device)
        while prefix.shape[1] < N and not ended.all():
            logits = self(wide, token_embeddings, prefix, last=True)[1][:, -1]
            logits[:, V:].masked_fill_(~uncopied, -torch.inf)
            steps = logits.log_softmax(dim=-1)
            if eos_id >= 0:
                steps[ended] = -torch.inf  # what has ended stays as it is
                steps[ended, eos_id] = 0.0
            totals, best = (scores[..., None] + steps.view(B, K, V + M)).flatten(1).topk(K)
            rows = (torch.arange(B, device=device)[:, None] * K + best // (V + M)).flatten()
            token = (best % (V + M)).flatten()
            scores, ended, lengths = totals, ended[rows], lengths[rows] + (~ended[rows]).float()
            prefix, uncopied = torch.cat([prefix[rows], token[:, None]], dim=1), uncopied[rows]
            copied = groups.gather(1, (token - V).clamp(min=0)[:, None])
            uncopied = uncopied & ((token < V)[:, None] | (groups != copied))
            ended = ended | (token == eos_id)
        missing = (uncopied & needed).sum(dim=1).view(B, K) + N * (~ended).view(B, K)
        if wide.sure is not None:
            scores = scores - UNSAID * (uncopied & wide.sure).sum(dim=1).view(B, K)
        rank = scores / lengths.view(B, K) - 1e4 * missing
        chosen = torch.arange(B, device=device) * K + rank.argmax(dim=1)
        return self.put_in(source, token_embeddings, prefix[chosen], (uncopied & needed)[chosen], eos_id)

    def put_in(self, source: SourceEncoding, token_embeddings: torch.Tensor, tokens: torch.Tensor,
               missing: torch.Tensor, eos_id: int) -> torch.Tensor:
        """Tokens [B, N] with copies of the source positions that are missing, bool [B, M]: each in the place of the
        token beside which its copy was likeliest, or after the last one where all are copies."""
        V = len(token_embeddings)
        for row in missing.any(dim=1).nonzero()[:, 0].tolist():
            logits = self(source.only(row), token_embeddings, tokens[row : row + 1, :-1])[1][0]
            for position in missing[row].nonzero()[:, 0].tolist():
                ends = (tokens[row] == eos_id).nonzero()[:, 0].tolist()
                end = ends[0] if ends else tokens.shape[1]
                free = (tokens[row, :end] < V).nonzero()[:, 0]
                if len(free):
                    tokens[row, free[logits[free, V + position].argmax()]] = V + position
                    continue
                if end + 1 >= tokens.shape[1]:
                    more = min(1, len(self.position_embeddings) - tokens.shape[1])
                    tokens = F.pad(tokens, (0, more), value=eos_id)
                tokens[row, end + 1 :] = eos_id
                tokens[row, end] = V + position
        return tokens

    def translate(self, source: SourceEncoding, token_embeddings: torch.Tensor,
                  placeholder_ids: Placeholders, eos_id: int, pad_id: int, beams: int = 1,
                  name_ids: NameTokens | None = None) -> torch.Tensor:
        """Token ids [B, max_target_len], on the CPU, of the translation that `decode` finds: a copy becomes the token
        id of its placeholder or the token ids of its name, and pad_id follows eos_id."""
        N, rows = len(self.position_embeddings), []
        for row, tokens in enumerate(self.decode(source, token_embeddings, eos_id, beams).tolist()):
            tokens = tokens[: tokens.index(eos_id) + 1] if eos_id in tokens else tokens
            ids, _ = spelt(tokens, source, row, placeholder_ids, len(token_embeddings), name_ids)
            ids = ids[:N] if eos_id not in ids[N:] else [*ids[: N - 1], eos_id]
            rows.append(ids + [pad_id] * (N - len(ids)))
        return torch.tensor(rows)

    def not_understood(self, source: SourceEncoding) -> torch.Tensor:
        """Logits [B, M] of source tokens being part of something that the translation leaves out because the English
        text encoder has no words for it. Raises ValueError for an aligner that was not trained to tell."""
        if self.gap is None:
            raise ValueError("this aligner was not trained to tell what it does not understand")
        return self.gap(source.memory)[..., 0]


def spelt(tokens: list[int], source: SourceEncoding, row: int, placeholder_ids: Placeholders, vocab_size: int,
          name_ids: NameTokens | None = None) -> tuple[list[int], list[int]]:
    """Token ids of a translation, ids of the extended vocabulary, of one row of the source, and for each the place in
    the translation that it comes from."""
    ids: list[int] = []
    places: list[int] = []
    for place, token in enumerate(tokens):
        if token < vocab_size:
            ids.append(token)
        elif placeholder := source.placeholders[row].get(token - vocab_size):
            ids.append(int(placeholder_ids[placeholder]))
        elif source.names and name_ids:
            name_ids.put_behind(ids, source.names[row][token - vocab_size])
        places += [place] * (len(ids) - len(places))
    return ids, places


def copy_labels(target_ids: torch.Tensor, source: SourceEncoding, placeholder_ids: Placeholders,
                vocab_size: int, pad_id: int = 0, name_ids: NameTokens | None = None
                ) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels [B, N'] in the extended vocabulary for target token ids [B, N], and what precedes them in teacher forcing.

    The k-th token of a placeholder is a copy of its k-th occurrence in the source, IGNORE_INDEX where the source has
    none. The tokens of a name that the source has, singular or plural, are one copy; so N' is at most N.
    """
    rows, before = [], []
    for row, ids in enumerate(target_ids.tolist()):
        labels = ids[: ids.index(pad_id)] if pad_id in ids else list(ids)
        prefix = list(labels)
        for placeholder, token_id in placeholder_ids.items():
            sources = [position for position, name in source.placeholders[row].items() if name == placeholder]
            for k, position in enumerate(i for i, token in enumerate(ids[: len(labels)]) if token == int(token_id)):
                labels[position] = vocab_size + sources[k] if k < len(sources) else IGNORE_INDEX
                prefix[position] = labels[position] if k < len(sources) else ids[position]
        if source.names and name_ids:
            copy_names(labels, prefix, source.names[row], vocab_size, name_ids)
        rows.append(labels)
        before.append(prefix)
    longest = max(map(len, rows))
    return (torch.tensor([row + [IGNORE_INDEX] * (longest - len(row)) for row in rows], device=target_ids.device),
            torch.tensor([row + [pad_id] * (longest - len(row)) for row in before], device=target_ids.device))


def copy_names(labels: list[int], prefix: list[int], names: dict[int, str], vocab_size: int, name_ids: NameTokens
               ) -> None:
    """Put a copy of a source position {position: English name} in place of the name's first occurrence among labels and
    their prefix, in both. An article before it is the first one: which one it is is the name's business."""
    for position, name in names.items():
        for wanted in (name_ids(name, []), name_ids(name, None)):
            places = range(len(labels) - len(wanted) + 1)
            at = next((i for i in places if labels[i : i + len(wanted)] == wanted), -1)
            if at >= 0:
                labels[at : at + len(wanted)] = prefix[at : at + len(wanted)] = [vocab_size + position]
                if at and labels[at - 1] in name_ids.articles:
                    labels[at - 1] = prefix[at - 1] = name_ids.articles[0]
                break


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
