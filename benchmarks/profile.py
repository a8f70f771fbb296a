"""Where the time of a row of `benchmarks.speed` goes, by kind of operation: python -m benchmarks.profile learn"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.speed import NAMES, add_model, folder_of
from ldm.cli import CommandParser, print_table, run_command

# Kinds, by what PyTorch calls their operations; the first that fits.
KINDS = (
    ("convolutions", ("conv",)),
    ("attention kernels", ("scaled_dot_product", "flash_attention")),
    ("products of matrices", ("addmm", "::mm", "bmm", "linear", "matmul")),
    ("norms", ("norm",)),
    ("softmax", ("softmax",)),
    ("activations", ("silu", "gelu", "sigmoid")),
    ("copies, number formats, concatenations", ("copy", "cat", "clone", "contiguous", "reorder", "to_dense")),
    ("sums and products by element", ("add", "mul", "sub", "div", "sum", "mean", "upsample", "fill", "zero")),
)


def kind_of(operation: str) -> str:
    """The kind of an operation, by its name."""
    return next((kind for kind, parts in KINDS if any(part in operation.lower() for part in parts)), "the rest")


def profile_row(key: str, folder: Path, precision: str) -> dict[str, float]:
    """Seconds that a row takes this project, by kind of operation, the most first; a first time does not count."""
    from torch.profiler import ProfilerActivity, profile

    from benchmarks.sides import ROWS, Ours

    side = Ours(folder, precision)
    run = ROWS[key].prepare(side, side.inputs())
    run()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    seconds: Counter[str] = Counter()
    for event in profiler.key_averages():
        seconds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    return dict(seconds.most_common())


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = CommandParser(description="Where the time of a row of benchmarks.speed goes.",
                           example="python -m benchmarks.profile learn")
    parser.add_argument("row", choices=[name for name in NAMES if name != "load"], help="what is done")
    add_model(parser)
    opt = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        seconds = profile_row(opt.row, folder_of(opt, Path(place)), opt.precision)
    total = sum(seconds.values())
    print_table(("kind of operation", "seconds", "of the time"),
                [(kind, value, f"{value / total:.0%}") for kind, value in seconds.items()])


if __name__ == "__main__":
    run_command(main)
