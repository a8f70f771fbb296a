"""One trial: a reading of a stranger's file in a process of its own, watched."""

from __future__ import annotations

import math
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ldm.errors import UserError

SECONDS, MEMORY = 10, 3 * 2**30
# Audit events (Python's own hooks) that reading a file has no reason for.
FORBIDDEN = ("os.", "subprocess.", "socket.", "ctypes.", "shutil.", "compile", "exec", "marshal.", "pickle.",
             "function.__new__", "code.__new__", "object.__setattr__", "object.__delattr__", "webbrowser.", "pty.",
             "tempfile.", "urllib.", "import")
HARMLESS = ("os.listdir", "os.scandir", "os.fwalk", "os.walk")


def trial(reads: Iterable[Callable[[], Any]], folder: Path, watched: Iterable[Any] = ()) -> str | None:
    """Run each of `reads` in a forked process with bounds of time and memory. Returns what was wrong, or None.

    Good is: each returns finite tensors in plain containers, or raises a UserError of one line; within SECONDS; nothing
    is written, imported or started, `folder` and the `watched` objects are as before.
    """
    receive, send = os.pipe()
    files, began = _files(folder), time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(receive)
        try:
            verdict = _watched(list(reads), list(watched))
        except BaseException:
            verdict = traceback.format_exc()
        os.write(send, verdict.encode(errors="replace")[:4000])
        os._exit(0)
    os.close(send)
    ready, _, _ = select.select([receive], [], [], 6 * SECONDS)  # on the clock; others may use the machine
    if not ready:
        os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    verdict = os.read(receive, 4000).decode(errors="replace") if ready else ""
    os.close(receive)
    if not ready or used.ru_utime + used.ru_stime > SECONDS:
        return f"hangs: {time.monotonic() - began:.1f} s"
    if status:
        return f"ends the process: {status}"
    if _files(folder) != files:
        return "writes files"
    return verdict or None


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def _watched(reads: list[Callable[[], Any]], watched: list[Any]) -> str:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    before, modules, events, on = _fingerprint(watched), set(sys.modules), list[str](), True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not on:
            return
        if event == "open":
            _, mode, flags = arguments
            if set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                events.append(f"open {arguments}")
        elif event == "import" and arguments[0] in modules:
            return
        elif event.startswith(FORBIDDEN) and event not in HARMLESS:
            events.append(f"{event} {arguments!r:.200}")

    sys.addaudithook(hook)
    wrong = ""
    for read in reads:
        on = True
        wrong = wrong or _outcome(read)
        on = False
    if new := set(sys.modules) - modules:
        events.append(f"imports {sorted(new)[:5]}")
    if events:
        return f"does {events[:3]}"
    return "changes live objects" if _fingerprint(watched) != before else wrong


def _outcome(read: Callable[[], Any]) -> str:
    try:
        return not_plain(read())
    except UserError as error:
        if len(str(error).splitlines()) != 1 or len(str(error)) > 2000:
            return f"not one line: {error!s:.300}"
        return "its cause is hidden" if error.__cause__ is None and error.__suppress_context__ else ""
    except BaseException as error:  # with its place; traceback.format_exc would compile
        place = traceback.extract_tb(error.__traceback__, limit=-1)
        return f"{type(error).__name__} in {place[-1].name}: {error!s:.300}"


def _fingerprint(objects: list[Any]) -> list[Any]:
    """What a pickle could change of live objects: their attributes and, of functions, their insides."""
    prints: list[Any] = []
    for thing in objects:
        content = vars(thing) if hasattr(thing, "__dict__") else {}
        insides = [id(getattr(thing, n, None)) for n in ("__code__", "__defaults__", "__kwdefaults__", "__class__")]
        items = thing if isinstance(thing, dict | list | set) else ()
        prints.append(({k: id(v) for k, v in dict(content).items()}, insides, len(items)))
    return prints


def not_plain(content: Any) -> str:
    """What is in an object beside finite tensors and plain containers: each distinct part is looked at once."""
    seen, queue = set[int](), [content]
    while queue:
        value = queue.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) in (dict, list, tuple, set, frozenset):
            queue += [*value.keys(), *value.values()] if isinstance(value, Mapping) else list(value)
        elif type(value) in (torch.Tensor, torch.nn.Parameter):
            if value.is_floating_point() and value.numel() < 2**26 and not torch.isfinite(value.float()).all():
                return f"loads numbers that are not finite: {list(value.shape)}"
        elif type(value).__module__ == "ldm.unpickle" and type(value).__name__ in ("Inert", "Storage"):
            continue
        elif type(value) not in (str, bytes, bytearray, int, float, bool, complex, type(None), torch.Size):
            return f"loads an object of {type(value)}"
        elif isinstance(value, float) and math.isnan(value):
            continue
    return ""
