"""The report of a run, pictures, curves and settings in one HTML file: python -m check.report RUN..."""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from pathlib import Path

from ldm.cli import CommandParser, print_json, run_command
from ldm.errors import UserError
from ldm.progress import say


def main(arguments: list[str] | None = None) -> None:
    """Write report.html into run folders."""
    parser = CommandParser(
        description="Write report.html into run folders, as learning does when it ends: what the word was learned "
                    "from, how it went, what came of it, every setting, and the commands to go on with. One file, "
                    "which needs no network.",
        example="python -m check.report logs/RUN")
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="run folders")
    parser.add_json()
    opt = parser.parse_args(arguments)
    for run in opt.runs:
        if not run.is_dir():
            raise UserError(f"{run}: no such run folder")
    from report.run import write_report

    written = []
    for run in opt.runs:
        written.append(write_report(run))
        say(written[-1])
    if opt.json:
        print_json({"reports": written})


if __name__ == "__main__":
    run_command(main)
