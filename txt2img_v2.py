"""Make pictures from prompts in Korean, English or a mixture: python txt2img_v2.py, with txt2img.py's flags"""

import txt2img
from improvement.v2.pre_BERT import CONFIG
from ldm.cli import run_command


def main(arguments: list[str] | None = None) -> None:
    txt2img.main(arguments, CONFIG)


if __name__ == "__main__":
    run_command(main)
