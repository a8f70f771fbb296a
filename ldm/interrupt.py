"""Ctrl-C while a command of this project starts: one word, not a traceback through whatever was being imported."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

running = False  # whether a command has begun; ldm.cli.run_command says so


def _interrupt(number: int, frame: FrameType | None) -> None:
    while running and frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if running and frame is None:  # nothing is being imported
        raise KeyboardInterrupt
    # An exception would be printed, or swallowed, by what Python calls back into while it imports.
    os.write(2, b"stopped\n")
    os._exit(130)


def install() -> None:
    """Take over Ctrl-C where a command of this project is what Python runs, and nobody else has done so."""
    main = os.path.abspath(getattr(sys.modules.get("__main__"), "__file__", None) or os.sep)
    project = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = main.startswith(sys.prefix + os.sep)  # pytest, perhaps, from an environment inside the project
    if (main.startswith(project + os.sep) and not installed
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler):
        signal.signal(signal.SIGINT, _interrupt)
