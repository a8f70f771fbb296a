"""What v1 adds to the base: python -m evaluation.v1_suite --json report.json

Every held-out concept is learned twice, by train_new.py and by train_new_v1.py, with the same steps and seeds; what the
two words draw from the same noise is compared concept by concept.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from pathlib import Path

import numpy as np

from evaluation.measures import interval, print_report
from evaluation.suite import Suite, held_out_folders, suite_flags
from ldm.cli import CommandParser, run_command
from ldm.data.pictures import open_images
from ldm.progress import bar

MANAGER = "model.params.personalization_config.params"
# What is learned behind the text encoder: name -> overrides of the config.
FORMS: dict[str, tuple[str, ...]] = {
    "v1": (),
    "adapter_only": (f"{MANAGER}.n_layer=0",),
    "transformer_only": (f"{MANAGER}.bottleneck=0",),
    "without_preservation": ("model.params.preservation_weight=0",),
    "everywhere": (f"{MANAGER}.everywhere=true",),
    "everywhere_without_preservation": (f"{MANAGER}.everywhere=true", "model.params.preservation_weight=0"),
}
PLAIN = 16  # pictures of a word alone: more than in the report card, since differences are small
MEASURES = ("top1", "top5", "clip_i", "background", "both")
ORDINARY = ("a photo of a red apple", "a tiger on a green background", "a banana on a purple background",
            "two lemons on a black background", "a penguin and a hamburger")


def main(arguments: list[str] | None = None) -> None:
    """Print what v1 adds to the base."""
    parser = CommandParser(
        description="Compare words learned with v1 to words learned without.",
        example="python -m evaluation.v1_suite --json report.json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write {metric: {value, low, high, n}}")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["v1"], help="what to compare with the base")
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    folders = held_out_folders(opt)
    base, v1 = Suite(opt), Suite(opt, "v1")
    ordinary, other_noise = (base.judge.encode_images(base.draw(list(ORDINARY), seed)) for seed in (0, 100))
    differences: dict[str, list[float]] = {}
    for folder in bar(folders, desc="held-out concepts"):
        concept, training = base.by_slug[folder.name], open_images(folder)
        base.model.embedding_manager.load(base.learn(folder))
        without = base.measure("*", concept, training, PLAIN)
        for form in opt.forms:
            v1.model.embedding_manager.load(v1.learn(folder, FORMS[form], form))
            found = v1.measure("*", concept, training, PLAIN)
            for measure in MEASURES:
                difference = np.mean(found[measure]) - np.mean(without[measure])
                differences.setdefault(f"{form}_minus_base/{measure}", []).append(float(difference))
            # ordinary prompts: as near to the base's pictures as other noise would bring them?
            kept = base.judge.encode_images(v1.draw(list(ORDINARY)))
            for name, features in (("kept", kept), ("other_noise", other_noise)):
                near = (ordinary * features).sum(dim=1).mean()
                differences.setdefault(f"{form}_ordinary/{name}", []).append(float(near))
    print_report({name: interval(values) for name, values in differences.items()}, opt.json)


if __name__ == "__main__":
    run_command(main)
