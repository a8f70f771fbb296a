"""Every kind of fault, one after the other: make faults, or python -m benchmarks.faults KIND..."""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import importlib
import sys
import time

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
    opt = parser.parse_args(arguments)
    if unknown := set(opt.kinds) - set(KINDS):
        parser.error(f"{', '.join(sorted(unknown))}: the kinds are {', '.join(KINDS)}")
    rows, failures = [], []
    for kind in opt.kinds or KINDS:
        module, start = importlib.import_module(f"benchmarks.faults.{kind}"), time.monotonic()
        good, total, failed = module.run(opt.seed, opt.count or module.COUNT)
        rows.append((kind, good, total, f"{time.monotonic() - start:.0f} s"))
        failures += [f"{kind}: {failure}" for failure in failed]
        print(f"{kind}: {good} of {total}", file=sys.stderr)
    print_table(("kind", "handled well", "trials", "time"), rows)
    print(*failures, sep="\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    run_command(main)
