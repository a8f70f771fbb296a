"""The word to start from, found by itself: the noun that tells the model most about the pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from ldm.errors import UserError
from ldm.fixed_loss import fixed_batch
from ldm.models.diffusion.ddpm import LatentDiffusion, weighted_mean
from ldm.modules.embedding_manager import EmbeddingManager, Layout
from ldm.modules.encoders.text_encoder import TextEncoder
from ldm.util import ROOT, resolve_folder

NOUNS = "nouns.txt"  # in a tokenizer's folder: one a line
COMMON = ROOT / "ldm/data" / NOUNS  # for vocabularies that have no list of their own
# (words that go on, draws that each of them has been tried on by then); the last ones are ranked by all draws
ROUNDS = ((1.0, 1), (0.25, 3), (0.06, 10), (0.016, 28))
FINALISTS = 10
AT_A_TIME = 64  # of words with a draw, through the networks together
GOLDEN = 0.6180339887  # multiples of it, modulo 1, are spread evenly however many there are


def candidates(embedder: TextEncoder) -> list[str]:
    """The nouns to choose from: those of the list that the text encoder reads as one piece."""
    own = Path(resolve_folder(getattr(embedder, "tokenizer_name", "bert-base-uncased"))) / NOUNS
    words = dict.fromkeys((own if own.is_file() else COMMON).read_text(encoding="utf-8").split())
    unknown, tokenizer = embedder.tknz_fn.unknown_id, embedder.tknz_fn
    return [word for word in words if len(ids := tokenizer.ids(word)) == 1 and ids[0] != unknown]


class Trial:
    """Pictures with captions, timesteps and noise, the same for every word that is tried on them.

    Draw i is item i of the data set at a timestep from the middle and the noisy end of the range that is trained on,
    where a prompt tells most about a picture.
    """

    def __init__(self, model: LatentDiffusion, dataset: Dataset[Any], placeholder: str, draws: int, seed: int = 0):
        """Raises UserError for captions without the placeholder."""
        self.model, manager = model, model.embedding_manager
        batch = fixed_batch(dataset, draws)
        z = model.get_first_stage_encoding(model._posterior(batch).mode())
        self.mask = batch["mask"].to(z.device) if "mask" in batch else None
        generator = torch.Generator().manual_seed(seed)
        self.noise = torch.randn(z.shape, generator=generator).to(z)
        first, end = model.timestep_range
        places = 0.3 + 0.65 * ((0.5 + torch.arange(draws) * GOLDEN) % 1)
        self.t = (first + places * (end - first)).long().to(z.device)
        self.x = model.q_sample(z, self.t, self.noise)
        ids = manager.placeholder_ids()
        self.tokens = model.cond_stage_model.tokenize(list(batch[model.cond_stage_key]), ids).cpu()
        own = {int(i) for name, i in ids.items() if name == placeholder or name not in manager.string_to_token_dict}
        self.place = torch.isin(self.tokens, torch.tensor(sorted(own)))
        if not self.place.any(dim=1).all():
            raise UserError(f"--init_word auto: a caption has no {placeholder} in it, so that no word can be tried in "
                            "its place; name a word")

    @torch.no_grad()
    def losses(self, ids: torch.Tensor, draws: range) -> torch.Tensor:
        """The weighted error of the noise prediction, [words, draws], with each of the words [W] of one token in the
        placeholder's place."""
        model, manager = self.model, self.model.embedding_manager
        pairs = torch.cartesian_prod(ids, torch.tensor(draws)).reshape(-1, 2)
        errors = []
        for words, row in (part.unbind(dim=1) for part in pairs.split(AT_A_TIME)):
            tokens = torch.where(self.place[row], words[:, None], self.tokens[row])
            layout = manager.layout(tokens)  # of other learned words
            features = model.cond_stage_model.features(tokens.to(self.x.device), partial(_inject, manager, layout))
            row = row.to(self.x.device)
            difference = model.apply_model(self.x[row], self.t[row], features) - self.noise[row]
            error = weighted_mean(difference.square(), None if self.mask is None else self.mask[row])
            errors.append(model.simple_weights[self.t[row]] * error)
        return torch.cat(errors).reshape(len(ids), len(draws)).cpu()


def _inject(manager: EmbeddingManager, layout: Layout, tokens: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
    return manager.inject(layout, embedded)


def find_words(model: LatentDiffusion, dataset: Dataset[Any], placeholder: str, seed: int = 0
               ) -> list[tuple[str, float]]:
    """The FINALISTS best words with their losses, best first, by successive halving (Jamieson & Talwalkar, arXiv
    1502.07943, section 3): all words on one draw, and the fewer there are left, the more draws.

    Words are compared on the same draws alone, so that the few differences that count are those of the words. Chance
    goes on as if nothing had happened.
    """
    words = candidates(model.cond_stage_model)
    ids = torch.tensor([model.cond_stage_model.tknz_fn.ids(word)[0] for word in words])
    trial = Trial(model, dataset, placeholder, ROUNDS[-1][1], seed)
    left, losses, done = torch.arange(len(words)), torch.empty(len(words), 0), 0
    for share, draws in ROUNDS:
        count = min(len(left), max(FINALISTS, round(share * len(words))))
        best = losses.mean(dim=1).argsort()[:count] if done else torch.arange(count)
        left, losses = left[best], losses[best]
        losses = torch.cat([losses, trial.losses(ids[left], range(done, draws))], dim=1)
        done = draws
    mean = losses.mean(dim=1)
    return [(words[left[i]], float(mean[i])) for i in mean.argsort()[:FINALISTS].tolist()]
