"""Learn a word with prompts in Korean or English: python train_new_v2.py, with train_new.py's flags"""

import train_new
from improvement.v2.pre_BERT import CONFIG
from ldm.cli import run_command


def main(arguments: list[str] | None = None) -> None:
    train_new.main(arguments, CONFIG)


if __name__ == "__main__":
    run_command(main)
