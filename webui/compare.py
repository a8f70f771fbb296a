"""The tab Compare: the same prompts and noise, drawn with several words, several models or several steps of a run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr
from omegaconf import OmegaConf
from PIL import Image

from ldm.data.pictures import save_numbered, titled_columns
from ldm.embedding_files import read_words
from ldm.errors import UserError
from ldm.placeholders import STAR
from ldm.ranking import spread
from report.run import stored_configs
from training.config import INIT_WORDS
from webui.page import Page, as_it_comes, bar, told
from webui.shelf import Word
from webui.studio import Cancelled, Order
from webui.uploads import data_url

PROMPTS = "a photo of a *\na * on a blue background\na * and a red apple"
MOST_CELLS = 60
MOST_COLUMNS = 8


def build(page: Page) -> dict[str, Any]:
    """Make the tab; the components that other tabs reach into."""
    with gr.Row(elem_classes="two"):
        with gr.Column(scale=4, min_width=300):
            prompts = gr.Textbox(PROMPTS, label="Prompts, one a line", lines=4, max_lines=12, elem_id="prompts",
                                 info="* stands for the word of each column", max_length=4000)
            words = gr.Dropdown([], multiselect=True, label="Words, a column each", elem_id="compare-words",
                                max_choices=MOST_COLUMNS)
            start = gr.Checkbox(True, label="Beside the plain model, with the word that learning started from")
            other = gr.Checkbox(False, label="Beside the same word, the prompt read by the translator (v2)")
            run = gr.Dropdown([], label="Or the steps of one run", elem_id="compare-run")
            with gr.Row():
                steps = gr.Slider(1, 100, 20, step=1, label="Sampling steps", min_width=140,
                                  elem_id="compare-steps")
                seed = gr.Number(42, label="Seed", precision=0, minimum=0, min_width=120)
            with gr.Row():
                go = gr.Button("Compare", variant="primary", elem_id="compare", min_width=120)
                cancel = gr.Button("Stop", elem_id="compare-stop", min_width=120)
        with gr.Column(scale=7, min_width=300):
            going = gr.HTML("")
            table = gr.HTML("", elem_id="grid")
            sheet = gr.File(label="The grid as a picture", visible=False, interactive=False, elem_id="sheet")

    @told
    def compare(prompts: str, ids: list[str] | None, start: bool, other: bool, run: str | None, steps: int, seed: int,
                request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Draw the grid, and hand it over as it grows."""
        lines = [line.strip() for line in (prompts or "").splitlines() if line.strip()]
        columns = columns_of(page, ids or [], start, other, run)
        yield from drawing(page, lines, columns, int(steps), int(seed or 0), request.session_hash or "")

    go.click(compare, [prompts, words, start, other, run, steps, seed], [table, going, sheet], api_name="compare",
             concurrency_limit=8, show_progress="hidden")

    def stop(request: gr.Request) -> None:
        """Stop the drawing of whoever asks for it."""
        page.cancelled.add(request.session_hash or "")

    cancel.click(stop, queue=False, api_visibility="private")
    return {"words": words, "run": run}


class Column:
    """A column of the grid: its title, the word that * stands for, or a text in its place, and how prompts are read."""

    def __init__(self, title: str, word: Word | None, text: str = "", language: str = "en"):
        self.title, self.word, self.text, self.language = title, word, text, language

    def order(self, prompt: str, steps: int, seed: int) -> Order:
        """What to draw for a prompt."""
        name = self.word.names[0] if self.word else self.text
        return Order(prompt.replace(STAR, name), language=self.language, steps=steps, seed=seed, pictures=1)


def columns_of(page: Page, ids: Sequence[str], start: bool, other: bool, run: str | None) -> list[Column]:
    """The columns that the form asks for. Raises UserError for none, and for too many."""
    columns = []
    if run:
        word = page.shelf.find(run)
        for step in spread(list(word.steps), MOST_COLUMNS):
            columns.append(Column(f"step {step}", replace(word, file=word.steps[step])))
        return columns
    for word in map(page.shelf.find, ids):
        if start:
            first = start_of(word)
            if first not in [column.text for column in columns]:
                columns.append(Column(f"without: {first}", None, first))
        columns.append(Column(word.name + " (v1)" * word.adapter, word))
        if other and not word.adapter:
            columns.append(Column(f"{word.name}, v2", word, language="any"))
    if not columns:
        raise UserError("choose at least one word, or a run")
    if len(columns) > MOST_COLUMNS:
        raise UserError(f"{len(columns)} columns: {MOST_COLUMNS} are the most; choose fewer words")
    return columns


def start_of(word: Word) -> str:
    """What a word's learning started from, as its file or the config of its run says."""
    known = next(iter(read_words(word.file).provenance.values()), None)
    if known and known.init_word:
        return known.init_word
    try:
        words = OmegaConf.select(stored_configs(word.run)[0], INIT_WORDS) if word.run else None
    except UserError:
        words = None
    return str(words[0]) if words else "thing"


def drawing(page: Page, prompts: list[str], columns: list[Column], steps: int, seed: int, session: str
            ) -> Iterator[tuple[Any, ...]]:
    """The grid for the browser, as it grows, column after column. Raises UserError for one that is too large."""
    if not prompts:
        raise UserError("write a prompt")
    if len(prompts) * len(columns) > MOST_CELLS:
        raise UserError(f"{len(prompts)} prompts in {len(columns)} columns are more than {MOST_CELLS} pictures")
    page.cancelled.discard(session)
    cells: dict[tuple[int, int], Image.Image] = {}
    total, lock = len(prompts) * len(columns), threading.Lock()

    def step(done: int, of: int) -> None:
        if session in page.cancelled:
            raise Cancelled

    def work(put: Any) -> None:
        for c, column in enumerate(columns):
            for r, prompt in enumerate(prompts):
                known = [column.word] if column.word else []
                for drawn in page.studio.draw(column.order(prompt, steps, seed), known, step, []):
                    with lock:
                        cells[r, c] = drawn.image
                    put(len(cells))

    yield "", bar(0, total, "getting ready"), gr.File(visible=False)
    try:
        for come in as_it_comes(work):
            with lock:
                grid = table(prompts, columns, dict(cells))
            yield grid, bar(come[-1], total, f"{come[-1]} of {total} pictures"), gr.skip()
    except Cancelled:
        yield table(prompts, columns, cells), bar(0, 1, f"stopped after {len(cells)} of {total} pictures"), gr.skip()
        return
    image = titled_columns(["", *(column.title for column in columns)], [
        [prompt, *(cells[r, c] for c in range(len(columns)))] for r, prompt in enumerate(prompts)], side=128)
    path = save_numbered(image, page.outdir / "comparisons", 4, "comparison")
    yield (table(prompts, columns, cells), bar(1, 1, f"{total} pictures of the same noise, seed {seed}"),
           gr.File(value=page.lend(path), visible=True))


def table(prompts: Sequence[str], columns: Sequence[Column], cells: dict[tuple[int, int], Image.Image]) -> str:
    """The grid as HTML."""
    head = "".join(f'<th scope="col">{escape(column.title)}</th>' for column in columns)
    rows = []
    for r, prompt in enumerate(prompts):
        pictures = "".join(
            f'<td><img src="{data_url(cells[r, c], "PNG")}" alt="{escape(prompt)}: {escape(column.title)}"></td>'
            if (r, c) in cells else "<td></td>" for c, column in enumerate(columns))
        rows.append(f'<tr><th scope="row">{escape(prompt)}</th>{pictures}</tr>')
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="comparison"><table class="compare"><thead><tr>'
            f'<th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>')
