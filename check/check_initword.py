"""How the text encoder reads an init word: python -m check.check_initword WORD..."""

import argparse

from check.common import model_flags, print_table
from ldm.cli import run_command
from load import instantiate_from_config, load_config
from txt2img import find_config


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print the word pieces and token ids of init words, and whether one "
                                     "vector can start from one piece.")
    parser.add_argument("words", nargs="+", metavar="WORD")
    parser.add_argument("-d", "--debug", action="store_true", help="show tracebacks")
    opt = model_flags(parser).parse_args(arguments)
    embedder = instantiate_from_config(load_config(find_config(opt)).model.params.cond_stage_config)
    tokenizer, rows = embedder.tknz_fn, []
    for word in opt.words:
        ids = tokenizer.ids(word)
        if not ids or tokenizer.unknown_id in ids:
            verdict = "no: the text encoder cannot read it"
        elif len(ids) == 1:
            verdict = "yes"
        else:
            verdict = f"no: one vector starts from the mean of {len(ids)}; {len(ids)} vectors take one each"
        rows.append((word, " ".join(tokenizer.pieces(word)), " ".join(map(str, ids)), verdict))
    print_table(("word", "pieces", "ids", "one vector from one piece"), rows)


if __name__ == "__main__":
    run_command(main)
