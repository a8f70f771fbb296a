"""Learn a word together with an adapter behind the text encoder: python train_new_v1.py, with train_new.py's flags"""

import train_new
from improvement.v1.post_BERT import CONFIG
from ldm.cli import run_command


def main(arguments: list[str] | None = None) -> None:
    train_new.main(arguments, CONFIG)


if __name__ == "__main__":
    run_command(main)
