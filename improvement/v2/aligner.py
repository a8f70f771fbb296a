"""v2's aligner: states of a prompt in any language to the English text encoder's tokens, learned words copied."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ldm.errors import UserError
from ldm.serialization import read_tensors, write_tensors


class Aligner(nn.Module):
    """Multilingual states -> a sequence in the English text encoder's token-embedding space.

    One query for each slot of the English prompt attends to the multilingual states (a non-autoregressive decoder, Gu
    et al., arXiv 1711.02281). What a slot says is a point in token-embedding space, read as the vocabulary's nearest
    word by cosine, or else a pointer to a learned word's sign in the source (pointer-generator, See et al., arXiv
    1704.04368), whose vector then enters unchanged.
    """

    def __init__(self, dim: int, token_dim: int, slots: int, width: int = 256, n_layer: int = 3, heads: int = 8,
                 dropout: float = 0.0):
        super().__init__()
        self.params = {"dim": dim, "token_dim": token_dim, "slots": slots, "width": width, "n_layer": n_layer,
                       "heads": heads}
        self.inward = nn.Linear(dim, width)
        self.queries = nn.Parameter(torch.randn(slots, width) * 0.02)
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

    def forward(self, reading, table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(points [B, N, token_dim] in token-embedding space, logits [B, N, V + M]) of a Reading of M tokens and the
        text encoder's token embeddings table [V, token_dim]; the last M logits are the pointer's."""
        memory = self.inward(reading.states)
        h = self.decoder(self.queries.expand(len(memory), -1, -1), memory, memory_key_padding_mask=~reading.mask)
        points = self.outward(h)
        words = self.sharpness.exp() * F.normalize(points, dim=-1) @ F.normalize(table, dim=-1).T
        pointers = self.query(h) @ self.key(memory).mT / memory.shape[-1] ** 0.5
        signs = torch.zeros_like(reading.mask)
        for row, found in enumerate(reading.signs):
            signs[row, list(found)] = True
        return points, torch.cat([words, pointers.masked_fill(~signs[:, None], -torch.inf)], dim=-1)

    def english(self, reading, table: torch.Tensor, placeholders: dict[str, torch.Tensor]) -> torch.Tensor:
        """The likeliest token ids [B, N]; a pointer gives the token of its placeholder ({sign: id})."""
        best = self(reading, table)[1].argmax(dim=-1).cpu()
        for row, found in enumerate(reading.signs):
            for position, sign in found.items():
                best[row, best[row] == len(table) + position] = int(placeholders[sign])
        return best.to(table.device)


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
    """Write the aligner's sizes and, in half precision, its weights."""
    weights = {n: v.half() for n, v in aligner.state_dict().items()}
    write_tensors(path, {"aligner": aligner.params, "state_dict": weights})


def load_aligner(path: str | Path) -> Aligner:
    """The aligner of a file that save_aligner wrote. Raises UserError for any other file."""
    content = read_tensors(path)
    try:
        aligner = Aligner(**content["aligner"])
        aligner.load_state_dict({n: v.float() for n, v in content["state_dict"].items()})
    except (KeyError, TypeError, RuntimeError, AttributeError):
        raise UserError(f"{path}: not an aligner; improvement/v2/train_aligner.py writes them") from None
    return aligner
