"""Train v2's aligner on parallel sentences: python -m improvement.v2.train_aligner --run logs/aligner --out FILE"""

from __future__ import annotations

import random
import sys
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from transformers.trainer_pt_utils import LengthGroupedSampler

from improvement.v2.aligner import Aligner, save_aligner, targets
from improvement.v2.pre_BERT import MultilingualEmbedder
from improvement.v2.sentences import PAIRS, read_pairs
from ldm.cli import CommandParser, quiet_lightning, run_command
from ldm.devices import choose_devices, fast_bfloat16, first_device
from ldm.optim import muon_and_adam
from load import add_model_flags, load_model

FEATURE_ROWS = 16  # sentences of a batch whose features are compared


class AlignerTraining(pl.LightningModule):
    """The aligner between a frozen multilingual transformer and a frozen English text encoder."""

    def __init__(self, embedder: MultilingualEmbedder, text_encoder, aligner: Aligner, placeholders: list[str],
                 learning_rate: float, feature_weight: float):
        super().__init__()
        self.embedder, self.aligner = embedder, aligner
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        tknz_fn = text_encoder.tknz_fn
        self.placeholders = {sign: torch.tensor(tknz_fn.ids(sign)[0]) for sign in placeholders}
        self.end, self.pad = tknz_fn.tokenizer.sep_token_id, tknz_fn.tokenizer.pad_token_id
        self.learning_rate, self.feature_weight = learning_rate, feature_weight
        self.strict_loading = False  # checkpoints hold the aligner alone
        self.automatic_optimization = False  # there are two optimizers

    @property
    def table(self) -> torch.Tensor:
        return self.text_encoder.transformer.token_emb.weight

    def train(self, mode: bool = True):
        super().train(mode)
        self.text_encoder.eval()
        return self

    def features(self, ids: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """What the text encoder makes of token embeddings [B, N, D] in place of the ids' own."""
        return self.text_encoder.transformer(ids, lambda tokens, own: embedded)

    def word_loss(self, logits, wanted):
        """Cross-entropy of the right token or pointer, averaged over the English sentences' tokens."""
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-100)

    def feature_loss(self, logits, wanted, ids):
        """Mean squared difference between the text encoder's features of the English sentence and those of the
        aligner's mean embeddings, random vectors standing in for learned words."""
        rows, V, M = len(logits), len(self.table), logits.shape[-1] - len(self.table)
        words = self.table[torch.randint(V, (rows, M), device=self.device)]
        vectors = words + self.table.std() * torch.randn_like(words)  # one for each place that a pointer can choose
        mean = logits.softmax(dim=-1)
        soft = mean[..., :V] @ self.table + mean[..., V:] @ vectors
        pointed = vectors.gather(1, (wanted - V).clamp(min=0)[..., None].expand(-1, -1, words.shape[-1]))
        right = torch.where((wanted >= V)[..., None], pointed, self.table[ids])
        soft = torch.where((wanted == -100)[..., None], right, soft)
        return (self.features(ids, soft) - self.features(ids, right)).square().mean()

    def loss(self, sources: list[str], english: list[str]) -> torch.Tensor:
        """What training minimises, for sentences in any language and their English ones: []."""
        reading = self.embedder(sources, list(self.placeholders))
        ids = self.text_encoder.tknz_fn(english).to(self.device)
        ids = ids[:, : int((ids != self.pad).sum(dim=1).max())]  # what comes after a sentence's end does not matter
        choices = targets(ids, reading, self.placeholders, len(self.table))
        said = torch.where(choices < 0, ids, choices)
        wanted = choices.masked_fill(ids == self.pad, -100)
        _, logits = self.aligner(reading, self.table, said[:, :-1])
        loss = self.word_loss(logits, wanted)
        self.log("train/word_loss", loss, prog_bar=True, batch_size=len(sources))
        if self.feature_weight > 0:
            feature_loss = self.feature_loss(*(x[:FEATURE_ROWS] for x in (logits, wanted, ids)))
            self.log("train/feature_loss", feature_loss, batch_size=len(sources))
            loss = loss + self.feature_weight * feature_loss
        return loss

    def training_step(self, batch, batch_idx):
        muon, adam = self.optimizers()
        for optimizer in (muon, adam):
            optimizer.zero_grad()
        self.manual_backward(self.loss(*batch))
        torch.nn.utils.clip_grad_norm_(self.aligner.parameters(), 1.0)
        adam.optimizer.step()
        muon.step()  # this one Lightning counts
        for schedule in self.lr_schedulers():
            schedule.step()

    def validation_step(self, batch, batch_idx):
        """The share of sentences whose every token is right, and of tokens that are."""
        sources, english = batch
        reading = self.embedder(sources, list(self.placeholders))
        ids = self.text_encoder.tknz_fn(english).to(self.device)
        found = self.aligner.english(reading, self.table, self.placeholders, self.end, self.pad)
        right = (found == ids) | (ids == self.pad)
        self.log("val/sentences", right.all(dim=1).float().mean(), prog_bar=True, batch_size=len(sources))
        self.log("val/tokens", right[ids != self.pad].float().mean(), batch_size=len(sources))

    def configure_optimizers(self):
        optimizers = muon_and_adam(self.aligner, self.learning_rate)
        return optimizers, [torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.trainer.max_steps, pct_start=0.05, cycle_momentum=False)
            for optimizer in optimizers]

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["state_dict"] = {n: v for n, v in checkpoint["state_dict"].items() if n.startswith("aligner.")}


def collate(pairs: list[tuple[str, str]], english_share: float) -> tuple[list[str], list[str]]:
    """(sources, English sentences); a share of the sources is the English sentence itself."""
    return ([en if random.random() < english_share else ko for ko, en in pairs], [en for _, en in pairs])


def main(arguments: list[str] | None = None) -> None:
    """Train the aligner."""
    parser = CommandParser(description="Train the aligner of v2 between two frozen text encoders.")
    add = parser.add_argument
    add("--pairs", nargs="+", type=Path, default=[PAIRS], metavar="CSV",
        help="parallel sentences, columns ko and en")
    add("--multilingual", default="models/multilingual/emoji", metavar="NAME", help="hub name or folder")
    add("--run", type=Path, required=True, metavar="FOLDER", help="checkpoints and TensorBoard; is resumed if there")
    add("--out", type=Path, required=True, metavar="FILE", help="the finished aligner")
    add("--steps", type=int, default=4000)
    add("--batch_size", type=int, default=64)
    add("--learning_rate", type=float, default=4e-3)
    add("--feature_weight", type=float, default=1.0, help="of the loss on the text encoder's output")
    add("--english_share", type=float, default=0.25, help="share of English sentences among the sources")
    add("--validation", type=int, default=500, help="pairs kept out of training")
    add("--placeholders", nargs="+", default=["*", "&"], metavar="SIGN", help="signs of learned words in the pairs")
    add("--seed", type=int, default=0)
    add_model_flags(parser, without=["--embedding_path", "--variant"])
    opt = parser.parse_args(arguments)
    quiet_lightning()
    pl.seed_everything(opt.seed, verbose=False)
    pairs = read_pairs(*opt.pairs)
    random.Random(opt.seed).shuffle(pairs)
    held = min(opt.validation, len(pairs) // 10)
    text_encoder = load_model(opt).cond_stage_model.cpu()
    embedder = MultilingualEmbedder(opt.multilingual)
    aligner = Aligner(embedder.dim, text_encoder.transformer.token_emb.embedding_dim,
                      text_encoder.transformer.max_seq_len, dropout=0.1)
    module = AlignerTraining(embedder, text_encoder, aligner, opt.placeholders, opt.learning_rate, opt.feature_weight)

    checkpoints = pl.callbacks.ModelCheckpoint(opt.run / "checkpoints", "best", monitor="val/sentences", mode="max",
                                               save_last=True, enable_version_counter=False)
    accelerator, devices = choose_devices(opt.gpus)
    precision = "bf16-mixed" if fast_bfloat16(first_device(opt.gpus)) else "32-true"
    sampler = LengthGroupedSampler(opt.batch_size, lengths=[len(en) for _, en in pairs[held:]])
    training = DataLoader(pairs[held:], opt.batch_size, sampler=sampler, drop_last=True,
                          collate_fn=partial(collate, english_share=opt.english_share))
    trainer = pl.Trainer(
        max_steps=opt.steps, accelerator=accelerator, devices=devices, precision=precision,
        callbacks=[checkpoints, pl.callbacks.TQDMProgressBar(refresh_rate=20)],
        logger=pl.loggers.TensorBoardLogger(opt.run, "tensorboard", ""), enable_model_summary=False,
        check_val_every_n_epoch=max(1, 1000 // max(1, len(training))), num_sanity_val_steps=0, log_every_n_steps=20)
    last = opt.run / "checkpoints/last.ckpt"
    trainer.fit(module, training, DataLoader(pairs[:held], 100, collate_fn=partial(collate, english_share=0.0)),
                ckpt_path=last if last.is_file() else None, weights_only=True)
    if checkpoints.best_model_path:
        best = torch.load(checkpoints.best_model_path, weights_only=True)["state_dict"]
        aligner.load_state_dict({n.removeprefix("aligner."): v for n, v in best.items()})
    save_aligner(aligner.cpu(), opt.out)
    print(f"{opt.out}: {float(checkpoints.best_model_score or 0):.1%} of {held} held-out sentences are right in every "
          "token", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
