"""What is in a checkpoint: python -m check.check_model CKPT [--config YAML]"""

from collections import Counter, defaultdict
from pathlib import Path

from check.common import meta_model, print_table
from ldm.cli import CommandParser, run_command
from load import compare_state, load_config, read_state_dict

# Parts as published checkpoints name them.
PARTS = (("model.diffusion_model.", "UNet"), ("first_stage_model.", "autoencoder"),
         ("cond_stage_model.", "text encoder"), ("model_ema.", "averaged UNet"),
         ("embedding_manager.", "learned words"))


def part_of(name: str) -> str:
    return next((part for prefix, part in PARTS if name.startswith(prefix)), "schedule and other")


def print_names(title: str, names: list[str], most: int) -> None:
    print(f"\n{title}: {len(names) or 'none'}")
    for name in names[:most]:
        print(f"  {name}")
    if len(names) > most:
        print(f"  ... and {len(names) - most} more")


def main(arguments: list[str] | None = None) -> None:
    parser = CommandParser(description="Print the parts of a checkpoint with parameter counts and number "
                                     "formats, and, with a config, what the config misses or does not expect.")
    parser.add_argument("ckpt", metavar="CKPT")
    parser.add_argument("--config", metavar="YAML", help="config to compare with; default: config.yaml beside CKPT, "
                        "if there is one")
    parser.add_argument("--most", type=int, default=10, help="names to list at most (default: %(default)s)")
    parser.add_argument("-d", "--debug", action="store_true", help="show tracebacks")
    opt = parser.parse_args(arguments)

    weights = read_state_dict(opt.ckpt)
    counts, tensors, formats = Counter(), Counter(), defaultdict(set)
    for name, value in weights.items():
        part = part_of(name)
        counts[part] += value.numel()
        tensors[part] += 1
        formats[part].add(str(value.dtype).removeprefix("torch."))
    rows = [(part, tensors[part], counts[part], ", ".join(sorted(formats[part]))) for part in counts]
    rows.append(("all", len(weights), sum(counts.values()), ""))
    print_table(("part", "tensors", "numbers", "format"), rows)

    beside = Path(opt.ckpt).parent / "config.yaml"
    config = opt.config or (beside if beside.is_file() else None)
    if config:
        missing, unexpected, misshapen = compare_state(meta_model(load_config(config)), weights)
        print(f"\ncompared with {config}")
        print_names("weights the config expects and the checkpoint misses", missing, opt.most)
        print_names("entries the config does not expect", unexpected, opt.most)
        print_names("weights of another shape", misshapen, opt.most)


if __name__ == "__main__":
    run_command(main)
