"""Which saved step of a word is the best: the one that shows the thing, and still does what the prompt says."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from PIL import Image

from ldm.data.chart import curves
from ldm.data.pictures import save_image, to_images
from ldm.files import write_bytes
from ldm.generate import sample_prompt
from ldm.schema import Count, Range, Trimmed
from ldm.util import quoted

if TYPE_CHECKING:
    from ldm.judge import CLIPEvaluator
    from ldm.models.diffusion.ddpm import LatentDiffusion

BEST, TABLE, CURVES = "embeddings_best.pt", "ranking.json", "ranking.png"
EDITS = ("a photo of a {} on the beach", "a photo of a {} in the snow", "an oil painting of a {}",
         "a {} made of glass", "a {} on top of a wooden table", "a photo of a cat next to a {}")
SEED = 7000  # of the first picture; the same noise for every step

SamplingSteps = Annotated[int, Range(1, 1000)]


@dataclass(frozen=True)
class Ranked:
    """A saved step: what its pictures of the word alone have in common with the training pictures (CLIP-I), and those
    of edit prompts with the prompt without the word (CLIP-T), both in the mean (Gal et al., arXiv 2208.01618, section
    5); and the mean of the two as shares of the run's highest."""

    step: int
    fidelity: float
    editability: float
    score: float = 0.0


class StepRanking:
    """Draws with the saved steps of a word, and lets a CLIP, the judge, say how well they do."""

    def __init__(
        self,
        judge: Trimmed,                             # folder, or name on the model hub
        edits: list[Trimmed] | None = None,         # prompts with {} for the word that ask for more than it; None: EDITS
        reconstruction: Trimmed = "a photo of a {}",  # the prompt for the word alone
        pictures: Count = 4,                        # of the word alone
        steps: Count = 6,                           # saved steps that are ranked, at most: the last, others evenly
        sampling_steps: SamplingSteps = 10,         # of DPM-Solver++
    ):
        self.name, self.reconstruction, self.pictures = judge, reconstruction, pictures
        self.edits = list(edits or EDITS)
        self.most, self.sampling_steps = steps, sampling_steps
        self._judge: CLIPEvaluator | None = None

    @property
    def judge(self) -> CLIPEvaluator:
        """The CLIP, read when it is first needed. Raises UserError where there is none."""
        if self._judge is None:
            from ldm.judge import CLIPEvaluator

            self._judge = CLIPEvaluator(self.name)
        return self._judge

    def measure(self, model: LatentDiffusion, word: str, training: list[Image.Image], step: int = 0) -> Ranked:
        """How well the word does that the model has now."""
        prompts = [self.reconstruction] * self.pictures + self.edits
        drawn = to_images(sample_prompt(model, [p.replace("{}", word) for p in prompts],
                                        [SEED + i for i in range(len(prompts))], "dpm_solver", self.sampling_steps))
        alone, edited = drawn[: self.pictures], drawn[self.pictures :]
        fidelity = self.judge.img_to_img_similarity(training, alone)
        editability = self.judge.txt_to_img_similarity([" ".join(p.replace("{}", " ").split()) for p in self.edits],
                                                       edited)
        return Ranked(step, float(fidelity.mean()), float(editability.mean()))

    def rank(self, model: LatentDiffusion, training: Sequence[np.ndarray], run: Path) -> list[Ranked]:
        """Rank the saved steps of a run, in the order of steps; write the best as BEST beside them, and TABLE and
        CURVES into the run folder. The model keeps the word that it has."""
        folder = run / "checkpoints"
        saved = saved_steps(folder)
        last = folder / "embeddings.pt"
        pictures = [Image.fromarray(pixels) for pixels in training]
        manager = model.embedding_manager
        word = manager.placeholder_strings[0]
        training_mode = model.training
        model.eval()
        try:
            measured = []
            for step in spread(list(saved), self.most):
                manager.load(saved[step])
                measured.append(self.measure(model, word, pictures, step))
        finally:
            manager.load(last)
            model.train(training_mode)
        ranked = with_scores(measured)
        best = best_of(ranked)
        write_bytes(folder / BEST, saved[best.step].read_bytes())
        table = {"best": best.step, "judge": self.name, "reconstruction": self.reconstruction, "edits": self.edits,
                 "steps": [asdict(row) for row in ranked]}
        write_bytes(run / TABLE, (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode())
        save_image(curves([r.step for r in ranked], {
            "fidelity: like the training pictures": [r.fidelity for r in ranked],
            "editability: does what else the prompt says": [r.editability for r in ranked]}, best.step), run / CURVES)
        return ranked

    def describe(self) -> str:
        """What ranks, for people."""
        return f"judged by {quoted(self.name)}: {self.pictures} pictures of the word alone, {len(self.edits)} of edits"


def saved_steps(folder: Path) -> dict[int, Path]:
    """{step: file} of the words that a run has saved, in the order of steps."""
    found = {int(match[1]): path for path in folder.glob("embeddings_gs-*.pt")
             if (match := re.fullmatch(r"embeddings_gs-(\d+)\.pt", path.name))}
    return dict(sorted(found.items()))


def spread(steps: list[int], most: int) -> list[int]:
    """At most so many of the steps, evenly, the last one among them."""
    count = min(most, len(steps))
    return [steps[(i + 1) * len(steps) // count - 1] for i in range(count)]


def with_scores(measured: Sequence[Ranked]) -> list[Ranked]:
    """The same with their scores."""
    highest = [max(max(values), 1e-6) for values in zip(*((m.fidelity, m.editability) for m in measured), strict=True)]
    return [Ranked(m.step, m.fidelity, m.editability,
                   (max(m.fidelity, 0) / highest[0] + max(m.editability, 0) / highest[1]) / 2) for m in measured]


def best_of(ranked: Sequence[Ranked]) -> Ranked:
    """The highest score; of equal ones the earliest, which has kept most of what words are."""
    return max(ranked, key=lambda row: (row.score, -row.step))
