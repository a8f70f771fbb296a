"""How the text encoder reads an init word: python -m check.check_initword WORD..."""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import argparse
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from ldm.cli import CommandParser, print_table, run_command
from ldm.errors import UserError
from load import add_model_flags, check_files, find_config, instantiate_from_config, load_model, model_config

if TYPE_CHECKING:
    from ldm.modules.encoders.text_encoder import TextEncoder


def text_encoder(opt: argparse.Namespace) -> TextEncoder:
    """The text encoder that the flags name. Raises UserError for a config that has none.

    v2 has to read a word in another language, with weights; for other models the vocabulary is enough.
    """
    if opt.variant == "v2":
        return load_model(opt).cond_stage_model
    from ldm.modules.meta import without_weights

    config = OmegaConf.select(model_config(opt.ckpt_path, opt.config, opt.variant), "model.params.cond_stage_config")
    if config is None:
        raise UserError(f"{find_config(opt.ckpt_path, opt.config)}: has no model.params.cond_stage_config, the text "
                        "encoder")
    with without_weights():
        return instantiate_from_config(config)


def main(arguments: list[str] | None = None) -> None:
    """Print a table of init words."""
    parser = CommandParser(description="Print the word pieces and token ids of init words, and whether one "
                                     "vector can start from one piece.")
    parser.add_argument("words", nargs="+", metavar="WORD")
    add_model_flags(parser, without=["--embedding_path"])
    opt = parser.parse_args(arguments)
    check_files(opt.config, opt.ckpt_path if opt.variant == "v2" else None)
    embedder = text_encoder(opt)
    tokenizer, rows = embedder.tknz_fn, []
    for word in opt.words:
        ids = embedder.word_ids(word)
        if not ids or tokenizer.unknown_id in ids:
            verdict = "no: the text encoder cannot read it"
        elif len(ids) == 1:
            verdict = "yes"
        else:
            verdict = f"no: one vector starts from the mean of {len(ids)}; {len(ids)} vectors take one each"
        pieces = tokenizer.pieces(ids)
        rows.append((word, " ".join(pieces), " ".join(map(str, ids)), verdict))
    print_table(("word", "pieces", "ids", "one vector from one piece"), rows)


if __name__ == "__main__":
    run_command(main)
