"""Write parallel sentences of the emoji world: python -m pretrain.pairs --out improvement/v2/pairs.csv

Names are Unicode CLDR's in Korean and English, the sentences around them those of improvement/v2/sentences.py.
"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import csv
import io
import random
from pathlib import Path

from improvement.v2.sentences import random_sentences, unseen
from ldm.cli import CommandParser, count, run_command, training_seed
from ldm.files import write_bytes


def main(arguments: list[str] | None = None) -> None:
    """Write the file of pairs."""
    parser = CommandParser(description="Write parallel Korean and English sentences of the emoji world.")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV", help="columns ko and en")
    parser.add_argument("--count", type=count, default=16_000, help="number of pairs")
    parser.add_argument("--seed", type=training_seed, default=0, help="of the random sentences")
    opt = parser.parse_args(arguments)
    from pretrain.world import all_concepts

    sentences = random_sentences(random.Random(opt.seed), [(c.name_ko, c.name) for c in all_concepts()])
    pairs: dict[str, str] = {}  # Korean -> English
    while len(pairs) < opt.count:
        sentence = next(sentences)
        if not unseen(sentence.ko):
            pairs[sentence.ko] = sentence.en
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("ko", "en"))
    writer.writerows(pairs.items())
    write_bytes(opt.out, text.getvalue().encode())
    print(f"{opt.out}: {len(pairs)} pairs")


if __name__ == "__main__":
    run_command(main)
