"""Make pictures with a word that train_new_v1.py learned: python txt2img_v1.py, with txt2img.py's flags"""

import txt2img
from improvement.v1.post_BERT import CONFIG
from ldm.cli import run_command


def main(arguments: list[str] | None = None) -> None:
    txt2img.main(arguments, CONFIG)


if __name__ == "__main__":
    run_command(main)
