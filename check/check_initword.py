"""How the text encoder reads an init word: python -m check.check_initword WORD...

Which word tells most about some pictures: python -m check.check_initword --data_root FOLDER
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import argparse
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from ldm.cli import CommandParser, print_table, run_command, training_seed
from ldm.data.pictures import find_images
from ldm.errors import UserError
from load import (
    add_model_flags,
    check_files,
    find_config,
    instantiate_from_config,
    load_model,
    model_config,
    with_tokenizer,
)
from training.config import training_config, training_set

if TYPE_CHECKING:
    from ldm.modules.encoders.text_encoder import TextEncoder


def text_encoder(opt: argparse.Namespace) -> TextEncoder:
    """The text encoder that the flags name. Raises UserError for a config that has none.

    v2 has to read a word in another language, with weights; for other models the vocabulary is enough.
    """
    if opt.variant == "v2":
        return load_model(opt).cond_stage_model
    from ldm.modules.meta import without_weights

    whole = model_config(opt.ckpt_path, opt.config, opt.variant)
    model = OmegaConf.create(dict(with_tokenizer(whole.get("model") or {}, opt.ckpt_path)))
    config = OmegaConf.select(model, "params.cond_stage_config")
    if config is None:
        raise UserError(f"{find_config(opt.ckpt_path, opt.config)}: has no model.params.cond_stage_config, the text "
                        "encoder")
    with without_weights():
        return instantiate_from_config(config)


def print_best(opt: argparse.Namespace) -> None:
    """Print the words that train_new.py --init_word auto would choose from, best first."""
    from ldm.initial_word import find_words

    find_images(opt.data_root)
    bases = opt.base or [training_config(opt.ckpt_path, opt.variant)]
    check_files(opt.config, opt.ckpt_path, bases)
    model = load_model(opt)
    placeholder = model.embedding_manager.placeholder_strings[0]
    dataset = training_set(bases, opt.data_root, placeholder, opt.seed)
    print_table(("word", "loss"), find_words(model, dataset, placeholder))


def main(arguments: list[str] | None = None) -> None:
    """Print a table of init words."""
    parser = CommandParser(
        description="Print the word pieces and token ids of init words, and whether one vector can "
        "start from one piece; or, with --data_root, the ten words that tell most about pictures.",
        example='python -m check.check_initword fruit "green apple"')
    parser.add_argument("words", nargs="*", metavar="WORD", help="words to look at")
    parser.add_argument("--data_root", metavar="FOLDER", help="folder with the pictures to find a word for")
    parser.add_argument("--base", nargs="+", metavar="YAML", help="training configs, of which the data set counts; "
                        "default: the model's own")
    parser.add_argument("--seed", type=training_seed, default=23, help="seed of the run that is meant, with "
                        "--data_root")
    add_model_flags(parser, without=["--embedding_path"])
    opt = parser.parse_args(arguments)
    if bool(opt.words) == bool(opt.data_root):
        raise UserError("give words to look at, or --data_root with pictures to find a word for")
    if opt.data_root:
        print_best(opt)
        return
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
