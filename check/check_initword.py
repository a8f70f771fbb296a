"""How the text encoder reads an init word: python -m check.check_initword WORD..."""

import torch
from omegaconf import OmegaConf

from check.common import checked_config, load_checked_model, model_flags, print_table
from ldm.cli import CommandParser, run_command
from ldm.errors import UserError
from load import instantiate_from_config
from txt2img import find_config


def text_encoder(opt):
    """The text encoder that the flags name, without weights. Raises UserError for a config that has none."""
    config = OmegaConf.select(checked_config(opt), "model.params.cond_stage_config")
    if config is None:
        raise UserError(f"{find_config(opt)}: has no model.params.cond_stage_config, the text encoder")
    with torch.device("meta"):
        return instantiate_from_config(config)


def main(arguments: list[str] | None = None) -> None:
    parser = CommandParser(description="Print the word pieces and token ids of init words, and whether one "
                                     "vector can start from one piece.")
    parser.add_argument("words", nargs="+", metavar="WORD")
    parser.add_argument("-d", "--debug", action="store_true", help="show tracebacks")
    opt = model_flags(parser).parse_args(arguments)
    # v2 has to read a word in another language; for other models the vocabulary is enough
    embedder = load_checked_model(opt).cond_stage_model if opt.variant == "v2" else text_encoder(opt)
    tokenizer, rows = embedder.tknz_fn, []
    for word in opt.words:
        ids = embedder.word_ids(word)
        if not ids or tokenizer.unknown_id in ids:
            verdict = "no: the text encoder cannot read it"
        elif len(ids) == 1:
            verdict = "yes"
        else:
            verdict = f"no: one vector starts from the mean of {len(ids)}; {len(ids)} vectors take one each"
        pieces = tokenizer.tokenizer.convert_ids_to_tokens(ids)
        rows.append((word, " ".join(pieces), " ".join(map(str, ids)), verdict))
    print_table(("word", "pieces", "ids", "one vector from one piece"), rows)


if __name__ == "__main__":
    run_command(main)
