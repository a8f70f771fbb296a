"""Time and memory beside diffusers, from the same weights: python -m benchmarks.speed

Every row is done by both in turn, several rounds, after both have given the same numbers; and once by each alone in a
process of its own, for the memory. Without --model it is a small model with random weights, in some minutes.
With OMP_NUM_THREADS=1 the seconds are those that a core worked: for a machine that has other work.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ldm.cli import CommandParser, count, run_command
from ldm.errors import UserError
from ldm.files import write_bytes
from load import ROOT, check_files, load_config, merge_configs, meta_model, model_config, read_state_dict

if TYPE_CHECKING:
    from benchmarks.sides import Row

CONFIG = ROOT / "configs/latent-diffusion/txt2img-1p4B-finetune.yaml"
SMALL = {"model": {"params": {
    "unet_config": {"params": {"model_channels": 128, "context_dim": 512}},
    "first_stage_config": {"params": {"ddconfig": {"ch": 64}}},
    "cond_stage_config": {"params": {"n_embed": 512, "n_layer": 8}}}}}
NAMES = ("learn", "unet", "text", "draw", "draw4", "encode", "decode", "load")
BOTH = "both"
TOLERANCES = {"full": 1e-3, "bf16": 0.15}  # of the difference's norm, in that of the numbers


# The model -----------------------------------------------------------------------------------------------------------

def write_model(folder: Path, model: Path | None) -> None:
    """Write a checkpoint, or the small model with random weights, as a folder of diffusers."""
    from benchmarks.random_checkpoint import random_weights
    from ldm.diffusers_folder import write_folder

    config = model_config(model) if model else merge_configs(load_config(CONFIG), SMALL)
    made = meta_model(config, model)
    weights = read_state_dict(model, made) if model else random_weights(made)
    encoder = made.cond_stage_model
    write_folder(folder, config.model, weights, encoder.tknz_fn.tokenizer, encoder.max_seq_len)


# The machine ---------------------------------------------------------------------------------------------------------

def clock() -> float:
    """Seconds that pass; with one thread, those that a core works, which other work on the machine hardly changes."""
    import torch

    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def matrix_peak(precision: str, size: int = 2048) -> float:
    """GFLOP/s of one product of two square matrices, by the faster of PyTorch's libraries: in float32 it takes MKL,
    which leaves AVX-512 unused on processors that are not Intel's."""
    import torch
    from torch import nn

    from benchmarks.sides import DTYPES
    from ldm.modules.packing import can_pack, pack

    a = torch.randn(size, size).to(DTYPES[precision])
    layer = nn.Sequential(nn.Linear(size, size, bias=False))
    products: list[Callable[[], torch.Tensor]] = [lambda: a @ a]
    seconds = []
    with torch.no_grad():
        if can_pack(a.dtype):
            pack(layer, a.dtype)
            layer(a)
            products.append(lambda: layer(a))
        for product in products:
            start = clock()
            product()
            seconds.append(clock() - start)
    return 2 * size**3 / min(seconds) / 1e9


def describe_machine() -> str:
    """The processor, the threads and the library, on one line."""
    import torch

    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        flags = next(line for line in lines if line.startswith("flags")).split()
        name += "".join(f", {title}" for flag, title in (
            ("avx512f", "AVX-512"), ("avx512_bf16", "AVX-512-bf16"), ("amx_bf16", "AMX")) if flag in flags)
    except (OSError, StopIteration):
        pass
    threads = torch.get_num_threads()
    threading = f"{threads} threads" if threads > 1 else "one thread, and seconds that a core worked"
    return f"{name}; {threading}; PyTorch {torch.__version__}; {datetime.date.today()}"


# One row -------------------------------------------------------------------------------------------------------------

def difference(ours: Any, theirs: Any) -> float:
    """The norm of a difference of two tensors, in that of the second."""
    return float((ours.float() - theirs.float()).norm() / theirs.float().norm())


def time_row(row: Row, folder: Path, precision: str, rounds: int) -> dict[str, Any]:
    """Seconds of both sides in turn, after one round that does not count, and the peak measured between them. Raises
    UserError where their numbers differ."""
    from benchmarks.sides import Ours, Theirs

    sides = {side.name: side(folder, precision) for side in (Ours, Theirs)}
    inputs = sides[Ours.name].inputs()
    runs = {name: row.prepare(side, inputs) for name, side in sides.items()}
    off = difference(*(run() for run in runs.values()))
    if not off < TOLERANCES[precision]:
        raise UserError(f"{row.title}: the two differ by {off:.2g} of what they compute")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    peaks = []
    for i in range(rounds):
        peaks += [matrix_peak(precision) for _ in range(3)]
        for name in list(runs)[:: 1 if i % 2 else -1]:
            start = clock()
            runs[name]()
            seconds[name].append(clock() - start)
    return {"difference": off, "seconds": seconds, "peak": max(peaks)}


def one_side(name: str, key: str, folder: Path, precision: str) -> dict[str, float]:
    """Do a row once, on one side alone: the most memory in GB, and for `load` the seconds."""
    from benchmarks.sides import ROWS, Ours, Theirs

    if name == Theirs.name:  # what is imported when it is first asked for is no part of loading
        from diffusers import LDMTextToImagePipeline
        from transformers import BertTokenizer  # noqa: F401
    else:
        meta_model(model_config(folder), folder)
    start = clock()
    if key != "load":
        side = (Ours if name == Ours.name else Theirs)(folder, precision)
        ROWS[key].prepare(side, side.inputs())()
    elif name == Ours.name:
        Ours(folder, precision)
    else:
        LDMTextToImagePipeline.from_pretrained(folder, local_files_only=True)
    return {"seconds": clock() - start, "memory": peak_memory() / 2**30}


def peak_memory() -> int:
    """The most bytes of memory that this process has had since its program began."""
    import resource

    try:  # what getrusage says includes, on Linux, what the process had before exec: its parent's memory
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def alone(name: str, key: str, folder: Path, precision: str, rounds: int = 1) -> dict[str, Any]:
    """`one_side`, or for both `time_row`, in a process of its own, whose memory is free for the next."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.speed", "--alone", name, "--rows", key, "--folder", folder,
                           "--precision", precision, "--rounds", str(rounds)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{name}, {key}: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(key: str, folder: Path, precision: str, rounds: int) -> dict[str, Any]:
    """All that is known of a row in the end."""
    from benchmarks.sides import ROWS, Ours, Theirs

    names = Ours.name, Theirs.name
    if key == "load":
        found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for i in range(rounds + 1):
            for name in names[:: 1 if i % 2 else -1]:
                found[name].append(alone(name, key, folder, precision))
        return {"title": "load all of it", "seconds": {n: [f["seconds"] for f in found[n][1:]] for n in names},
                "memory": {n: max(f["memory"] for f in found[n]) for n in names}}
    row = ROWS[key]
    return {"title": row.title, "memory": {name: alone(name, key, folder, precision)["memory"] for name in names},
            **alone(BOTH, key, folder, precision, rounds)}


# The table -----------------------------------------------------------------------------------------------------------

def table(report: dict[str, Any]) -> str:
    """A report as Markdown."""
    peaks = [row["peak"] for row in report["rows"].values() if "peak" in row]
    lines = [f"{report['machine']}. Matrix peak in {report['precision']}: {min(peaks):.0f} to {max(peaks):.0f} GFLOP/s."
             if peaks else report["machine"], "",
             "| | GFLOP | this project | of the peak | memory | diffusers | of the peak | memory |",
             "|---|---|---|---|---|---|---|---|"]
    for key in (k for k in NAMES if k in report["rows"]):
        row = report["rows"][key]
        flops = report["flops"].get(key)
        cells = [row["title"], f"{flops / 1e9:,.0f}" if flops else ""]
        for name, seconds in row["seconds"].items():
            share = f"{flops / 1e9 / median(seconds) / row['peak']:.0%}" if flops else ""
            cells += [f"{median(seconds):.2f} s ({min(seconds):.2f}–{max(seconds):.2f})", share,
                      f"{row['memory'][name]:.1f} GB"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def add_model(parser: CommandParser) -> None:
    """Add the flags that say which model, and in which number format."""
    add = parser.add_argument
    add("--model", type=Path, metavar="CKPT", help="a checkpoint of latent diffusion; default: a small model with "
        "random weights")
    add("--folder", type=Path, metavar="FOLDER", help="where the model is as a folder of diffusers, or is written and "
        "kept; default: a temporary folder")
    add("--precision", choices=("full", "bf16"), default="full", help="number format of the networks")


def folder_of(opt: Any, place: Path) -> Path:
    """The folder of diffusers that the flags name; written there, or else into a place, where it is not there yet.
    Raises UserError for a model that is not there."""
    folder = opt.folder or place / "model"
    if opt.model:
        check_files(opt.model)
    if not folder.exists():
        write_model(folder, opt.model)
    return folder


def get_parser() -> CommandParser:
    """The flags."""
    parser = CommandParser(
        description="Time and memory of this project beside diffusers, from the same weights.",
        example="python -m benchmarks.speed --model models/ldm/text2img-large/model.ckpt")
    add_model(parser)
    add = parser.add_argument
    add("--rows", nargs="+", choices=NAMES, default=list(NAMES), help="what to measure; default: everything")
    add("--rounds", type=count, default=5, help="how often both do a row, after a first time that does not count")
    add("--json", type=Path, metavar="FILE", help="where to keep what is measured; rows that are there already go into "
        "the table too")
    add("--alone", help=f"one of the two sides: do a row once and say how much memory that took; {BOTH}: in turn")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    opt = get_parser().parse_args(arguments)
    if opt.alone:
        from benchmarks.sides import ROWS

        key, where = opt.rows[0], (opt.folder, opt.precision)
        print(json.dumps(time_row(ROWS[key], *where, opt.rounds) if opt.alone == BOTH else
                         one_side(opt.alone, key, *where)))
        return
    with tempfile.TemporaryDirectory() as place:
        report = benchmark(folder_of(opt, Path(place)), opt)
    print(table(report))


def benchmark(folder: Path, opt: Any) -> dict[str, Any]:
    """What is measured, beside what --json has from before; written there after every row."""
    from benchmarks.sides import count_flops

    before = json.loads(opt.json.read_text()) if opt.json and opt.json.exists() else {"rows": {}}
    report = {"machine": describe_machine(), "precision": {"full": "float32", "bf16": "bfloat16"}[opt.precision],
              "model": os.fspath(opt.model or "small"), "flops": count_flops(folder), "rows": before["rows"]}
    for key in opt.rows:
        report["rows"][key] = measure(key, folder, opt.precision, opt.rounds)
        print(f"{key}: " + ", ".join(f"{name} {median(s):.2f} s" for name, s in
                                     report["rows"][key]["seconds"].items()), file=sys.stderr)
        if opt.json:
            write_bytes(opt.json, json.dumps(report, indent=1).encode())
    return report


if __name__ == "__main__":
    run_command(main)
