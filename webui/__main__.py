"""A page in the browser to learn words on and to draw with them: python -m webui"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import sys

from ldm.cli import run_command
from webui.flags import check, free_port, get_parser


def main(arguments: list[str] | None = None) -> None:
    """Open the page."""
    opt = get_parser().parse_args(arguments)
    check(opt)
    opt.port = free_port(opt.listen, opt.port)
    from webui.app import serve

    serve(opt, lambda url: print(f"the page: {url}", file=sys.stderr, flush=True))


if __name__ == "__main__":
    run_command(main)
