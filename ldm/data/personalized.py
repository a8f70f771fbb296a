"""Pictures of one thing, with prompts that name it: what textual inversion learns from."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from ldm.data.captions import SUFFIXES, beside, names, read_captions, side_in
from ldm.data.framing import Fit, Picture, make_picture
from ldm.data.masks import Mask, find_masks, open_masked
from ldm.data.pictures import list_images, say_once
from ldm.data.summary import describe_set, note_unused
from ldm.errors import UserError
from ldm.modules.embedding_manager import PER_IMAGE_TOKENS, EmbeddingManager
from ldm.placeholders import STAR
from ldm.schema import Count, Natural, Share, Trimmed, Width
from ldm.util import quoted

# Neutral contexts for a thing: the word must come to mean the thing, not one way of showing it.
TEMPLATES = (
    "a photo of a {}", "a photo of one {}", "a photo of the {}", "a photo of my {}", "a good photo of a {}",
    "a close-up photo of a {}", "a cropped photo of the {}", "a bright photo of the {}", "a dark photo of a {}",
    "a clean photo of a {}", "a dirty photo of the {}", "a small photo of a {}", "a large photo of the {}",
    "a nice picture of a {}", "a cool picture of the {}", "a picture of a {}", "a picture of the {}",
    "a rendering of a {}", "a rendering of the {}", "a depiction of a {}", "an illustration of the {}",
    "an image of a {}", "an image of my {}",
)
# The same with a second word, for the single picture.
DUAL_TEMPLATES = (
    "a photo of a {} with {}", "a photo of the {} with {}", "a picture of a {} with {}", "a rendering of a {} with {}",
    "a close-up photo of the {} with {}", "an image of a {} with {}",
)
INTERPOLATIONS = {"linear": Image.Resampling.BILINEAR, "bilinear": Image.Resampling.BILINEAR,
                  "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


class PersonalizedBase(Dataset[dict[str, Any]]):
    """Pictures of a thing with a prompt from a template, or from a text file beside the picture (Gal et al., arXiv
    2208.01618, section 4).

    Item p, for any p >= 0, is a function of the seed and p alone: {"image": float32 [size, size, 3] in [-1, 1],
    "caption": str, "key": the picture's name, a hash of its pixels as they are here, what of it is shown, "position":
    p}, and where there are masks "mask": float32 [size, size] in [0, 1], what counts in the loss.
    Every round of `num_images` items shows each picture once.
    """

    templates: tuple[str, ...] = TEMPLATES
    dual_templates: tuple[str, ...] = DUAL_TEMPLATES

    def __init__(
        self,
        data_root: str,                       # folder with the pictures
        size: Width | None = None,            # side in pixels; None keeps each picture's own
        repeats: Count = 100,                 # rounds that make an epoch
        interpolation: Literal["linear", "bilinear", "bicubic", "lanczos"] = "bicubic",
        flip_p: Share = 0.5,                  # chance of mirroring; none where a sentence says left or right
        set: str = "train",                   # "train" or "val": the same pictures, other draws
        placeholder_token: Trimmed = "*",
        placeholder_tokens: list[Trimmed] | None = None,  # of a run that learns several words; captions say which
        per_image_tokens: bool = False,       # sometimes name the single picture too
        center_crop: bool = False,            # `fit` where there is none: crop, otherwise squeeze, as published
        mixing_prob: Share = 0.25,            # how often the single picture is named
        coarse_class_text: str | None = None, # goes before the placeholder: "dog" gives "a photo of a dog *"
        templates: list[str] | None = None,   # prompts with {} where the word goes; default: the class's own
        skip_bad_images: bool = False,        # leave unreadable files out instead of stopping
        seed: Natural = 0,
        fit: Fit | None = None,               # what becomes of a picture that is no square, given a size
        captions: bool = True,                # take the lines of a.txt, beside a.png, as its prompts
        mask: Mask | None = None,             # what tells the thing; None: files where there are any
    ):
        super().__init__()
        if interpolation not in INTERPOLATIONS:
            raise UserError(f"interpolation {interpolation!r} is not one of {', '.join(INTERPOLATIONS)}")
        self.size, self.repeats, self.seed = size, repeats, f"{seed}/{set}"
        published: Fit = "crop" if center_crop else "squeeze"
        self.fit = published if fit is None or size is None else fit
        self.per_image_tokens, self.mixing_prob = per_image_tokens, mixing_prob
        self.templates = tuple(templates or self.templates)
        if wrong := [t for t in self.templates if t.count("{}") != 1]:
            raise UserError(f"templates: {wrong[0]!r} must have {{}} once, where the word goes")
        self.word = f"{coarse_class_text} {placeholder_token}" if coarse_class_text else placeholder_token

        paths, left_out = list_images(data_root)
        masks = find_masks(paths, left_out) if mask in (None, "file") else {}
        if mask == "file" and not masks:
            raise UserError(f"{data_root}: none of its pictures has a mask (--mask file); a.mask.png is that of a.png")
        self.pictures = self._read(paths, left_out, masks, mask == "alpha", INTERPOLATIONS[interpolation],
                                   skip_bad_images)
        if not self.pictures:
            raise UserError(f"{data_root}: none of its pictures can be read")
        self.masked = any(picture.mask is not None for picture in self.pictures)
        if mask == "alpha" and not any(picture.cut_out for picture in self.pictures):
            raise UserError(f"{data_root}: none of its pictures is transparent anywhere (--mask alpha); cut the thing "
                            "out, or leave the flag out")
        self.image_paths = [picture.path for picture in self.pictures]
        self.keys = [picture.key for picture in self.pictures]
        self.num_images = len(self.pictures)
        if per_image_tokens and self.num_images > len(PER_IMAGE_TOKENS):
            raise UserError(f"per_image_tokens names at most {len(PER_IMAGE_TOKENS)} pictures; {data_root} has "
                            f"{self.num_images}")
        files = beside(self.image_paths, left_out, SUFFIXES) if captions else {}
        words = placeholder_tokens or [placeholder_token]
        written = [*words, STAR] if len(words) == 1 else words  # the only word is * too
        self.captions = {path: read_captions(file, written) for path, file in files.items()}
        self.sided = next((f"{where} says {side!r}" for where, sentence in self.sentences()
                           if (side := side_in(sentence))), None)
        for word in words:
            if word != placeholder_token and not any(names(sentence, word) for _, sentence in self.sentences()):
                say_once(f"warning: no caption in {data_root} names {word}, which will not be learned; write it into "
                         "text files beside its pictures")
        self.flip_p = 0.0 if self.sided else flip_p
        left_out = note_unused(left_out, [*files.values(), *masks.values()])
        self.summary = "\n".join(describe_set(self, data_root, left_out, mirrored=flip_p > 0))

    def _read(self, paths: list[Path], left_out: list[str], masks: dict[Path, Path], alpha: bool,
              resample: Image.Resampling, skip_bad_images: bool) -> list[Picture]:
        pictures = []
        for path in paths:
            try:
                image, mask = open_masked(path, masks.get(path), alpha)
                pictures.append(make_picture(path, image, mask, self.size, self.fit, resample))
            except UserError as error:
                if not skip_bad_images:
                    raise UserError(f"{error}, or go on without it: --skip_bad_images") from error
                say_once(f"left out: {error}")
                left_out.append(path.name)
        return pictures

    def sentences(self) -> Iterator[tuple[str, str]]:
        """(where it stands, sentence) of all captions and of the templates that are in use, {} where the word goes."""
        for path, lines in self.captions.items():
            yield from ((f"the caption of {path.name}", line) for line in lines)
        if len(self.captions) < self.num_images:
            yield from (("a template", template) for template in self.templates)

    def check_captions(self, manager: EmbeddingManager) -> None:
        """Raises UserError for a caption in which the text encoder does not come upon a learned word, as where it is
        too long; warns of one with words that it cannot read."""
        for path, lines in self.captions.items():
            for caption in (line.replace("{}", self.word) for line in lines):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of what is cut off it is said below, either way
                    named = manager.placeholders_in(caption)
                if not named:
                    raise UserError(f"the caption of {path}, {quoted(caption, 80)}: the text encoder does not come "
                                    "upon the word in it; shorten it, or leave captions out: --captions false")
                manager.warn_about([caption])

    @property
    def images(self) -> list[np.ndarray]:
        """The pictures as they are shown, uint8 [size, size, 3]; one of their views where there are several."""
        return [picture.view()[0] for picture in self.pictures]

    def __len__(self) -> int:
        return self.num_images * self.repeats

    def __getitem__(self, position: int) -> dict[str, Any]:
        rounds, place = divmod(position, self.num_images)
        order = random.Random(f"{self.seed}/round/{rounds}").sample(range(self.num_images), self.num_images)
        index, rng = order[place], random.Random(f"{self.seed}/item/{position}")
        picture = self.pictures[index]
        flipped = rng.random() < self.flip_p
        if lines := self.captions.get(picture.path):
            caption = rng.choice(lines).replace("{}", self.word)
        elif self.per_image_tokens and rng.random() < self.mixing_prob:
            caption = rng.choice(self.dual_templates).format(self.word, PER_IMAGE_TOKENS[index])
        else:
            caption = rng.choice(self.templates).replace("{}", self.word)
        pixels, mask, drawn = picture.view(rng)
        mirror = slice(None, None, -1 if flipped else 1)
        item = {
            "image": torch.from_numpy((pixels[:, mirror] / 127.5 - 1.0).astype(np.float32)),
            "caption": caption,
            "key": self.keys[index] + drawn + "|mirrored" * flipped,
            "position": position,
        }
        if self.masked:
            mask = np.full(pixels.shape[:2], 255, np.uint8) if mask is None else mask
            item["mask"] = torch.from_numpy((mask[:, mirror] / 255.0).astype(np.float32))
        return item
