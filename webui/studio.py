"""The model, once for everybody: what draws pictures and finds words to start from, one thing at a time."""

from __future__ import annotations

import argparse
import copy
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

import txt2img
from ldm.errors import UserError
from ldm.placeholders import split_prompt
from load import load_model, load_words, text_encoder
from webui.said import listening
from webui.shelf import Word, names_of

if TYPE_CHECKING:
    from ldm.models.diffusion.ddpm import LatentDiffusion
    from ldm.modules.encoders.text_encoder import TextEncoder

MOST_PICTURES = 16  # of one press of the button
MOST_STEPS = 250
MOST_AREA = 16      # times the model's own size, in pixels
LARGE = 2**30       # bytes of a checkpoint of which only one model is held


class Cancelled(Exception):
    """Somebody has had enough of a drawing."""


class Order(NamedTuple):
    """What to draw, as the form has it."""

    prompt: str
    negative_prompt: str = ""
    language: str = "auto"       # auto, en: as it stands, any: read by v2
    sampler: str = "ddim"
    steps: int = 50
    scale: float | None = None   # None: the model's own
    seed: int = 42
    width: int | None = None     # None: the model's own
    height: int | None = None
    pictures: int = 4
    strength: float = 1.0
    eta: float = 0.0


class Drawn(NamedTuple):
    """A picture, its seed, and the text chunk that says what it was made with."""

    image: Image.Image
    seed: int
    info: PngInfo


class Studio:
    """The models of a checkpoint, one for each variant that was asked for."""

    def __init__(self, opt: argparse.Namespace):
        self.opt = opt
        self.lock = threading.Lock()
        self._models: dict[str | None, LatentDiffusion] = {}
        self._managers: dict[str | None, Any] = {}
        self._encoder: TextEncoder | None = None

    @property
    def encoder(self) -> TextEncoder:
        """The text encoder, for its vocabulary and its table of token embeddings."""
        if self._encoder is None:
            self._encoder = text_encoder(self.opt)
        return self._encoder

    @property
    def width(self) -> int:
        """How wide the vectors of words are."""
        return self.encoder.token_embeddings.embedding_dim

    def model(self, variant: str | None) -> LatentDiffusion:
        """The model as a variant makes it, without learned words; for whoever holds the lock. Raises UserError."""
        from ldm.generate import draw_only

        if variant not in self._models:
            path = Path(self.opt.ckpt_path)
            if path.is_dir() or os.path.getsize(path) > LARGE:
                self._models, self._managers = {}, {}
            opt = argparse.Namespace(**{**vars(self.opt), "variant": variant, "embedding_path": None})
            model = load_model(opt)
            draw_only(model)
            self._models[variant], self._managers[variant] = model, model.embedding_manager
        model, manager = self._models[variant], self._managers[variant]
        # what one drawing does to the words is gone at the next
        model.embedding_manager = copy.deepcopy(manager, {id(manager.embedder): manager.embedder})
        return model

    def variant_for(self, order: Order, words: Sequence[Word]) -> str | None:
        """What the model has to be: v1 for a word with an adapter, v2 for prompts in other languages; unless the page
        was started with a variant."""
        adapter = next((word for word in words if word.adapter), None)
        if adapter and order.language == "any":
            raise UserError(f"{adapter.name} has an adapter (v1), and with one prompts are read in English only")
        if adapter or self.opt.variant:
            return adapter.variant if adapter else self.opt.variant
        texts = [part.text for text in (order.prompt, order.negative_prompt)
                 for part in split_prompt(text, names_of(words), True) if part.placeholder is None]
        foreign = any(not self.encoder.reads(word) for word in " ".join(texts).split()
                      if any(letter.isalpha() and not letter.isascii() for letter in word))
        return "v2" if order.language == "any" or order.language == "auto" and foreign else None

    @staticmethod
    def words_in(order: Order, words: Sequence[Word]) -> list[Word]:
        """The words that a prompt or the negative prompt uses."""
        used = {part.placeholder for text in (order.prompt, order.negative_prompt)
                for part in split_prompt(text, names_of(words), True)}
        return [word for word in words if used & set(word.names)]

    def flags(self, order: Order, words: Sequence[Word], variant: str | None) -> argparse.Namespace:
        """The flags of txt2img.py that draw the same. Raises UserError for a value that they cannot have."""
        if not 1 <= order.pictures <= MOST_PICTURES:
            raise UserError(f"{order.pictures} pictures: draw from 1 to {MOST_PICTURES} at once")
        if not 1 <= order.steps <= MOST_STEPS:
            raise UserError(f"{order.steps} steps: take from 1 to {MOST_STEPS}")
        arguments = [f"--prompt={order.prompt}", f"--negative_prompt={order.negative_prompt}", "--ckpt_path",
                     str(self.opt.ckpt_path), "--n_samples", "1", "--n_iter", str(order.pictures), "--seed",
                     str(order.seed), "--ddim_steps", str(order.steps)]
        for flag, value in (("--config", self.opt.config), ("--variant", variant), ("--gpus", self.opt.gpus),
                            ("--H", order.height), ("--W", order.width)):
            arguments += [] if value is None else [flag, str(value)]
        arguments += ["--tf32"] if self.opt.tf32 else []
        arguments += [] if order.scale is None else [f"--scale={order.scale}"]
        arguments += [f"--{order.sampler}"] if order.sampler != "ddim" else [f"--ddim_eta={order.eta}"]
        if words:
            arguments += ["--embedding_path", *(os.path.relpath(word.file) for word in words)]
            if any(name != own for word in words for name, own in zip(word.names, word.own, strict=True)):
                arguments += ["--placeholder_string", *names_of(words)]
            arguments += [f"--strength={order.strength}"] if order.strength != 1 else []
        opt = txt2img.get_parser().parse_args(arguments)
        txt2img.check_options(opt)
        return opt

    def draw(self, order: Order, shelf: Sequence[Word], step: Callable[[int, int], None], said: list[str]
             ) -> Iterator[Drawn]:
        """Draw one picture after another. `step` is called after each step of each with the number of steps done and
        that of all, and may raise Cancelled; what is to be said of the prompt is added to `said`, before the first.

        Raises UserError as txt2img.py does. Others wait meanwhile.
        """
        from ldm.data.pictures import to_image

        words = self.words_in(order, shelf)
        opt = self.flags(order, words, self.variant_for(order, words))
        with self.turn(lambda: step(0, order.pictures * order.steps)):
            with listening() as lines:
                model = self._with_words(opt, words)
            said += [line for line in lines if line.startswith("warning: ")]  # which words there are, the page knows
            with listening() as lines:
                setting = txt2img.set_up(opt, model, opt.prompt)
            said += lines
            for i in range(order.pictures):
                def one_more(n: int, done: int = i * order.steps) -> None:
                    step(done + n + 1, order.pictures * order.steps)

                ((image, info),) = txt2img.draw_batch(opt, model, setting, [order.prompt], [order.seed + i],
                                                      callback=one_more)
                yield Drawn(to_image(image), order.seed + i, info)

    def _with_words(self, opt: argparse.Namespace, words: Sequence[Word]) -> LatentDiffusion:
        model = self.model(opt.variant)
        if words:
            load_words(model, opt.embedding_path, names_of(words))
        size = model.image_size * model.first_stage_model.downsampling
        if (opt.H or size) * (opt.W or size) > MOST_AREA * size * size:
            raise UserError(f"{opt.W or size} x {opt.H or size}: too large for this page; take at most {MOST_AREA} "
                            f"times the area of {size} x {size}")
        return model

    @contextmanager
    def turn(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Have the models for oneself; `waiting` is called now and then until then, and may raise Cancelled."""
        while not self.lock.acquire(timeout=0.2):
            waiting()
        try:
            yield
        finally:
            self.lock.release()
