"""The tab Learn: pictures, what is in them, and the trainings that wait, run and have run."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from omegaconf import OmegaConf

from ldm.errors import UserError
from ldm.initial_word import candidates, find_words
from ldm.placeholders import check_placeholder
from ldm.progress import counted
from ldm.util import ROOT
from load import load_config
from training.config import training_config, training_set
from webui.crop import crop_widget
from webui.jobs import LEARNED, LEARNING, Job
from webui.page import Page, local_file, notes, place, read_upload, told
from webui.progress import read_progress, show, state_line
from webui.uploads import MOST_FILES, Upload, advice, for_browser, move, squares, take

AUTO = "find out from the pictures"
MOST_STEPS = 20_000
EVERY = 2.0  # seconds between two looks at the runs


def build(page: Page) -> dict[str, Any]:
    """Make the tab; the components that other tabs reach into."""
    nouns = candidates(page.studio.encoder)
    steps_of, pictures_of = defaults(page)
    uploads = gr.State([])
    folder = gr.State("")  # of this session's pictures: a name below the page's own folder, made here
    with gr.Row(elem_classes="two"):
        with gr.Column(scale=5, min_width=300):
            gr.Markdown("### 1. Show three to five pictures of one thing")
            files = local_file(label="Pictures", file_count="multiple", height=150, elem_id="files")
            crops = crop_widget()
            advised = gr.HTML("", elem_id="advice")
            gr.Markdown("### 2. Say what it is")
            with gr.Row():
                kind = gr.Dropdown([AUTO, *nouns], value=AUTO, allow_custom_value=True, filterable=True, min_width=200,
                                   label="What kind of thing is it?", elem_id="kind", scale=3)
                suggest = gr.Button("Suggest", min_width=100, scale=1, elem_id="suggest", elem_classes="beside")
            suggested = gr.HTML("", elem_id="suggested")
            name = gr.Textbox(label="What shall its word be?", placeholder="<my-thing>", max_lines=1, max_length=100,
                              elem_id="name", info="a name that is no word of the language; empty: one is made up")
            with gr.Accordion("More settings", open=False, elem_id="more-learning"):
                steps = gr.Slider(10, max(1000, 2 * steps_of), steps_of, step=10, label="Steps at most",
                                  elem_id="steps", info="learning ends earlier when nothing more is learned")
                every = gr.Slider(10, max(500, pictures_of), min(50, pictures_of), step=10, label="A picture every",
                                  elem_id="every", info="steps; each takes some seconds")
                adapter = gr.Checkbox(False, label="With an adapter (v1)", info="more faithful where the word stands "
                                      "alone; takes twice as long")
                alpha = gr.Checkbox(False, label="The thing is cut out", info="learn what the pictures' transparency "
                                    "leaves, and nothing around it")
                seed = gr.Number(23, label="Seed", precision=0, minimum=0)
            learn = gr.Button("Learn this word", variant="primary", elem_id="learn")
        with gr.Column(scale=6, min_width=300):
            gr.Markdown("### 3. Watch it learn")
            runs = gr.Radio([], label="Runs", elem_id="runs", elem_classes="runs", visible=False)
            shown = gr.HTML("<p>Runs that you start appear here, one after another. You may close this page meanwhile."
                            "</p>", elem_id="run")
            with gr.Row():
                stop = gr.Button("Stop", min_width=80, elem_id="stop")
                go_on = gr.Button("Go on", min_width=80, elem_id="go-on")
                forget = gr.Button("Forget", min_width=80)
                use = gr.Button("Draw it", variant="primary", min_width=80, elem_id="use")
    timer = gr.Timer(EVERY)

    @told
    def bring(sent: list[Any] | None, here: list[Upload], own: str, alpha: bool) -> tuple[Any, ...]:
        """Take pictures that were sent, as many as are good; what is wrong with others is said."""
        own = own or secrets.token_hex(8)
        here, wrong = list(here), []
        for file in sent or []:
            path, called = read_upload(file)
            try:
                if len(here) >= MOST_FILES:
                    raise UserError(f"{called}: {MOST_FILES} pictures are the most")
                here.append(take(path, called, page.own / "uploads" / own))
            except UserError as error:
                wrong.append(str(error))
        return None, here, own, [for_browser(u) for u in here], advice_html(page, here, own, alpha, wrong)

    files.upload(bring, [files, uploads, folder, alpha], [files, uploads, folder, crops, advised], api_name="pictures")

    @told
    def moved(here: list[Upload], own: str, alpha: bool, event: gr.EventData) -> tuple[Any, ...]:
        """Take another square of a picture."""
        data = event._data if isinstance(event._data, dict) else {}
        here, index = list(here), index_of(data, here)
        here[index] = move(here[index], data.get("left"), data.get("upper"), data.get("side"))
        return here, advice_html(page, here, own, alpha, [])

    crops.square(moved, [uploads, folder, alpha], [uploads, advised], api_visibility="private", show_progress="hidden")

    @told
    def away(here: list[Upload], own: str, alpha: bool, event: gr.EventData) -> tuple[Any, ...]:
        """Take a picture away."""
        index = index_of(event._data if isinstance(event._data, dict) else {}, here)
        here = [upload for i, upload in enumerate(here) if i != index]
        return here, [for_browser(u) for u in here], advice_html(page, here, own, alpha, [])

    crops.away(away, [uploads, folder, alpha], [uploads, crops, advised], api_visibility="private",
               show_progress="hidden")

    @told
    def find(here: list[Upload], own: str, alpha: bool) -> tuple[Any, ...]:
        """The words that tell the model most about the pictures."""
        if not here:
            raise UserError("show some pictures first")
        data = data_of(page, here, own, alpha)
        with page.studio.turn():
            model = page.studio.model(page.opt.variant)
            found = [word for word, _ in find_words(model, data, model.embedding_manager.placeholder_strings[0])]
        return found[0], notes([f"closest to what the pictures show: {', '.join(found[:5])}"])

    suggest.click(find, [uploads, folder, alpha], [kind, suggested], api_name="suggest", concurrency_limit=2)

    @told
    def start(here: list[Upload], own: str, kind: str | None, name: str, steps: int, every: int, adapter: bool,
              alpha: bool, seed: int) -> tuple[Any, ...]:
        """Put a training into the queue."""
        job = new_job(page, here, kind or AUTO, name or "", int(steps), int(every), adapter, alpha, int(seed or 0))
        return [], "", [], "", "", *look(page, job.id)

    learn.click(start, [uploads, folder, kind, name, steps, every, adapter, alpha, seed],
                [uploads, folder, crops, advised, name, runs, shown, stop, go_on, forget, use], api_name="learn")

    view = [runs, shown, stop, go_on, forget, use]

    @told
    def refresh(id: str | None) -> tuple[Any, ...]:
        """The runs as they are now."""
        page.jobs.ensure_runner()
        return look(page, id)

    timer.tick(refresh, runs, view, show_progress="hidden", api_name="runs")
    runs.input(refresh, runs, view, show_progress="hidden", api_visibility="private")

    def act(button: gr.Button, what: Any, api_name: str) -> None:
        @told
        def do(id: str | None) -> tuple[Any, ...]:
            what(id)
            return look(page, id)
        button.click(do, runs, view, api_name=api_name)

    act(stop, page.jobs.stop, "stop")
    act(go_on, page.jobs.go_on, "go_on")
    act(forget, page.jobs.forget, "forget")
    return {"view": view, "refresh": refresh, "runs": runs, "use": use}


def index_of(data: dict[str, Any], here: Sequence[Upload]) -> int:
    """The number of a picture, as the browser says it. Raises UserError for one that is not there."""
    index = data.get("index")
    if not isinstance(index, int) or not 0 <= index < len(here):
        raise UserError("this picture is not there any more")
    return index


def defaults(page: Page) -> tuple[int, int]:
    """(steps, steps between pictures) of the config that words of this model are learned with."""
    config = load_config(training_config(page.opt.ckpt_path))
    return (OmegaConf.select(config, "lightning.trainer.max_steps") or 6100,
            OmegaConf.select(config, "lightning.callbacks.image_logger.params.batch_frequency") or 500)


def data_of(page: Page, here: Sequence[Upload], own: str, alpha: bool) -> Any:
    """The data set of pictures as training will see them."""
    folder = page.own / "uploads" / own / "squares"
    for path in folder.glob("*.png"):
        path.unlink()
    squares(here, folder)
    return training_set([training_config(page.opt.ckpt_path)], folder, seed=23, **({"mask": "alpha"} if alpha else {}))


def advice_html(page: Page, here: Sequence[Upload], own: str, alpha: bool, wrong: list[str]) -> str:
    """What may mislead in the pictures, as HTML."""
    from ldm.data.summary import find_faults

    lines = list(wrong)
    if here:
        try:
            lines += advice(list(find_faults(data_of(page, here, own, alpha))), here)
        except UserError as error:
            lines.append(str(error))
    good = f'<p class="good">{counted(len(here), "picture")}: good to learn from.</p>'
    return notes(lines) or (good if here else "")


def new_job(page: Page, here: Sequence[Upload], kind: str, name: str, steps: int, every: int, adapter: bool,
            alpha: bool, seed: int) -> Job:
    """A training of the form, in the queue. Raises UserError for what the command would refuse."""
    if not here:
        raise UserError("show some pictures first: three to five of one thing")
    if not 1 <= steps <= MOST_STEPS:
        raise UserError(f"{steps} steps: take from 1 to {MOST_STEPS:,}")
    kind = "auto" if kind == AUTO else " ".join(kind.split())
    if kind != "auto" and not page.studio.encoder.reads(kind):
        raise UserError(f"the model does not know the word {kind!r}; choose one from the list")
    waiting = [job.name for job in page.jobs.listing() if not job.over]
    if name.strip():
        name = page.shelf.check_name(name)
    else:
        stem = re.sub(r"[^\w]+", "-", kind).strip("-") if kind != "auto" else "thing"
        name, n = page.shelf.free_name(f"<my-{stem}>"), 2
        while name in waiting:
            name, n = page.shelf.free_name(f"<my-{stem}-{n}>"), n + 1
    check_placeholder(name)
    if name in waiting:
        raise UserError(f"a word {name} waits to be learned; take another name")
    job_id = page.jobs.new_id()
    pictures = page.own / "pictures" / job_id
    squares(here, pictures)
    variant = "v1" if adapter else None
    arguments = [
        "--base", *([place(page.opt.config)] if page.opt.config else []),
        place(training_config(page.opt.ckpt_path, variant)), "-t", "--actual_resume",
        place(page.opt.ckpt_path), "--logdir", place(page.logdir), "--name", folder_name(name), "--datadir_in_name",
        "false", f"--data_root={place(pictures)}", f"--init_word={kind}", f"--placeholder_string={name}",
        "--seed", str(seed), *(["--variant", variant] if variant else []), *(["--mask", "alpha"] if alpha else []),
        *(["--gpus", page.opt.gpus] if page.opt.gpus else []), *(["--trust_targets"] if page.opt.trust_targets else []),
        f"lightning.trainer.max_steps={steps}", f"lightning.trainer.log_every_n_steps={max(1, min(10, steps // 10))}",
        f"lightning.callbacks.image_logger.params.batch_frequency={max(1, every)}"]
    return page.jobs.add(Job(job_id, name, tuple(arguments), place(pictures)))


def folder_name(name: str) -> str:
    """A word's name as a part of its run folder's."""
    return re.sub(r"[^\w]+", "-", name).strip("-")[:60] or "word"


def run_choices(page: Page) -> list[tuple[str, str]]:
    """(what the browser shows, id) of the runs, the last one first."""
    choices = []
    for job in reversed(page.jobs.listing()):
        progress = read_progress(Path(ROOT, job.run)) if job.run and job.state == LEARNING else None
        choices.append((f"{job.name}: {state_line(job, progress)}", job.id))
    return choices


def look(page: Page, id: str | None) -> tuple[Any, ...]:
    """The list of runs, the chosen one, and which buttons mean something for it."""
    jobs = {job.id: job for job in page.jobs.listing()}
    if id not in jobs:
        id = next((job.id for job in jobs.values() if job.state == LEARNING), next(reversed(jobs), None))
    if id is None:
        off = gr.Button(interactive=False)
        return gr.Radio(choices=[], value=None, visible=False), gr.skip(), off, off, off, off
    job = jobs[id]
    progress = read_progress(Path(ROOT, job.run)) if job.run and Path(ROOT, job.run).is_dir() else None
    word = job.run is not None and Path(ROOT, job.run, "checkpoints/embeddings.pt").is_file()
    return (gr.Radio(choices=run_choices(page), value=id, visible=True), show(job, progress),
            gr.Button(interactive=not job.over), gr.Button(interactive=job.over and job.state != LEARNED),
            gr.Button(interactive=job.over), gr.Button(interactive=word))
