"""Does v2 draw from Korean what the base draws from English: python -m evaluation.v2_suite --json report.json

Four comparisons, all with the same noise on both sides: words the model was trained on (ko_over_en/), words learned by
train_new.py with English prompts (learned_ko_over_en/), sentences that the aligner was trained on and sentences that it
was not (unseen_over_seen/), and the text features of a thousand such sentences (pairs/). And what is made of prompts as
people type them (typed/, evaluation/prompts), which nothing was trained on or chosen by.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import random
from argparse import Namespace
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evaluation.measures import background, interval, print_report, ratio
from evaluation.prompts import FOLDER, judge, names_it, read_prompts, read_rows
from evaluation.suite import Suite, held_out_folders, suite_flags
from improvement.v2.sentences import PAIRS, Sentence, random_noun, random_sentence, random_sentences, read_pairs, unseen
from ldm.cli import CommandParser, run_command
from ldm.data.emoji import COLOURS, with_article
from ldm.data.pictures import open_images
from ldm.progress import bar
from load import check_files

# Of learned words, Korean and English; {c} is a background colour.
ON_COLOUR = (
    ("{c} 배경 위의 *", "a * on {c} background"), ("{c} 배경의 * 사진", "a photo of a * on {c} background"),
    ("{c} 배경에 *가 있다", "a * on {c} background"), ("{c} 배경의 * 그림", "a picture of a * on {c} background"),
    ("{c} 배경의 *", "a * on {c} background"), ("{c} 배경의 * 스케치", "a drawing of a * on {c} background"),
    ("*가 있는 {c} 배경", "{c} background with a *"), ("{c} 배경 앞의 *", "a * in front of {c} background"),
)
IN_A_SENTENCE = (
    ("* 사진", "a photo of a *"), ("*의 사진", "a photo of a *"), ("* 그림", "a picture of a *"), ("*가 있다", "a *"),
    ("*의 그림", "a picture of a *"), ("* 이미지", "an image of a *"), ("* 렌더링", "a rendering of a *"), ("*", "a *"),
    ("큰 *의 사진", "a photo of a big *"), ("큰 * 그림", "a picture of a big *"), ("큰 *가 있다", "a big *"),
    ("*의 좋은 사진", "a good photo of a *"), ("* 스케치", "a drawing of a *"), ("* 이모지", "an emoji of a *"),
)


def one_thing(picture: Image.Image, count: int) -> Image.Image:
    """The first of count things: their cells lie as in the emoji world, two in a row."""
    w, h = picture.size
    box = {1: (0, 0, w, h), 2: (0, h // 4, w // 2, h - h // 4)}.get(count, (0, 0, w // 2, h // 2))
    return picture.crop(box).resize((w, h), Image.Resampling.BICUBIC)


class Comparison:
    """The base and v2 over the same weights, and the Korean sentences that the aligner was trained on."""

    def __init__(self, opt: Namespace) -> None:
        self.opt = opt
        self.base, self.v2 = Suite(opt), Suite(opt, "v2")
        self.trained_on = {ko for ko, _ in read_pairs(opt.pairs)}
        self.concepts = [c for c in self.base.concepts if not c["held_out"]]
        self.lexicon = [(c["name_ko"], c["name"]) for c in self.base.concepts]

    def new(self, ko: str) -> bool:
        """Whether the aligner was never trained on a sentence."""
        return ko not in self.trained_on

    def seen_words(self, count: int) -> dict[str, Any]:
        """Things the model knows, on a colour: Korean beside English."""
        rng = random.Random(0)
        concepts = rng.sample(self.concepts, count)
        colours = [rng.choice(list(COLOURS)) for _ in concepts]
        targets = [self.base.index[c["name"]] for c in concepts]
        english = self.base.draw([f"{with_article(c['name'])} on {with_article(k)} background"
                                  for c, k in zip(concepts, colours, strict=True)])
        korean = self.v2.draw([f"{COLOURS[k][1]} 배경 위의 {c['name_ko']}"
                               for c, k in zip(concepts, colours, strict=True)])
        ko_top, en_top = (self.base.ranks(pictures, targets) < 1 for pictures in (korean, english))
        ko_ground, en_ground = ([background(p) == k for p, k in zip(pictures, colours, strict=True)]
                                for pictures in (korean, english))
        return {"ko_over_en/top1": ratio(ko_top, en_top), "ko_over_en/background": ratio(ko_ground, en_ground),
                "ko/top1": interval(ko_top), "en/top1": interval(en_top)}

    def learned_words(self, folders: list[Path]) -> dict[str, Any]:
        """Words learned with English prompts by the base, in Korean sentences that the aligner was not trained on."""
        rows: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ("top1", "clip_i", "background")}
        for folder in bar(folders, desc="learned words"):
            concept, rng = self.base.by_slug[folder.name], random.Random(folder.name)
            training = open_images(folder)
            file = self.base.learn(folder)
            plain = ([pair for pair in IN_A_SENTENCE if self.new(pair[0])] * 4)[:4]
            edits = [(ko.format(c=COLOURS[k][1]), en.format(c=with_article(k)), k) for k in COLOURS
                     for ko, en in ON_COLOUR if self.new(ko.format(c=COLOURS[k][1]))]
            edits = rng.sample(edits, min(4, len(edits)))
            for side, (suite, language) in enumerate(((self.v2, 0), (self.base, 1))):
                suite.model.embedding_manager.load(file)
                pictures = suite.draw([pair[language] for pair in plain])
                rank = suite.ranks(pictures, [self.base.index[concept["name"]]] * len(pictures))
                rows["top1"][side].append(float(np.mean(rank < 1)))
                rows["clip_i"][side].append(suite.judge.img_to_img_similarity(training, pictures).mean().item())
                pictures = suite.draw([edit[language] for edit in edits])
                right = [background(p) == edit[2] for p, edit in zip(pictures, edits, strict=True)]
                rows["background"][side].append(float(np.mean(right)))
        return {f"learned_ko_over_en/{name}": ratio(*sides) for name, sides in rows.items()}

    def about_one_thing(self, seed: int, keep: Callable[[str], bool]) -> dict[tuple[str, int], Sentence]:
        """{(thing, how many): a sentence} about one kind of thing in its own colours on a named background, for which
        keep(ko) is true."""
        found: dict[tuple[str, int], Sentence] = {}
        for s in islice(random_sentences(random.Random(seed), self.lexicon), 30_000):
            if len(s.nouns) == 1 and s.colour and not s.tint and keep(s.ko):
                found.setdefault((s.nouns[0], s.number), s)
        return found

    def compositions(self, count: int) -> dict[str, Any]:
        """Thing x colour x number x template that the aligner was not trained on, over others that it was, of the same
        things in the same numbers."""
        trained = self.about_one_thing(0, self.trained_on.__contains__)  # the seed that pairs.csv was made with
        untrained = self.about_one_thing(1, lambda ko: unseen(ko) and self.new(ko))
        known = {c["name"] for c in self.concepts}
        both = sorted(key for key in trained.keys() & untrained.keys() if key[0] in known)
        both = random.Random(1).sample(both, min(count, len(both)))
        right = []
        for sentences in ([found[key] for key in both] for found in (untrained, trained)):
            pictures = [one_thing(p, s.number) for p, s in
                        zip(self.v2.draw([s.ko for s in sentences]), sentences, strict=True)]
            right.append(self.v2.ranks(pictures, [self.base.index[s.nouns[0]] for s in sentences]) < 1)
        of_unseen, of_seen = right
        return {"unseen_over_seen/top1": ratio(of_unseen, of_seen), "unseen/top1": interval(of_unseen),
                "seen/top1": interval(of_seen)}

    def sentences(self, count: int) -> dict[str, Any]:
        """Is a Korean sentence's conditioning nearest to that of its own English sentence, of as many as there are?"""
        import torch
        import torch.nn.functional as F

        rng = random.Random(2)
        pairs: dict[str, str] = {}
        while len(pairs) < count:
            drawn = random_sentence(rng, self.lexicon, random_noun(rng, self.lexicon))
            if unseen(drawn.ko) and "&" not in drawn.nouns:  # one learned word is loaded, *
                pairs.setdefault(drawn.en, drawn.ko)
        with torch.no_grad():
            parts = [[suite.model.get_learned_conditioning(texts[i : i + 50]).flatten(1) for i in range(0, count, 50)]
                     for suite, texts in ((self.v2, list(pairs.values())), (self.base, list(pairs)))]
            features = [F.normalize(torch.cat(part), dim=1) for part in parts]
        nearest = (features[0] @ features[1].T).argmax(dim=1)
        exact = (features[0] - features[1]).abs().amax(dim=1) < 1e-4
        return {"pairs/top1": interval(nearest == torch.arange(count)), "pairs/exact": interval(exact)}

    def typed(self) -> dict[str, Any]:
        """Prompts as people type them, in each language that there are some of; and whether what the world does not
        have is named, in prompts that ask for it and in others."""
        encoder: Any = self.v2.model.cond_stage_model
        report: dict[str, Any] = {}
        placeholders = {"*": encoder.tknz_fn.ids("*")[0]}
        for file in sorted(FOLDER.glob("??_unseen.tsv")):
            language = file.stem.removesuffix("_unseen")
            prompts = read_prompts(file.stem)
            readings = encoder.readings([prompt.text for prompt in prompts], placeholders)
            judged = [judge(reading.english, prompt) for reading, prompt in zip(readings, prompts, strict=True)]
            for kind in ("exact", "words", "runs_on"):
                report[f"typed/{language}/{kind}"] = interval([getattr(j, kind) for j in judged])
            report[f"typed/{language}/false_alarms"] = interval(
                [bool(reading.gaps) for reading, j in zip(readings, judged, strict=True) if j.exact])
        polysemous = read_prompts("ko_polysemy")
        readings = encoder.readings([prompt.text for prompt in polysemous], placeholders)
        report["typed/ko/polysemy"] = interval([judge(r.english, p).exact
                                                for r, p in zip(readings, polysemous, strict=True)])
        strange = read_rows("unknown_unseen")
        readings = encoder.readings([row["prompt"] for row in strange], placeholders)
        report["unknown/named"] = interval([names_it(r.gaps, row["not understood"])
                                            for r, row in zip(readings, strange, strict=True)])
        return report


def main(arguments: list[str] | None = None) -> None:
    """Print how Korean prompts compare with English ones."""
    parser = CommandParser(
        description="Compare Korean prompts through v2 with English prompts.",
        example="python -m evaluation.v2_suite --json report.json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write {metric: {value, low, high, n}}")
    parser.add_argument("--pairs", type=Path, default=PAIRS, metavar="CSV", help="what the aligner was trained on")
    opt = suite_flags(parser, "outputs/emoji_suite").parse_args(arguments)
    check_files(opt.pairs)
    folders = held_out_folders(opt)
    comparison = Comparison(opt)
    report = comparison.sentences(50 if opt.quick else 1000)
    report |= comparison.typed()
    report |= comparison.seen_words(16 if opt.quick else 300)
    report |= comparison.compositions(8 if opt.quick else 400)
    report |= comparison.learned_words(folders)
    print_report(report, opt.json)


if __name__ == "__main__":
    run_command(main)
