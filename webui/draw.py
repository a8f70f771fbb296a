"""The tab Draw: a prompt with learned words in it, and pictures as they are done."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.data.pictures import save_numbered
from ldm.errors import UserError
from ldm.files import file_identity
from ldm.generate import SAMPLERS
from ldm.parameters import Parameters, picture_parameters
from ldm.placeholders import STAR, split_prompt
from ldm.progress import counted, duration
from ldm.redraw import flags_of
from txt2img import slug
from webui.page import Page, as_it_comes, bar, local_file, notes, read_upload, told
from webui.studio import MOST_PICTURES, MOST_STEPS, Cancelled, Drawn, Order

SEEDS = 2**31
LANGUAGES = [("find out", "auto"), ("English, as it stands", "en"), ("any language", "any")]
NAMES = {"ddim": "DDIM", "plms": "PLMS", "dpm_solver": "DPM-Solver++"}

# Puts a word where the cursor is in the prompt. The names are other people's: Handlebars escapes them.
BUTTONS = """{{#if value}}<span class="hint">Put a word in:</span>
{{#each value}}<button type="button" class="word" data-word="{{this}}">{{this}}</button>{{/each}}{{else}}
<span class="hint">No words yet: learn one in the tab Learn, or bring a file in the tab Words.</span>{{/if}}"""
INSERT = """element.addEventListener('click', event => {
  const button = event.target.closest('button.word');
  const area = document.querySelector('#prompt textarea');
  if (!button || !area) return;
  const before = area.value.slice(0, area.selectionStart), after = area.value.slice(area.selectionEnd);
  const word = (before && !/\\s$/.test(before) ? ' ' : '') + button.dataset.word
    + (after && !/^\\s/.test(after) ? ' ' : '');
  area.setRangeText(word, area.selectionStart, area.selectionEnd, 'end');
  area.dispatchEvent(new Event('input', {bubbles: true}));
  area.focus();
});"""


def build(page: Page) -> dict[str, Any]:
    """Make the tab; the components that other tabs reach into."""
    with gr.Row(elem_classes="two"):
        with gr.Column(scale=5, min_width=300):
            prompt = gr.Textbox(label="What to draw", lines=2, max_lines=6, elem_id="prompt", max_length=2000,
                                placeholder="a photo of a <my-thing> on a blue background")
            words = gr.HTML([], html_template=BUTTONS, js_on_load=INSERT, elem_id="words", elem_classes="words")
            negative = gr.Textbox(label="What it shall not show", lines=1, max_lines=3, max_length=2000)
            with gr.Row():
                count = gr.Slider(1, MOST_PICTURES, 4, step=1, label="Pictures", min_width=140, elem_id="count")
                steps = gr.Slider(1, MOST_STEPS, 30, step=1, label="Steps", min_width=140, elem_id="sampling-steps")
            with gr.Row():
                seed = gr.Number(42, label="Seed", precision=0, minimum=0, min_width=120, elem_id="seed")
                another = gr.Button("Another seed", min_width=120, elem_classes="beside")
            with gr.Accordion("More settings", open=False):
                language = gr.Radio(LANGUAGES, value="auto", label="The prompt's language", info="Korean, Japanese, "
                                    "Spanish and what else the translator (v2) reads")
                sampler = gr.Dropdown([(NAMES.get(name, name), name) for name in SAMPLERS], value="ddim",
                                      label="Sampler", info="DPM-Solver++ needs about 20 steps")
                scale = gr.Number(None, label="Guidance", info="more follows the prompt more closely; empty: the "
                                  "model's own", minimum=-100, maximum=100)
                strength = gr.Slider(0, 2, 1, step=0.05, label="Strength of the learned words", info="less for one "
                                     "that drowns the rest of the prompt")
                eta = gr.Slider(0, 1, 0, step=0.05, label="Noise in each step (DDIM)")
                with gr.Row():
                    width, height = (gr.Number(None, label=label, precision=0, minimum=0, info="empty: the model's",
                                               min_width=120) for label in ("Width", "Height"))
            with gr.Row():
                go = gr.Button("Draw", variant="primary", elem_id="draw", min_width=120)
                cancel = gr.Button("Stop", elem_id="cancel", min_width=120)
            with gr.Accordion("Draw a picture from here again", open=False, elem_id="again-field"):
                again = local_file(label="A PNG that was made here", file_types=[".png"], height=150,
                                  elem_id="again")
        with gr.Column(scale=6, min_width=300):
            going = gr.HTML("", elem_id="going")
            gallery = gr.Gallery(label="Pictures", columns=2, object_fit="contain", height="auto", format="png",
                                 elem_id="pictures", buttons=["download", "fullscreen"], preview=False)
            said = gr.HTML("", elem_id="said")
    form = [prompt, negative, language, sampler, steps, scale, seed, width, height, count, strength, eta]

    @told
    def draw(prompt: str, negative_prompt: str, language: str, sampler: str, steps: int, scale: float | None,
             seed: int, width: int | None, height: int | None, count: int, strength: float, eta: float,
             request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Draw, and hand over pictures as they are done."""
        order = Order(prompt or "", negative_prompt or "", language, sampler, int(steps), scale, int(seed or 0),
                      int(width or 0) or None, int(height or 0) or None, int(count), float(strength), float(eta))
        yield from drawing(page, order, request.session_hash or "")

    go.click(draw, form, [gallery, going, said], concurrency_limit=8, show_progress="hidden", api_name="draw")
    prompt.submit(draw, form, [gallery, going, said], concurrency_limit=8, show_progress="hidden",
                  api_visibility="private")

    def stop(request: gr.Request) -> None:
        """Stop the drawing of whoever asks for it."""
        page.cancelled.add(request.session_hash or "")

    cancel.click(stop, queue=False, api_name="stop_drawing")
    another.click(lambda: random.randrange(SEEDS), outputs=seed, queue=False, api_visibility="private")

    @told
    def fill(file: Any) -> tuple[Any, ...]:
        """Fill the form with what a picture was made with."""
        path, name = read_upload(file)
        order, lines = order_of(page, path, name)
        return (*order_values(order), notes(lines or [f"as {name} was made; press Draw"]))

    again.upload(fill, again, [*form, said], api_name="like")
    return {"prompt": prompt, "words": words}


def order_values(order: Order) -> tuple[Any, ...]:
    """An order as the form has it."""
    return (order.prompt, order.negative_prompt, order.language, order.sampler, order.steps, order.scale, order.seed,
            order.width, order.height, order.pictures, order.strength, order.eta)


def drawing(page: Page, order: Order, session: str) -> Iterator[tuple[Any, ...]]:
    """Pictures, progress and notes for the browser, as they come."""
    page.cancelled.discard(session)
    pictures: list[tuple[str, str]] = []
    lines: list[str] = []
    words = page.words()

    def step(done: int, total: int) -> None:
        if session in page.cancelled:
            raise Cancelled
        hand((done, total))

    hand: Callable[[Any], None]

    def work(put: Callable[[Any], None]) -> None:
        nonlocal hand
        hand = put
        put((0, order.pictures * order.steps))
        for drawn in page.studio.draw(order, words, step, lines):
            put(drawn)

    began = time.monotonic()
    yield [], bar(0, 1, "getting ready"), ""
    try:
        for come in as_it_comes(work):
            new = [thing for thing in come if isinstance(thing, Drawn)]
            for drawn in new:
                pictures.append((page.lend(keep(page, order, drawn)), f"seed {drawn.seed}"))
            done, total = next((t for t in reversed(come) if not isinstance(t, Drawn)), (0, 0))
            going = bar(done, total, progress_line(done, total, time.monotonic() - began)) if total else gr.skip()
            yield (list(pictures) if new else gr.skip()), going, notes(lines)
    except Cancelled:
        yield list(pictures), bar(0, 1, f"stopped after {len(pictures)} of {order.pictures} pictures"), notes(lines)
        return
    seconds = time.monotonic() - began
    text = f"{counted(len(pictures), 'picture')} in {duration(seconds)}; choose one to download it"
    yield list(pictures), bar(1, 1, text), notes(lines)


def progress_line(done: int, total: int, seconds: float) -> str:
    """How far a drawing is, and how long it still takes."""
    if not done:
        return "waiting for the model" if seconds > 1 else "getting ready"
    return f"{done} of {total} steps, about {duration(seconds / done * (total - done))} left"


def keep(page: Page, order: Order, drawn: Drawn) -> Path:
    """Write a picture as txt2img.py does: its path."""
    return save_numbered(drawn.image, page.outdir / "samples", 5, f"{slug(order.prompt)}_seed{drawn.seed}",
                         pnginfo=drawn.info)


def order_of(page: Page, path: Path, name: str) -> tuple[Order, list[str]]:
    """What a picture was made with, its learned words called as they are here, and what of it cannot be had here.
    Raises UserError for a picture that does not say it."""
    try:
        prompt, negative, settings = picture_parameters(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), name)) from error
    lines: list[str] = []
    names: dict[str, str] = {}
    found = [page.shelf.of_digest(value) for key, value in settings.items()
             if key.startswith("Embedding") and key.endswith(" hash")]
    if None in found:
        lines.append("A word of this picture is not here, or has been learned further since; it will look different.")
    words = [word for word, _ in filter(None, found)]
    called = called_there(settings, [own for word in words for own in word.own])
    for there, here in zip(called, [n for word in words for n in word.names], strict=False):
        names[there or here] = here
    if len(names) == 1:
        names.setdefault(STAR, *names.values())

    def renamed(text: str) -> str:
        return "".join(names[p.placeholder] if p.placeholder else p.text for p in split_prompt(text, names, True))

    if settings.get("Model hash") not in (None, file_identity(page.opt.ckpt_path)):
        lines.append(f"It was drawn by another model, {settings.get('Model', '')}.")
    if settings.get("Precision", "full") != "full":
        lines.append(f"It was drawn in {settings['Precision']}; here it is in full precision.")
    flags = flags_of(Parameters(prompt, negative, settings), name, set())
    strengths = flags.get("strength", [])
    if len(set(strengths)) > 1:
        lines.append("Its words had a strength each; here all have one.")
    language = {"v2": "any", "base": "en"}.get(settings.get("Variant", ""), "auto")
    plain = Order("")
    return Order(
        renamed(prompt), renamed(negative), language, flags.get("sampler", plain.sampler),
        flags.get("ddim_steps", plain.steps), flags.get("scale"), flags.get("seed", plain.seed), flags.get("W"),
        flags.get("H"), 1, strengths[0] if strengths else 1.0, flags.get("ddim_eta", 0.0)), lines


def called_there(settings: dict[str, str], own: list[str | None]) -> list[str | None]:
    """What a picture's prompt calls its words: by the names that were given, else by their own."""
    try:
        given = json.loads(settings.get("Placeholder strings", "[]"))
    except ValueError:
        given = []
    if isinstance(given, list) and len(given) == len(own) and all(isinstance(name, str) for name in given):
        return list(given)
    return own
