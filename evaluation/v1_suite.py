"""What v1 adds to the base: python -m evaluation.v1_suite --json report.json

Every held-out concept is learned twice, by train_new.py and by train_new_v1.py, with the same steps and seeds; what the
two words draw from the same noise is compared concept by concept. --values keeps what was measured: the next call goes
on there.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from argparse import Namespace
from typing import TYPE_CHECKING

from evaluation.paired import Means, measure_word, pair_flags, run_pairs
from evaluation.suite import Suite, held_out_folders, suite_flags
from ldm.cli import CommandParser, run_command
from load import ROOT, load_config

if TYPE_CHECKING:
    from ldm.models.diffusion.ddpm import LatentDiffusion

MANAGER = "model.params.personalization_config.params"
# What is learned behind the text encoder: name -> overrides of the config.
FORMS: dict[str, tuple[str, ...]] = {
    "v1": (),
    "adapter_only": (f"{MANAGER}.n_layer=0",),
    "transformer_only": (f"{MANAGER}.bottleneck=0",),
    "everywhere": (f"{MANAGER}.everywhere=true",),
    "everywhere_without_preservation": (f"{MANAGER}.everywhere=true", "model.params.preservation_weight=0"),
}
BASE = "base"
GATE = ROOT / "evaluation/prompts/gate.yaml"
ORDINARY = ("a photo of a red apple", "a tiger on a green background", "a banana on a purple background",
            "two lemons on a black background", "a penguin and a hamburger")


def measure_gate(model: LatentDiffusion) -> dict[str, float]:
    """{kind: share of the prompts of this kind in GATE that the gate of the word reads as it should}; nothing for a
    word without a gate."""
    import torch

    from improvement.v1.post_BERT import PostBERTManager

    encoder, manager, found = model.cond_stage_model, model.embedding_manager, {}
    if isinstance(manager, PostBERTManager) and manager.gate is not None:
        for kind, prompts in load_config(GATE).items():
            layout = manager.layout(encoder.tokenize(list(prompts), manager.placeholder_ids()))
            with torch.no_grad(), manager.read_as("base"):
                alone = manager.alone_rows(manager.read(layout), layout)
            found[f"gate_{kind!s}"] = float((alone == (kind == "alone")).float().mean())
    return found


def measure_concept(opt: Namespace, name: str, ways: list[str]) -> dict[str, Means]:
    """Learn one concept by the base or with each of these forms, and measure what it draws; for a form, also how near
    its pictures of ordinary prompts come to the base's, and how near other noise would bring the base's own, and how
    many prompts of each kind the gate reads as it should."""
    opt = Namespace(**vars(opt) | {"concepts": [name]})
    base, v1 = Suite(opt), Suite(opt, "v1")
    (folder,) = held_out_folders(opt)
    found = {}
    if BASE in ways:
        base.model.embedding_manager.load(base.learn(folder))
        found[BASE] = measure_word(base, folder)
    ordinary, other_noise = (base.judge.encode_images(base.draw(list(ORDINARY), seed)) for seed in (0, 100))
    for form in (way for way in ways if way != BASE):
        v1.model.embedding_manager.load(v1.learn(folder, FORMS[form], form))
        kept = base.judge.encode_images(v1.draw(list(ORDINARY)))
        found[form] = measure_word(v1, folder) | measure_gate(v1.model) | {
            measure: float((ordinary * features).sum(dim=1).mean())
            for measure, features in (("ordinary", kept), ("ordinary_other_noise", other_noise))}
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print what v1 adds to the base."""
    parser = CommandParser(
        description="Compare words learned with v1 to words learned without.",
        example="python -m evaluation.v1_suite --json report.json")
    pair_flags(parser)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["v1"], help="what to compare with the base")
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    run_pairs(opt, measure_concept, BASE, opt.forms)


if __name__ == "__main__":
    run_command(main)
