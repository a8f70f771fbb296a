"""Learn a word with prompts in Korean or English: python train_new_v2.py, with train_new.py's flags"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import train_new
from ldm.cli import run_command


def main(arguments: list[str] | None = None) -> None:
    """Learn a word as v2 does."""
    train_new.main(arguments, "v2")


if __name__ == "__main__":
    run_command(main)
