"""Make pictures from prompts in Korean, English or a mixture: python txt2img_v2.py, with txt2img.py's flags"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import txt2img
from ldm.cli import run_command


def main(arguments: list[str] | None = None) -> None:
    """Make pictures as v2 does."""
    txt2img.main(arguments, "v2")


if __name__ == "__main__":
    run_command(main)
