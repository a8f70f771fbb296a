"""The page: its tabs, its looks, and the server behind it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# before gradio reads them: nothing is told to anybody, and nothing fetched
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

from webui import compare, draw, learn, words
from webui.page import Page
from webui.uploads import MOST_BYTES, tidy

STYLE = Path(__file__).with_name("style.css")
FONTS = ("ui-sans-serif", "system-ui", "sans-serif")  # of the reader's own machine
MONO = ("ui-monospace", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """The looks, in fonts that nobody has to send for."""
    looks = gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONTS, font_mono=MONO, radius_size="md")
    return looks.set(body_background_fill="white", block_label_text_weight="600", block_title_text_weight="600",
                     block_border_width="0px", block_padding="0px", block_shadow="none", layout_gap="1rem",
                     form_gap_width="1rem", block_info_text_size="*text_sm")


def build(page: Page) -> gr.Blocks:
    """The page as Gradio has it."""
    with gr.Blocks(title="Textual-inversion workbench", analytics_enabled=False) as blocks:
        gr.Markdown("# Teach a model a new word\nShow it a few pictures of one thing, and draw the thing in new ones.",
                    elem_id="title")
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Learn", id="learn"):
                learning = learn.build(page)
            with gr.Tab("Draw", id="draw"):
                drawing = draw.build(page)
            with gr.Tab("Words", id="words"):
                wording = words.build(page)
            with gr.Tab("Compare", id="compare"):
                comparing = compare.build(page)
        connect(page, blocks, tabs, learning, drawing, wording, comparing)
    return blocks


def connect(page: Page, blocks: gr.Blocks, tabs: gr.Tabs, learning: dict[str, Any], drawing: dict[str, Any],
            wording: dict[str, Any], comparing: dict[str, Any]) -> None:
    """What happens between tabs: the words are the same in all of them."""
    lists = [drawing["words"], wording["words"], wording["several"], comparing["words"], comparing["run"]]

    def listed() -> tuple[Any, ...]:
        """The words as they are now."""
        known = page.words()
        choices = page.choices()
        ids = [word.id for word in known]
        runs = [(word.name, word.id) for word in known if word.steps]
        return ([name for word in known for name in word.names], gr.Dropdown(choices=choices),
                gr.Dropdown(choices=choices), gr.Dropdown(choices=choices), gr.Dropdown(choices=runs)) if ids else (
            [], *[gr.Dropdown(choices=[]) for _ in lists[1:]])

    blocks.load(listed, outputs=lists, api_name="words", show_progress="hidden")
    blocks.load(learning["refresh"], learning["runs"], learning["view"], api_visibility="private",
                show_progress="hidden")
    tabs.select(listed, outputs=lists, api_visibility="private", show_progress="hidden")
    for event in wording["changed"]:
        event.then(listed, outputs=lists, api_visibility="private", show_progress="hidden")

    def use(id: str | None) -> tuple[Any, ...]:
        """Show the tab Draw, with a prompt for the word of a run."""
        job = next((job for job in page.jobs.listing() if job.id == id), None)
        return gr.Tabs(selected="draw"), f"a photo of a {job.name}" if job else gr.skip()

    learning["use"].click(use, learning["runs"], [tabs, drawing["prompt"]], api_visibility="private").then(
        listed, outputs=lists, api_visibility="private", show_progress="hidden")

    def left(request: gr.Request) -> None:
        """Whoever has closed the page wants no more pictures."""
        page.cancelled.add(request.session_hash or "")

    blocks.unload(left)


def serve(opt: argparse.Namespace, ready: Callable[[str], None] = lambda url: None, block: bool = True) -> gr.Blocks:
    """Open the page on opt.port of opt.listen. Raises UserError."""
    page = Page(opt)
    os.environ["GRADIO_TEMP_DIR"] = str(page.own / "cache")
    tidy(page.own / "uploads")
    page.jobs.ensure_runner()
    blocks = build(page)
    _, url, _ = blocks.queue(default_concurrency_limit=4, max_size=64).launch(
        server_name=opt.listen, server_port=opt.port, auth=opt.auth, inbrowser=opt.open, quiet=True, share=False,
        prevent_thread_lock=True, theme=theme(), css_paths=STYLE, footer_links=[], max_file_size=MOST_BYTES,
        show_error=True, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False, run_history=False,
        allowed_paths=[str(page.outdir)], favicon_path=None, strict_cors=True)
    ready(url)
    if block:
        blocks.block_thread()
    return blocks
