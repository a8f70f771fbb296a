"""What the tabs of the page share: the model, the words, the queue, and how errors and long work reach the browser."""

from __future__ import annotations

import argparse
import functools
import inspect
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from ldm.cli import one_line
from ldm.errors import UserError
from ldm.util import ROOT
from webui.jobs import Jobs
from webui.shelf import OWN, Shelf, Word
from webui.studio import Studio

F = TypeVar("F", bound=Callable[..., Any])
PAUSE = 0.15  # seconds between two things that are sent to the browser


def place(path: str | Path) -> str:
    """A path as commands in the project's folder take it: relative where it is inside."""
    path = Path(path).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


class Page:
    """Everything behind the page, once for everybody; what is one person's is in gr.State."""

    def __init__(self, opt: argparse.Namespace):
        self.opt = opt
        self.logdir, self.outdir = Path(opt.logdir).resolve(), Path(opt.outdir).resolve()
        self.own = self.logdir / OWN
        self.studio, self.shelf = Studio(opt), Shelf(self.logdir)
        self.jobs = Jobs(self.own / "queue", Path(place(self.logdir)))
        self.cancelled: set[str] = set()  # sessions that have had enough of a drawing

    def words(self) -> list[Word]:
        """The words that fit the model, the last learned first."""
        return [word for word in self.shelf.listing() if word.width == self.studio.width]

    def choices(self) -> list[tuple[str, str]]:
        """(what the browser shows, id) of all words."""
        return [(word.name + " (v1)" * word.adapter, word.id) for word in self.words()]


    def lend(self, path: Path) -> str:
        """A copy of a file for the browser, among what it may ask for."""
        folder = Path(tempfile.mkdtemp(dir=made(self.own / "cache")))
        return str(shutil.copy(path, folder / path.name))


def made(folder: Path) -> Path:
    """A folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def told(function: F) -> F:
    """Let what a person can mend be shown in the page, as the one line that a command would print."""
    def shown(error: Exception) -> gr.Error:
        line = one_line(error)
        if line is None:
            raise error
        return gr.Error(escape(line), title="That did not work", duration=12, print_exception=False)

    if inspect.isgeneratorfunction(function):
        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
            try:
                yield from function(*args, **kwargs)
            except Exception as error:
                raise shown(error) from error
        return generator  # type: ignore[return-value]

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise shown(error) from error
    return wrapper  # type: ignore[return-value]


def as_it_comes(work: Callable[[Callable[[Any], None]], None]) -> Iterator[list[Any]]:
    """What work hands over, from a thread of its own, as lists of what has come since the last time. What it raises is
    raised here."""
    handed: queue.Queue[Any] = queue.Queue()
    done, failed = object(), list[Exception]()

    def run() -> None:
        try:
            work(handed.put)
        except Exception as error:
            failed.append(error)
        finally:
            handed.put(done)

    threading.Thread(target=run, daemon=True).start()
    pause, over = threading.Event(), False
    while not over:
        come = [handed.get()]
        while not handed.empty():
            come.append(handed.get())
        over = done in come
        if come := [thing for thing in come if thing is not done]:
            yield come
        if not over:
            pause.wait(PAUSE)
    if failed:
        raise failed[0]


def bar(done: int, total: int, text: str) -> str:
    """How far something is, as HTML that a screen reader is told about."""
    return (f'<div class="going"><p role="status" aria-live="polite">{escape(text)}</p>'
            f'<progress max="{max(1, total)}" value="{done}" aria-label="progress"></progress></div>')


def notes(lines: list[str]) -> str:
    """Lines as HTML; nothing for none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="notes">{items}</ul>' if items else ""


def local_file(**options: Any) -> gr.File:
    """A field for files from the browser's own machine: an address to fetch one from is refused."""
    field = gr.File(**options)
    take = field.async_move_resource_to_block_cache

    async def refuse(url_or_file_path: str | Path | None) -> str | None:
        if "://" in str(url_or_file_path):
            raise gr.Error("files come from your own machine, not from an address", print_exception=False)
        return await take(url_or_file_path)

    field.async_move_resource_to_block_cache = refuse  # type: ignore[method-assign]
    return field


def read_upload(file: Any) -> tuple[Path, str]:
    """(where a file that was sent lies, what it was called). Raises UserError where there is none."""
    path = getattr(file, "name", file)
    if not path:
        raise UserError("choose a file first")
    return Path(path), Path(getattr(file, "orig_name", None) or path).name
