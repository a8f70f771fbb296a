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
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from webui import compare, draw, learn, words
from webui.flags import LOCAL
from webui.page import Page
from webui.shelf import names_of
from webui.uploads import MOST_BYTES, tidy

# Gradio's lists of choices take the Tab key for a letter, and open again when it leaves them.
TAB = """<script>document.addEventListener('keydown', event => {
  if (event.key === 'Tab' && event.target.matches('input[role=combobox]')) event.stopImmediatePropagation();
}, true);</script>"""
STYLE = Path(__file__).with_name("style.css")
FONTS = ("ui-sans-serif", "system-ui", "sans-serif")  # of the reader's own machine
MONO = ("ui-monospace", "Consolas", "monospace")


KEPT = (3600, 24 * 3600)  # every so many seconds, copies of files for the browser that are older are removed


def hosts(listen: str) -> list[Middleware]:
    """Where the page is for this machine alone, a name that leads here is no way to it: a page of another site could
    have its own name lead here (DNS rebinding)."""
    if listen not in LOCAL:
        return []
    return [Middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"])]


def theme() -> gr.themes.Base:
    """The looks, in fonts that nobody has to send for."""
    looks = gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONTS, font_mono=MONO, radius_size="md")
    return looks.set(body_background_fill="white", block_label_text_weight="600", block_title_text_weight="600",
                     block_background_fill="*body_background_fill",
                     block_background_fill_dark="*body_background_fill",
                     block_border_width="0px", block_padding="0px", block_shadow="none", layout_gap="1rem",
                     form_gap_width="1rem", block_info_text_size="*text_sm")


def build(page: Page) -> gr.Blocks:
    """The page as Gradio has it."""
    with gr.Blocks(title="Textual-inversion workbench", analytics_enabled=False, delete_cache=KEPT) as blocks:
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

    def listed(chosen: str | None) -> tuple[Any, ...]:
        """The words as they are now, with one of them chosen."""
        known = page.words()
        choices = [(word.name + " (v1)" * word.adapter, word.id) for word in known]
        runs = [choice for choice, word in zip(choices, known, strict=True) if word.steps]
        chosen = chosen if chosen in [id for _, id in choices] else next((id for _, id in choices), None)
        return (names_of(known), gr.Dropdown(choices=choices, value=chosen), gr.Dropdown(choices=choices),
                gr.Dropdown(choices=choices), gr.Dropdown(choices=runs))

    blocks.load(listed, wording["words"], lists, api_name="words", show_progress="hidden")
    blocks.load(learning["refresh"], learning["runs"], learning["view"], api_visibility="private",
                show_progress="hidden")
    tabs.select(listed, wording["words"], lists, api_visibility="private", show_progress="hidden")
    for event in wording["changed"]:
        event.then(listed, wording["words"], lists, api_visibility="private", show_progress="hidden")

    def use(id: str | None) -> tuple[Any, ...]:
        """Show the tab Draw, with a prompt for the word of a run."""
        job = next((job for job in page.jobs.listing() if job.id == id), None)
        return gr.Tabs(selected="draw"), f"a photo of a {job.name}" if job else gr.skip()

    learning["use"].click(use, learning["runs"], [tabs, drawing["prompt"]], api_visibility="private").then(
        listed, wording["words"], lists, api_visibility="private", show_progress="hidden")

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
        prevent_thread_lock=True, theme=theme(), css_paths=STYLE, head=TAB, footer_links=[], max_file_size=MOST_BYTES,
        show_error=True, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False, run_history=False,
        strict_cors=True, app_kwargs={"middleware": hosts(opt.listen)})
    ready(url)
    if block:
        blocks.block_thread()
    return blocks
