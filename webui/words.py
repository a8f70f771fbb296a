"""The tab Words: what has been learned or brought here, and what can be done with it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from omegaconf import OmegaConf

from check.check_embedding import FORMATS, describe_provenance
from check.check_placeholder import nearest_words
from ldm.data.pictures import find_images, open_image
from ldm.embedding_files import read_words
from ldm.errors import UserError
from ldm.provenance import weights_identity
from ldm.runs import relocated
from report.run import FILE, stored_configs, training_pictures
from webui.jobs import Job
from webui.page import Page, local_file, made, notes, place, read_upload, told
from webui.progress import film, read_progress
from webui.shelf import Word
from webui.uploads import data_url

MOST_PICTURES = 8  # that are shown of what a word was learned from
FORMAT_NAMES = {"published": "published code, this project (.pt)", "diffusers": "diffusers (.safetensors)",
                "a1111": "AUTOMATIC1111 (.pt)", "kohya": "kohya, OneTrainer (.safetensors)"}


def build(page: Page) -> dict[str, Any]:
    """Make the tab; the components that other tabs reach into."""
    with gr.Row(elem_classes="two"):
        with gr.Column(scale=6, min_width=300):
            words = gr.Dropdown([], label="Word", elem_id="word")
            shown = gr.HTML("<p>Choose a word to see what it is.</p>", elem_id="about")
            report = gr.File(label="The report of its run", interactive=False, visible=False, elem_id="report")
        with gr.Column(scale=5, min_width=300):
            with gr.Accordion("Bring a word from a file", open=True):
                file = local_file(label="Embedding file", height=150,
                                 file_types=[".pt", ".bin", ".safetensors", ".ckpt"], elem_id="import")
                imported = gr.HTML("", elem_id="imported")
            with gr.Accordion("Take it with you", open=True):
                format = gr.Dropdown([(FORMAT_NAMES[name], name) for name in FORMATS], value="published",
                                     label="Format")
                export = gr.Button("Make the file", elem_id="export")
                exported = gr.File(label="Download", interactive=False, visible=False, elem_id="exported")
            with gr.Accordion("Call it otherwise", open=False):
                name = gr.Textbox(label="New name", placeholder="<my-cat>", max_lines=1, max_length=100)
                rename = gr.Button("Rename")
            with gr.Accordion("Learn on", open=False):
                more = gr.Slider(10, 2000, 100, step=10, label="Steps more")
                go_on = gr.Button("Learn on")
                going = gr.HTML("")
            with gr.Accordion("Put several into one file", open=False):
                several = gr.Dropdown([], multiselect=True, label="Words")
                merge = gr.Button("Put together")
            with gr.Accordion("Delete it", open=False):
                delete = gr.Button("Delete this word", elem_id="delete")
                question = gr.HTML("", visible=False, elem_id="question")
                with gr.Row(visible=False) as answers:
                    yes = gr.Button("Yes, delete it for good", variant="stop", elem_id="yes")
                    no = gr.Button("No, keep it", elem_id="no")

    @told
    def about(id: str | None) -> tuple[Any, ...]:
        """What a word is, as HTML, and the report of its run, if it has one."""
        if not id:
            return "<p>Choose a word to see what it is.</p>", gr.File(visible=False)
        word = page.shelf.find(id)
        file = word.run / FILE if word.run is not None else None
        there = file is not None and file.is_file()
        return describe(page, word), gr.File(value=page.lend(file) if there and file else None, visible=there)

    words.change(about, words, [shown, report], api_name="about", show_progress="hidden")

    @told
    def bring(sent: Any) -> tuple[Any, ...]:
        """Take a file of words that was sent."""
        path, called = read_upload(sent)
        taken = page.shelf.add(path.read_bytes(), called, page.studio.width)
        word = next(word for word in page.words() if word.file == taken)
        return None, f"<p>Here it is called <code>{escape(word.name)}</code>.</p>", gr.Dropdown(
            choices=page.choices(), value=word.id)

    brought = file.upload(bring, file, [file, imported, words], api_name="import_word")

    @told
    def write(id: str | None, format: str) -> Any:
        """Write a word in a format, to download."""
        folder = Path(tempfile.mkdtemp(dir=made(page.own / "cache")))
        (path,) = page.shelf.export([page.shelf.find(id)], format, folder, page.studio.encoder)
        return gr.File(value=str(path), visible=True)

    export.click(write, [words, format], exported, api_name="export_word")

    @told
    def call(id: str | None, name: str) -> tuple[Any, ...]:
        """Give a word another name."""
        word = page.shelf.find(id)
        in_use(page, word)
        page.shelf.rename(word, name or "")
        return "", gr.Dropdown(choices=page.choices(), value=word.id), describe(page, page.shelf.find(word.id))

    renamed = rename.click(call, [words, name], [name, words, shown], api_name="rename")

    @told
    def learn_on(id: str | None, more: int) -> str:
        """Put a run into the queue once more, for some more steps."""
        word = page.shelf.find(id)
        job = further(page, word, int(more))
        return f"<p>{escape(job.name)} learns on: see the tab Learn.</p>"

    go_on.click(learn_on, [words, more], going, api_name="learn_on")

    @told
    def put_together(ids: Sequence[str] | None) -> tuple[Any, ...]:
        """Put words into one file."""
        path = page.shelf.merge([page.shelf.find(id) for id in ids or []])
        word = next(word for word in page.words() if word.file == path)
        return gr.Dropdown(choices=page.choices(), value=word.id), []

    merged = merge.click(put_together, several, [words, several], api_name="merge")

    @told
    def ask(id: str | None) -> tuple[Any, ...]:
        """Ask before a word is deleted."""
        word = page.shelf.find(id)
        what = "all of its run: pictures, steps, the state to learn on from" if word.run else "its file"
        text = f"<p>Delete <code>{escape(word.name)}</code> and {what}? It cannot be brought back.</p>"
        return gr.HTML(text, visible=True), gr.Row(visible=True)

    delete.click(ask, words, [question, answers], api_visibility="private")
    hide = (gr.HTML("", visible=False), gr.Row(visible=False))
    no.click(lambda: hide, outputs=[question, answers], api_visibility="private", queue=False)

    @told
    def remove(id: str | None) -> tuple[Any, ...]:
        """Delete a word."""
        word = page.shelf.find(id)
        in_use(page, word)
        page.shelf.delete(word)
        return *hide, gr.Dropdown(choices=page.choices(), value=None), f"<p>{escape(word.name)} is deleted.</p>"

    deleted = yes.click(remove, words, [question, answers, words, shown], api_name="delete")
    return {"words": words, "several": several, "changed": [brought, renamed, merged, deleted]}


def in_use(page: Page, word: Word) -> None:
    """Raises UserError for a word that is being learned, or waits for it."""
    if word.run is not None and page.jobs.is_learning(word.run):
        raise UserError(f"{word.name} is being learned; stop that first")


def further(page: Page, word: Word, more: int) -> Job:
    """A training that goes on with a word's run for so many steps more, in the queue. Raises UserError for a word
    without a run, or one that is being learned."""
    in_use(page, word)
    if word.run is None:
        raise UserError(f"{word.name} came as a file, without what learning goes on from")
    if more < 1:
        raise UserError("learn on for one step at least")
    steps = max([read_progress(word.run).step, *word.steps]) + more
    arguments = (f"lightning.trainer.max_steps={steps}", "--stop", "off")
    old = next((job for job in page.jobs.listing() if job.run and Path(place(job.run)) == Path(place(word.run))), None)
    if old is not None:
        return page.jobs.go_on(old.id, arguments)
    return page.jobs.add(Job(page.jobs.new_id(), word.name, (), more=arguments, run=place(word.run)))


# What is shown of a word ---------------------------------------------------------------------------------------------

def describe(page: Page, word: Word) -> str:
    """What a word is, as HTML: its pictures, its samples, its nearest words, what is known of its making."""
    parts = [f"<h3><code>{escape(word.name)}</code></h3>"]
    if pictures := learned_from(word):
        images = "".join(f'<figure><img src="{url}" alt="learned from"></figure>' for url in pictures)
        parts.append(f'<h4>Learned from</h4><div class="strip">{images}</div>')
    if word.run is not None and (strip := film(read_progress(word.run))):
        parts.append(f"<h4>What it has become</h4>{strip}")
    parts.append(f"<h4>Its nearest words</h4>{nearest(page, word)}")
    encoder, content = page.studio.encoder, read_words(word.file)
    here = weights_identity(encoder)
    lines = [line for own, vectors in content.vectors.items()
             for line in describe_provenance(content.provenance.get(own), vectors, here)]
    lines.append(f"file: {place(word.file)} ({content.format})")
    parts.append(f"<h4>How it was made</h4>{notes(lines)}")
    return f'<div class="about">{"".join(parts)}</div>'


def nearest(page: Page, word: Word) -> str:
    """The words of the vocabulary that a word is most like, as HTML."""
    encoder = page.studio.encoder
    table = encoder.token_embeddings.weight.detach()
    rows = []
    for name, vectors in zip(word.names, read_words(word.file).vectors.values(), strict=True):
        for number, vector in enumerate(vectors):
            own = name if len(vectors) == 1 else f"{name}, vector {number + 1}"
            rows.append(f"<tr><th scope='row'>{escape(own)}</th><td>"
                        f"{escape(nearest_words(vector, table, encoder.tknz_fn))}</td></tr>")
    return f"<div class='scroll'><table>{''.join(rows)}</table></div>"


def learned_from(word: Word) -> list[str]:
    """The pictures that a run learns from, small, as addresses of themselves: as the run has kept them, else as they
    are where its config says; none where they are not there."""
    if word.run is None:
        return []
    if kept := training_pictures(word.run)[1]:
        return [picture["source"] for picture in kept[:MOST_PICTURES]]
    try:
        root = OmegaConf.select(relocated(stored_configs(word.run)[0]), "data.params.train.params.data_root")
        pictures = [open_image(path) for path in find_images(root)[:MOST_PICTURES]] if root else []
    except UserError:
        return []
    for picture in pictures:
        picture.thumbnail((128, 128))
    return [data_url(picture) for picture in pictures]
