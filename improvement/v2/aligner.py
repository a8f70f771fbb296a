"""v2's aligner: states of a prompt in any language to the English text encoder's tokens, learned words copied."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ldm.errors import UserError
from ldm.serialization import pack_weights, read_tensors, unpack_weights, write_tensors


class Aligner(nn.Module):
    """Multilingual states -> a sequence in the English text encoder's token-embedding space.

    A transformer decoder (Vaswani et al., arXiv 1706.03762) attends to the multilingual states and says the English
    prompt slot by slot. What a slot says is a point in token-embedding space, read as the vocabulary's nearest word by
    cosine, or else a pointer to a learned word's sign in the source (pointer-generator, See et al., arXiv 1704.04368),
    whose vector then enters unchanged.
    """

    def __init__(
        self,
        dim: int,             # width of the multilingual states
        token_dim: int,       # width of the English token embeddings
        slots: int,           # tokens of an English prompt, at most
        width: int = 192,     # of the decoder
        n_layer: int = 3,
        heads: int = 6,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.params = {"dim": dim, "token_dim": token_dim, "slots": slots, "width": width, "n_layer": n_layer,
                       "heads": heads}
        self.inward, self.heard = nn.Linear(dim, width), nn.Linear(token_dim, width)
        self.slots = nn.Parameter(torch.randn(slots, width) * 0.02)
        layer = nn.TransformerDecoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, n_layer, nn.LayerNorm(width))
        self.outward = nn.Linear(width, token_dim)
        self.sharpness = nn.Parameter(torch.tensor(3.0))  # logarithm of the factor of the cosines
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)

    def check_fit(self, dim: int, table: torch.Tensor, file: str | Path) -> None:
        """Raises UserError unless this aligner reads states of width dim and writes for the token embeddings table."""
        wanted = (self.params["dim"], self.params["token_dim"])
        if wanted != (dim, table.shape[1]):
            raise UserError(f"{file}: an aligner from width {wanted[0]} to {wanted[1]}, but the multilingual encoder "
                            f"has {dim} and the token embeddings have {table.shape[1]}")

    def forward(self, reading, table: torch.Tensor, said: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What comes next after each of the choices said [B, N - 1] for a Reading of M tokens, given the text encoder's
        token embeddings table [V, token_dim]: (points [B, N, token_dim] in token-embedding space, logits
        [B, N, V + M]). A choice below V is a word, from V on it points at a token of the source."""
        memory, V = self.inward(reading.states), len(table)
        words = self.heard(table[said.clamp(max=V - 1)])
        sources = memory.gather(1, (said - V).clamp(min=0)[..., None].expand(-1, -1, memory.shape[-1]))
        before = torch.where((said < V)[..., None], words, sources)
        h = nn.functional.pad(before, (0, 0, 1, 0)) + self.slots[: said.shape[1] + 1]
        later = nn.Transformer.generate_square_subsequent_mask(h.shape[1], device=h.device, dtype=h.dtype)
        h = self.decoder(h, memory, tgt_mask=later, tgt_is_causal=True, memory_key_padding_mask=~reading.mask)
        points = self.outward(h)
        logits = self.sharpness.exp() * F.normalize(points, dim=-1) @ F.normalize(table, dim=-1).T
        pointers = self.query(h) @ self.key(memory).mT / memory.shape[-1] ** 0.5
        return points, torch.cat([logits, pointers.masked_fill(~reading.sign_mask[:, None], -torch.inf)], dim=-1)

    def choose(self, reading, table: torch.Tensor, end: int) -> torch.Tensor:
        """The likeliest choices [B, N], one slot after another, until every row has said the token end. Each learned
        word of the source is pointed at once, neither twice nor never."""
        V, unsaid = len(table), reading.sign_mask.clone()
        said = torch.empty(len(unsaid), 0, dtype=torch.long, device=table.device)
        ended = torch.zeros(len(unsaid), dtype=torch.bool, device=table.device)
        while (left := len(self.slots) - said.shape[1]) and not ended.all():
            logits = self(reading, table, said)[1][:, -1]
            logits[:, V:].masked_fill_(~unsaid, -torch.inf)
            waiting = unsaid.sum(dim=1)
            logits[waiting > 0, end] = -torch.inf
            logits[waiting >= left, :V] = -torch.inf
            choice = logits.argmax(dim=-1)
            unsaid &= choice[:, None] != V + torch.arange(unsaid.shape[1], device=table.device)
            said, ended = torch.cat([said, choice[:, None]], dim=1), ended | (choice == end)
        return said

    def english(self, reading, table: torch.Tensor, placeholders: dict[str, torch.Tensor], end: int,
                pad: int) -> torch.Tensor:
        """The likeliest token ids [B, slots]: a pointer gives the token of its placeholder ({sign: id}), and the token
        end is followed by pad."""
        ids = self.choose(reading, table, end).cpu()
        for row, found in enumerate(reading.signs):
            for position, sign in found.items():
                ids[row, ids[row] == len(table) + position] = int(placeholders[sign])
        after_end = ((ids == end).cumsum(dim=1) - (ids == end).long()) > 0
        ids = F.pad(ids.masked_fill(after_end, pad), (0, len(self.slots) - ids.shape[1]), value=pad)
        return ids.to(table.device)


def targets(ids: torch.Tensor, reading, placeholders: dict[str, torch.Tensor], vocabulary: int) -> torch.Tensor:
    """What the aligner should choose [B, N]: the English token ids [B, N], but for the k-th token of a placeholder the
    position of its k-th sign in the source; -100 (left out) where the source has no such sign."""
    wanted = ids.clone()
    for row, found in enumerate(reading.signs):
        for sign, token in placeholders.items():
            sources = [position for position, name in found.items() if name == sign]
            for k, slot in enumerate((ids[row] == int(token)).nonzero()[:, 0].tolist()):
                wanted[row, slot] = vocabulary + sources[k] if k < len(sources) else -100
    return wanted


def save_aligner(aligner: Aligner, path: str | Path) -> None:
    """Write the aligner's sizes and its weights, packed (ldm.serialization.pack_weights)."""
    write_tensors(path, {"aligner": aligner.params, "state_dict": pack_weights(aligner.state_dict(), bits=6)})


def load_aligner(path: str | Path) -> Aligner:
    """The aligner of a file that save_aligner wrote. Raises UserError for any other file."""
    content = read_tensors(path)
    try:
        aligner = Aligner(**content["aligner"])
        aligner.load_state_dict({n: v.float() for n, v in unpack_weights(content["state_dict"]).items()})
    except (KeyError, TypeError, RuntimeError, AttributeError):
        raise UserError(f"{path}: not an aligner; improvement/v2/train_aligner.py writes them") from None
    return aligner
