"""Make pictures with a word that train_new_v1.py learned: python txt2img_v1.py, with txt2img.py's flags"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import txt2img
from ldm.cli import run_command


def main(arguments: list[str] | None = None) -> None:
    """Make pictures as v1 does."""
    txt2img.main(arguments, "v1")


if __name__ == "__main__":
    run_command(main)
