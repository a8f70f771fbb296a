"""Every kind of fault: make faults, or python -m benchmarks.faults KIND..."""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import importlib
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from ldm.cli import CommandParser, count, natural, print_table, run_command

KINDS = ("kill", "resume", "pickles", "mutations", "pictures", "configs", "overrides")


def run(kind: str, seed: int, count: int | None) -> tuple[tuple[str, int, int, str], list[str]]:
    """(kind, trials that were handled well, trials, time), and what happened in the others."""
    module, start = importlib.import_module(f"benchmarks.faults.{kind}"), time.monotonic()
    good, total, failed = module.run(seed, count or module.COUNT)
    print(f"{kind}: {good} of {total}", *failed, sep="\n  ", file=sys.stderr, flush=True)
    return (kind, good, total, f"{time.monotonic() - start:.0f} s"), failed


def main(arguments: list[str] | None = None) -> None:
    """Print how many trials of each kind went well, and what happened in the others; exit status 1 if any did not."""
    parser = CommandParser(
        description="Try what goes wrong for people, and count what was handled well.",
        example="python -m benchmarks.faults pictures --count 20")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--count", type=count, help="trials of each kind; default: each kind's own number")
    parser.add_argument("--seed", type=natural, default=0, help="seed of what is drawn at random")
    parser.add_argument("--jobs", type=count, default=os.cpu_count(), metavar="N", help="kinds that are tried at a time")
    opt = parser.parse_args(arguments)
    if unknown := set(opt.kinds) - set(KINDS):
        parser.error(f"{', '.join(sorted(unknown))}: the kinds are {', '.join(KINDS)}")
    kinds = opt.kinds or KINDS
    with ProcessPoolExecutor(opt.jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        ended = list(pool.map(run, kinds, [opt.seed] * len(kinds), [opt.count] * len(kinds)))
    rows = [row for row, _ in ended]
    failures = [f"{row[0]}: {failure}" for row, failed in ended for failure in failed]
    print_table(("kind", "handled well", "trials", "time"), rows)
    print(*failures, sep="\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    run_command(main)
