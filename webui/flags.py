"""The flags of the page, and what is checked of them before anything slow."""

from __future__ import annotations

import argparse
import socket

from ldm.cli import CommandParser, number
from ldm.errors import UserError
from ldm.files import check_writable
from load import add_model_flags, check_files

LOCAL = ("127.0.0.1", "localhost", "::1")  # what only this machine reaches


def get_parser() -> CommandParser:
    """The flags of the page."""
    parser = CommandParser(prog="python -m webui", description="Open a page in the browser: learn words from pictures, "
                           "and draw with them.", epilog="Ctrl-C ends the page; a run that learns goes on.",
                           example="python -m webui --open")
    add = parser.add_argument
    add_model_flags(parser, without=["--embedding_path"])
    add("-l", "--logdir", default="logs", metavar="FOLDER", help="where runs are and go")
    add("--outdir", default="outputs/webui", metavar="FOLDER", help="where pictures go")
    add("--port", type=number(int, 1, 65535), default=7860, help="where the page is; the next free one if it is taken")
    add("--open", action="store_true", help="open the page in a browser")
    add("--listen", nargs="?", const="0.0.0.0", default=LOCAL[0], metavar="ADDRESS", help="answer other machines "
        "too, all of them or those that reach ADDRESS; needs --auth; default: this machine alone")
    add("--auth", type=name_and_password, metavar="NAME:PASSWORD", help="what the page asks for before it shows "
        "anything")
    return parser


def name_and_password(text: str) -> tuple[str, str]:
    """An argparse type: NAME:PASSWORD."""
    name, colon, password = text.partition(":")
    if not name or not colon or len(password) < 8:
        raise argparse.ArgumentTypeError("give NAME:PASSWORD, with a password of at least 8 signs")
    return name, password


def check(opt: argparse.Namespace) -> None:
    """Raises UserError for flags that do not go together, and where something is not there."""
    if opt.listen not in LOCAL and not opt.auth:
        raise UserError(f"--listen {opt.listen} shows the page to other machines; say who may see it with --auth "
                        "NAME:PASSWORD")
    check_files(opt.config, opt.ckpt_path)
    check_writable(opt.logdir, "--logdir")
    check_writable(opt.outdir, "--outdir")
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError("the page needs gradio, which is not installed: make web, or pip install -e '.[web]'"
                        ) from error


def free_port(address: str, port: int, tries: int = 20) -> int:
    """The port, or the next one that is free. Raises UserError where none is."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for candidate in range(port, min(port + tries, 65536)):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, candidate))
                return candidate
            except OSError:
                continue
    raise UserError(f"--port {port}: neither it nor the {tries - 1} behind it are free; give another")
