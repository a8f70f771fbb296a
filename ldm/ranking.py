"""Which saved step of a word is the best: the one that shows the thing, and still does what the prompt says."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from ldm.data.chart import curves
from ldm.data.pictures import save_image, to_image, to_images
from ldm.errors import UserError
from ldm.files import write_bytes
from ldm.generate import sample_prompt
from ldm.progress import counted, say
from ldm.prompts import parse_prompt
from ldm.schema import Count, Range, Trimmed
from ldm.targets import get_obj_from_str
from ldm.util import quoted

if TYPE_CHECKING:
    from ldm.judge import CLIPEvaluator
    from ldm.models.diffusion.ddpm import LatentDiffusion

BEST, TABLE, CURVES = "embeddings_best.pt", "ranking.json", "ranking.png"
EDITS = ("a photo of a {} on the beach", "a photo of a {} in the snow", "an oil painting of a {}",
         "a {} made of glass", "a {} on top of a wooden table", "a photo of a cat next to a {}")
SEED = 7000  # of the first picture; the same noise for every step

SamplingSteps = Annotated[int, Range(1, 1000)]


class Measured(NamedTuple):
    """What the judge says of a saved step: how much each picture of the word alone has in common with the training
    pictures (CLIP-I), and each picture of an edit prompt with that prompt without the word (CLIP-T; Gal et al., arXiv
    2208.01618, section 5)."""

    step: int
    fidelity: list[float]
    editability: list[float]


class Ranked(NamedTuple):
    """A saved step: its mean fidelity and editability, its score, which is the mean of the two as shares of the run's
    highest, and the standard error of the score's difference to the last step's."""

    step: int
    fidelity: float
    editability: float
    score: float
    error: float


class StepRanking(pl.Callback):
    """Draws with the saved steps of a word, and lets a CLIP, the judge, say how well they do.

    It stands among a config's callbacks, and acts when training is over and all is saved: `rank` is called then.
    """

    def __init__(
        self,
        judge: Trimmed,                             # folder, or name on the model hub
        edits: list[Trimmed] | None = None,         # prompts with {} for the word, and more; None: EDITS
        reconstruction: Trimmed = "a photo of a {}",  # the prompt for the word alone
        pictures: Count = 4,                        # of the word alone
        steps: Count = 6,                           # saved steps that are ranked, at most: the last, others evenly
        sampling_steps: SamplingSteps = 8,          # of DPM-Solver++
        disabled: bool = False,
    ):
        super().__init__()
        self.disabled = disabled
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

    def measure(self, model: LatentDiffusion, word: str, training: list[Image.Image], step: int = 0) -> Measured:
        """How well the word does that the model has now."""
        prompts = [self.reconstruction] * self.pictures + self.edits
        drawn = to_images(sample_prompt(model, [p.replace("{}", word) for p in prompts],
                                        [SEED + i for i in range(len(prompts))], "dpm_solver", self.sampling_steps))
        alone, edited = drawn[: self.pictures], drawn[self.pictures :]
        fidelity = self.judge.img_to_img_similarity(training, alone)
        texts = [" ".join(parse_prompt(p.replace("{}", " ")).text.split()) for p in self.edits]
        editability = self.judge.txt_to_img_similarity(texts, edited)
        return Measured(step, fidelity.tolist(), editability.tolist())

    def check(self) -> None:
        """Raises UserError for edit prompts without {} and where the judge cannot be read, before hours are spent."""
        for prompt in (self.reconstruction, *self.edits):
            if "{}" not in prompt:
                raise UserError(f"ranking: the prompt {quoted(prompt)} has no {{}} in it, where the word goes")
        assert self.judge

    def rank(self, model: LatentDiffusion, dataset: Any, run: Path) -> list[Ranked]:
        """Rank the saved steps of a run, in the order of steps, and say so on stderr; write the best as BEST beside
        them, and TABLE and CURVES into the run folder. The model keeps the word that it has."""
        started = time.monotonic()
        folder = run / "checkpoints"
        saved = saved_steps(folder)
        training = training_pictures(dataset, model.first_stage_key)
        manager, was_training = model.embedding_manager, model.training
        word = manager.placeholder_strings[0]
        self.judge.model.to(model.device)
        model.eval()
        measured = []
        try:
            for step in spread(list(saved), self.most):
                manager.load(saved[step])
                measured.append(self.measure(model, word, training, step))
        finally:
            manager.load(folder / "embeddings.pt")
            model.train(was_training)
        ranked = rank_all(measured)
        best = best_of(ranked)
        write_bytes(folder / BEST, saved[best.step].read_bytes())
        table = {"best": best.step, "judge": self.name, "reconstruction": self.reconstruction, "edits": self.edits,
                 "steps": [row._asdict() for row in ranked]}
        write_bytes(run / TABLE, (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode())
        save_image(curves([r.step for r in ranked], {
            "fidelity: like the training pictures": [r.fidelity for r in ranked],
            "editability: does what else the prompt says": [r.editability for r in ranked]}, best.step), run / CURVES)
        say(f"{counted(len(ranked), 'saved step')}, judged by {self.name} on {self.pictures} of the "
            f"word alone and {len(self.edits)} of edits, in {time.monotonic() - started:.0f} s:\n"
            f"{describe(ranked, best)}\n"
            f"{folder / BEST} is step {best.step}; the curves: {run / CURVES}")
        return ranked


def ranks(trainer: pl.Trainer) -> StepRanking | None:
    """What ranks the saved steps of a trainer's run, if anything does."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((c for c in callbacks if isinstance(c, StepRanking) and not c.disabled), None)


def set_judge(config: DictConfig, judge: str) -> None:
    """Let a training config name the CLIP that ranks, "off" for none, with the prompts that it has."""
    callbacks = OmegaConf.select(config, "lightning.callbacks") or {}
    names = [name for name, callback in callbacks.items() if get_obj_from_str(callback.target) is StepRanking]
    for name in names or ([] if judge == "off" else ["ranking"]):
        params = {"disabled": True} if judge == "off" else {"disabled": False, "judge": judge}
        OmegaConf.update(config, f"lightning.callbacks.{name}", {"target": "ldm.ranking.StepRanking", "params": params},
                         force_add=True)


def training_pictures(dataset: Any, key: str = "image") -> list[Image.Image]:
    """What a data set shows in its first round, at most 16 pictures."""
    count = min(getattr(dataset, "num_images", 16), len(dataset), 16)
    return [to_image(dataset[position][key].permute(2, 0, 1)) for position in range(count)]


def describe(ranked: Sequence[Ranked], best: Ranked) -> str:
    """The ranking as a table."""
    rows = [f"{row.step:8,}  {row.fidelity:8.3f}  {row.editability:11.3f}  {row.score:5.3f}  {row.error:5.3f}"
            + "  best" * (row is best) for row in ranked]
    return "\n".join(["    step  fidelity  editability  score  error", *rows])


def saved_steps(folder: Path) -> dict[int, Path]:
    """{step: file} of the words that a run has saved, in the order of steps."""
    found = {int(match[1]): path for path in folder.glob("embeddings_gs-*.pt")
             if (match := re.fullmatch(r"embeddings_gs-(\d+)\.pt", path.name))}
    return dict(sorted(found.items()))


def spread(steps: list[int], most: int) -> list[int]:
    """At most so many of the steps, evenly, the last one among them."""
    count = min(most, len(steps))
    return [steps[(i + 1) * len(steps) // count - 1] for i in range(count)]


def rank_all(measured: Sequence[Measured]) -> list[Ranked]:
    """The same with their scores. Pictures of one place in the lists have one noise at all steps: they are compared in
    pairs."""
    parts = [np.array(values) for values in ([m.fidelity for m in measured], [m.editability for m in measured])]
    shares = [part / max(part.mean(axis=1).max(), 1e-6) / 2 for part in parts]
    scores = np.sum([np.maximum(share.mean(axis=1), 0) for share in shares], axis=0)
    differences = [share - share[-1] for share in shares]  # [steps, pictures]
    errors = np.sqrt(np.sum([d.var(axis=1, ddof=min(1, d.shape[1] - 1)) / d.shape[1] for d in differences], axis=0))
    return [Ranked(m.step, float(np.mean(m.fidelity)), float(np.mean(m.editability)), float(score), float(error))
            for m, score, error in zip(measured, scores, errors, strict=True)]


def best_of(ranked: Sequence[Ranked]) -> Ranked:
    """The last step, unless others are better by more than a standard error: a few pictures tell no more. Of such, the
    one of which that is most certain."""
    return max(reversed(ranked), key=lambda row: row.score - row.error)
