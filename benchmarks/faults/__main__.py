"""Every kind of fault: make faults, or python -m benchmarks.faults KIND..."""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from ldm.cli import CommandParser, count, natural, print_table, run_command

KINDS = ("kill", "resume", "pickles", "mutations", "pictures", "configs", "overrides")


def main(arguments: list[str] | None = None) -> None:
    """Print how many trials of each kind went well, and what happened in the others; exit status 1 if any did not."""
    parser = CommandParser(
        description="Try what goes wrong for people, and count what was handled well.",
        example="python -m benchmarks.faults pictures --count 20")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--count", type=count, help="trials of each kind; default: each kind's own number")
    parser.add_argument("--seed", type=natural, default=0, help="seed of what is drawn at random")
    parser.add_argument("--jobs", type=count, default=os.cpu_count() or 1, metavar="N",
                        help="kinds that are tried at a time; default: one for each core")
    opt = parser.parse_args(arguments)
    if unknown := set(opt.kinds) - set(KINDS):
        parser.error(f"{', '.join(sorted(unknown))}: the kinds are {', '.join(KINDS)}")
    from benchmarks.faults.runs import try_kind  # a module of its own: a spawned process finds it by name

    kinds = opt.kinds or KINDS
    with ProcessPoolExecutor(opt.jobs, multiprocessing.get_context("spawn")) as pool:
        ended = list(pool.map(partial(try_kind, seed=opt.seed, count=opt.count), kinds))
    rows = [row for row, _ in ended]
    failures = [f"{row[0]}: {failure}" for row, failed in ended for failure in failed]
    print_table(("kind", "handled well", "trials", "time"), rows)
    print(*failures, sep="\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    run_command(main)
