"""Train v2's aligner on parallel sentences: python -m improvement.v2.train_aligner --run logs/aligner --out FILE"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import argparse
import random
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from improvement.v2.sentences import PAIRS, Pair, stream_pairs
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
from ldm.errors import UserError
from ldm.progress import say
from load import add_model_flags, load_model

if TYPE_CHECKING:
    from torch.utils.data import Dataset


def main(arguments: list[str] | None = None) -> None:
    """Train the aligner and write its file."""
    parser = CommandParser(
        description="Train the aligner of v2 between two frozen text encoders.",
        example="python -m improvement.v2.train_aligner --run logs/aligner --out aligner.safetensors")
    add = parser.add_argument
    add("--pairs", nargs="+", type=Path, default=[PAIRS], metavar="CSV",
        help="parallel sentences, columns ko and en, of any size; .tsv works too")
    add("--multilingual", default="models/multilingual/emoji", metavar="NAME",
        help="hub name or folder of the transformer")
    add("--run", type=Path, required=True, metavar="FOLDER", help="folder of the run; an existing one is resumed")
    add("--out", type=Path, required=True, metavar="FILE", help="where the finished aligner goes")
    add("--start", type=Path, metavar="FILE", help="an aligner to go on from, with a new run")
    add("--train_encoder", type=Path, metavar="FOLDER", help="train the encoder too, and write it here")
    add("--steps", type=count, default=4000, help="training steps")
    add("--batch_size", type=count, default=64, metavar="N", help="pairs a step")
    add("--learning_rate", type=rate, default=4e-3, help="peak rate")
    add("--feature_weight", type=weight, default=1.0, help="of the loss on the text encoder's output")
    add("--english_share", type=share, default=0.25, help="share of English sentences among the sources")
    new = parser.add_argument_group("a new aligner").add_argument
    new("--width", type=count, default=192, help="of a new aligner, a multiple of 32")
    new("--layers", type=count, default=3, help="layers of a new aligner")
    new("--dropout", type=share, default=0.1, help="in the aligner; 0 where pairs never come twice")
    add("--validate_every", type=count, default=1000, metavar="STEPS", help="steps between two looks at --validation")
    add("--validation", type=natural, default=500, help="pairs kept out of training")
    add("--placeholders", nargs="+", default=["*", "&"], metavar="STRING", help="of learned words in the pairs")
    add("--seed", type=training_seed, default=0, help="seed of everything random")
    add_model_flags(parser, without=["--embedding_path", "--variant"], several_gpus=True)
    parser.set_defaults(variant=None)  # load_model asks for it; the aligner goes before the base's text encoder
    train(parser.parse_args(arguments))


def train(opt: argparse.Namespace) -> None:
    """Train as the flags of main say. Raises UserError for files that are missing or foreign."""
    files, gaps = dict.fromkeys(opt.pairs, 0), False
    for file in files:
        for pair in stream_pairs(file):
            files[file], gaps = files[file] + 1, gaps or bool(pair.gaps)
    if (total := sum(files.values())) < 20:
        raise UserError(f"{' '.join(map(str, opt.pairs))}: {total} pairs are too few")
    # Here, not above: --help and a wrong flag are answered without them.
    import pytorch_lightning as pl
    import torch
    from torch.utils.data import DataLoader

    from improvement.v2.aligner import Aligner, load_aligner, save_aligner
    from improvement.v2.aligner_training import AlignerTraining, collate
    from improvement.v2.pair_batches import PairBatches
    from improvement.v2.pre_BERT import MultilingualEmbedder
    from ldm.devices import choose_devices, fast_bfloat16, first_device

    quiet_lightning()
    pl.seed_everything(opt.seed, verbose=False)
    held = frozenset(random.Random(opt.seed).sample(range(total), min(opt.validation, total // 10)))
    text_encoder = load_model(opt).cond_stage_model.cpu()
    source_encoder = MultilingualEmbedder(opt.multilingual)
    aligner = load_aligner(opt.start) if opt.start else Aligner(
        source_encoder.memory_dim, text_encoder.token_embeddings.embedding_dim, text_encoder.max_seq_len,
        d_model=opt.width, n_layer=opt.layers, heads=opt.width // 32, gaps=int(gaps), dropout=opt.dropout)
    aligner.check_fit(source_encoder.memory_dim, text_encoder.token_embeddings.weight, opt.start or "the new aligner")
    module = AlignerTraining(source_encoder, text_encoder, aligner, opt.placeholders, opt.learning_rate,
                             opt.feature_weight, train_encoder=opt.train_encoder is not None)

    checkpoints = pl.callbacks.ModelCheckpoint(opt.run / "checkpoints", "best", monitor="val/exact_match", mode="max",
                                               save_last=True, enable_version_counter=False)
    accelerator, devices = choose_devices(opt.gpus)
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if fast_bfloat16(first_device(opt.gpus)) else "32-true"
    trainer = pl.Trainer(
        max_steps=opt.steps, accelerator=accelerator, devices=devices, precision=precision,
        callbacks=[checkpoints, pl.callbacks.TQDMProgressBar(refresh_rate=20)],
        logger=pl.loggers.TensorBoardLogger(opt.run, "tensorboard", ""), enable_model_summary=False,
        val_check_interval=min(opt.validate_every, opt.steps), check_val_every_n_epoch=None, num_sanity_val_steps=0,
        log_every_n_steps=20)
    batches = PairBatches(files, held, opt.batch_size, opt.seed, trainer)
    training = DataLoader(batches, batch_size=None, collate_fn=partial(collate, english_share=opt.english_share))
    # A DataLoader takes a list, though its annotation says Dataset.
    kept_out = [pair for i, pair in enumerate(stream_pairs(*files)) if i in held]
    validation = DataLoader(cast("Dataset[Pair]", kept_out), 100, collate_fn=partial(collate, english_share=0.0))
    last = opt.run / "checkpoints/last.ckpt"
    trainer.fit(module, training, validation, ckpt_path=last if last.is_file() else None, weights_only=True)
    score = trainer.validate(module, validation, verbose=False)[0]["val/exact_match"]
    best = checkpoints.best_model_score
    if checkpoints.best_model_path and best is not None and float(best) > score:
        module.trained.load_state_dict(torch.load(checkpoints.best_model_path, weights_only=True)["state_dict"])
        score = float(best)
    save_aligner(aligner.cpu(), opt.out)
    if opt.train_encoder:
        source_encoder.model.cpu().half().save_pretrained(opt.train_encoder)
        source_encoder.tokenizer.save_pretrained(opt.train_encoder)
    say(f"{opt.out}: {score:.1%} of {len(held)} held-out sentences are right in every token")


if __name__ == "__main__":
    run_command(main)
