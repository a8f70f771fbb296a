"""Pictures of one thing, with prompts that name it: what textual inversion learns from."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from ldm.data.pictures import describe_images, list_images, open_image, say_once
from ldm.errors import UserError
from ldm.modules.embedding_manager import PER_IMAGE_TOKENS
from ldm.schema import Count, Natural, Share, Trimmed, Width

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
    """Pictures of a thing with a prompt from a template (Gal et al., arXiv 2208.01618, section 4).

    Item p, for any p >= 0, is a function of the seed and p alone: {"image": float32 [size, size, 3] in [-1, 1],
    "caption": str, "key": the picture's name, a hash of its pixels as they are here, whether mirrored, "position": p}.
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
        flip_p: Share = 0.5,                  # chance of mirroring
        set: str = "train",                   # "train" or "val": the same pictures, other draws
        placeholder_token: Trimmed = "*",
        per_image_tokens: bool = False,       # sometimes name the single picture too
        center_crop: bool = False,            # cut to a square before resizing; otherwise the picture is squeezed
        mixing_prob: Share = 0.25,            # how often the single picture is named
        coarse_class_text: str | None = None, # goes before the placeholder: "dog" gives "a photo of a dog *"
        templates: list[str] | None = None,   # prompts with {} where the word goes; default: the class's own
        skip_bad_images: bool = False,        # leave unreadable files out instead of stopping
        seed: Natural = 0,
    ):
        super().__init__()
        if interpolation not in INTERPOLATIONS:
            raise UserError(f"interpolation {interpolation!r} is not one of {', '.join(INTERPOLATIONS)}")
        self.image_paths: list[Path] = []
        self.images: list[np.ndarray] = []
        paths, left_out = list_images(data_root)
        for path in paths:
            try:
                image = open_image(path)
            except UserError as error:
                if not skip_bad_images:
                    raise UserError(f"{error}, or go on without it: --skip_bad_images") from error
                say_once(f"left out: {error}")
                left_out.append(path.name)
                continue
            if center_crop:
                image = ImageOps.fit(image, (min(image.size),) * 2)
            if size is not None:
                image = image.resize((size, size), INTERPOLATIONS[interpolation])
            self.image_paths.append(path)
            self.images.append(np.asarray(image))
        if not self.images:
            raise UserError(f"{data_root}: none of its pictures can be read")
        self.num_images = len(self.images)
        self.summary = describe_images(data_root, self.num_images, left_out)
        if per_image_tokens and self.num_images > len(PER_IMAGE_TOKENS):
            raise UserError(f"per_image_tokens names at most {len(PER_IMAGE_TOKENS)} pictures; {data_root} has "
                            f"{self.num_images}")
        self.repeats, self.flip_p, self.seed = repeats, flip_p, f"{seed}/{set}"
        self.keys = [f"{path}|{hashlib.sha256(image.tobytes()).hexdigest()}|{image.shape}"
                     for path, image in zip(self.image_paths, self.images, strict=True)]
        self.per_image_tokens, self.mixing_prob = per_image_tokens, mixing_prob
        self.templates = tuple(templates or self.templates)
        if wrong := [t for t in self.templates if t.count("{}") != 1]:
            raise UserError(f"templates: {wrong[0]!r} must have {{}} once, where the word goes")
        self.word = f"{coarse_class_text} {placeholder_token}" if coarse_class_text else placeholder_token

    def __len__(self) -> int:
        return self.num_images * self.repeats

    def __getitem__(self, position: int) -> dict[str, Any]:
        rounds, place = divmod(position, self.num_images)
        order = random.Random(f"{self.seed}/round/{rounds}").sample(range(self.num_images), self.num_images)
        index, rng = order[place], random.Random(f"{self.seed}/item/{position}")
        flipped = rng.random() < self.flip_p
        if self.per_image_tokens and rng.random() < self.mixing_prob:
            caption = rng.choice(self.dual_templates).format(self.word, PER_IMAGE_TOKENS[index])
        else:
            caption = rng.choice(self.templates).replace("{}", self.word)
        pixels = self.images[index][:, ::-1] if flipped else self.images[index]
        return {
            "image": torch.from_numpy((pixels / 127.5 - 1.0).astype(np.float32)),
            "caption": caption,
            "key": self.keys[index] + "|mirrored" * flipped,
            "position": position,
        }
