"""Train v2's aligner on parallel sentences: python -m improvement.v2.train_aligner --run logs/aligner --out FILE"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import argparse
import random
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from improvement.v2.sentences import PAIRS, read_pairs
from ldm.cli import (
    CommandParser,
    count,
    natural,
    quiet_lightning,
    rate,
    run_command,
    share,
    training_seed,
    weight,
)
from load import add_model_flags, load_model

if TYPE_CHECKING:
    from torch.utils.data import Dataset


def main(arguments: list[str] | None = None) -> None:
    """Train the aligner and write its file."""
    parser = CommandParser(description="Train the aligner of v2 between two frozen text encoders.")
    add = parser.add_argument
    add("--pairs", nargs="+", type=Path, default=[PAIRS], metavar="CSV",
        help="parallel sentences, columns ko and en")
    add("--multilingual", default="models/multilingual/emoji", metavar="NAME", help="hub name or folder")
    add("--run", type=Path, required=True, metavar="FOLDER", help="checkpoints and TensorBoard; is resumed if there")
    add("--out", type=Path, required=True, metavar="FILE", help="the finished aligner")
    add("--steps", type=count, default=4000)
    add("--batch_size", type=count, default=64)
    add("--learning_rate", type=rate, default=4e-3)
    add("--feature_weight", type=weight, default=1.0, help="of the loss on the text encoder's output")
    add("--english_share", type=share, default=0.25, help="share of English sentences among the sources")
    add("--validation", type=natural, default=500, help="pairs kept out of training")
    add("--placeholders", nargs="+", default=["*", "&"], metavar="STRING", help="of learned words in the pairs")
    add("--seed", type=training_seed, default=0)
    add_model_flags(parser, without=["--embedding_path", "--variant"], several_gpus=True)
    parser.set_defaults(variant=None)  # load_model asks for it; the aligner goes before the base's text encoder
    train(parser.parse_args(arguments))


def train(opt: argparse.Namespace) -> None:
    """Train as the flags of main say. Raises UserError for files that are missing or foreign."""
    pairs = read_pairs(*opt.pairs)
    # Here, not above: --help and a wrong flag are answered without them.
    import pytorch_lightning as pl
    import torch
    from torch.utils.data import DataLoader
    from transformers.trainer_pt_utils import LengthGroupedSampler

    from improvement.v2.aligner import Aligner, save_aligner
    from improvement.v2.aligner_training import AlignerTraining, collate
    from improvement.v2.pre_BERT import MultilingualEmbedder
    from ldm.devices import choose_devices, fast_bfloat16, first_device

    quiet_lightning()
    pl.seed_everything(opt.seed, verbose=False)
    random.Random(opt.seed).shuffle(pairs)
    held = min(opt.validation, len(pairs) // 10)
    text_encoder = load_model(opt).cond_stage_model.cpu()
    source_encoder = MultilingualEmbedder(opt.multilingual)
    aligner = Aligner(source_encoder.memory_dim, text_encoder.token_embeddings.embedding_dim,
                      text_encoder.max_seq_len, dropout=0.1)
    module = AlignerTraining(source_encoder, text_encoder, aligner, opt.placeholders, opt.learning_rate,
                             opt.feature_weight)

    checkpoints = pl.callbacks.ModelCheckpoint(opt.run / "checkpoints", "best", monitor="val/exact_match", mode="max",
                                               save_last=True, enable_version_counter=False)
    accelerator, devices = choose_devices(opt.gpus)
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if fast_bfloat16(first_device(opt.gpus)) else "32-true"
    # A DataLoader takes a list, though its annotation says Dataset.
    validation_set, training_set = (cast("Dataset[tuple[str, str]]", part) for part in (pairs[:held], pairs[held:]))
    sampler = LengthGroupedSampler(opt.batch_size, lengths=[len(en) for _, en in pairs[held:]])
    training = DataLoader(training_set, opt.batch_size, sampler=sampler, drop_last=True,
                          collate_fn=partial(collate, english_share=opt.english_share))
    validation = DataLoader(validation_set, 100, collate_fn=partial(collate, english_share=0.0))
    trainer = pl.Trainer(
        max_steps=opt.steps, accelerator=accelerator, devices=devices, precision=precision,
        callbacks=[checkpoints, pl.callbacks.TQDMProgressBar(refresh_rate=20)],
        logger=pl.loggers.TensorBoardLogger(opt.run, "tensorboard", ""), enable_model_summary=False,
        check_val_every_n_epoch=max(1, 1000 // max(1, len(training))), num_sanity_val_steps=0, log_every_n_steps=20)
    last = opt.run / "checkpoints/last.ckpt"
    trainer.fit(module, training, validation, ckpt_path=last if last.is_file() else None, weights_only=True)
    if checkpoints.best_model_path:
        best = torch.load(checkpoints.best_model_path, weights_only=True)["state_dict"]
        aligner.load_state_dict({n.removeprefix("aligner."): v for n, v in best.items()})
    save_aligner(aligner.cpu(), opt.out)
    print(f"{opt.out}: {float(checkpoints.best_model_score or 0):.1%} of {held} held-out sentences are right in every "
          "token", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
