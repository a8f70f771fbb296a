"""The loss on fixed pictures, captions, timesteps and noise: what differs between two of them is what was learned.

The loss of a training step is of a few timesteps drawn at random, and says little about the word. This one is what
early stopping (Voronov et al., arXiv 2302.04841, section 4) and the choice among several starts go by.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset, default_collate

from ldm.models.diffusion.ddpm import LatentDiffusion

AT_A_TIME = 32  # pictures that go through the network together


def fixed_batch(dataset: Dataset[Any], count: int) -> dict[str, Any]:
    """The first `count` items of a data set as a batch. The data sets of this project have the same item at a position
    whenever they are asked, and a run's seed decides which."""
    return default_collate([dataset[position] for position in range(count)])


@torch.no_grad()
def fixed_loss(model: LatentDiffusion, batch: dict[str, Any], seed: int = 0) -> float:
    """The mean loss on a batch: latents are the posteriors' means, timesteps are spread evenly over the range that is
    trained on, noise is of the seed. Chance goes on as if nothing had happened."""
    z = model.get_first_stage_encoding(model._posterior(batch).mode()).to(model.device)
    prompts, n = list(batch[model.cond_stage_key]), len(z)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(z.shape, generator=generator).to(z)
    first, end = model.timestep_range
    t = (first + (torch.arange(n) + 0.5) * (end - first) / n).long()[torch.randperm(n, generator=generator)]
    training = model.training
    model.eval()
    total, mask = 0.0, batch.get("mask")
    for part in (slice(start, start + AT_A_TIME) for start in range(0, n, AT_A_TIME)):
        cond = model.get_learned_conditioning(prompts[part])
        loss, _ = model.p_losses(z[part], cond, t[part].to(z.device), noise[part], None if mask is None else mask[part])
        total += float(loss) * len(z[part])
    model.train(training)
    return total / n
