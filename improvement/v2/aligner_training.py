"""How v2's aligner is trained: teacher forcing on parallel sentences, between two frozen encoders."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn

from improvement.v2.aligner import IGNORE_INDEX, Aligner, SourceEncoding, copy_labels
from improvement.v2.names import NameTokens
from improvement.v2.pre_BERT import MultilingualEmbedder
from improvement.v2.sentences import Pair
from ldm.errors import UserError
from ldm.modules.encoders.text_encoder import TextEncoder
from ldm.optim import muon_and_adam

# sources, targets, and for each source the strings in it that its target leaves out
Batch = tuple[list[str], list[str], list[tuple[str, ...]]]

GAP_WEIGHT = 4.0  # of what is not understood, which is rare
FEATURE_ROWS = 16  # sentences of a batch whose text features are compared


class AlignerTraining(pl.LightningModule):
    """The aligner between a frozen source encoder and the frozen English text encoder."""

    def __init__(self, source_encoder: MultilingualEmbedder, text_encoder: TextEncoder, aligner: Aligner,
                 placeholders: Sequence[str], learning_rate: float, feature_weight: float,
                 train_encoder: bool = False):
        super().__init__()
        self.source_encoder, self.aligner = source_encoder, aligner
        self.trained = nn.ModuleDict({"aligner": aligner})  # what the optimizers and checkpoints have
        if train_encoder:
            self.trained["source_encoder"] = source_encoder.requires_grad_(True)
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        tknz_fn = text_encoder.tknz_fn
        self.placeholder_ids = {p: torch.tensor(tknz_fn.ids(p)[0]) for p in placeholders}
        self.eos_id, self.pad_id = tknz_fn.end_id, tknz_fn.pad_id
        self.name_ids = NameTokens(tknz_fn)
        self.learning_rate, self.feature_weight = learning_rate, feature_weight
        self.strict_loading = False  # checkpoints hold the aligner alone
        self.automatic_optimization = False  # there are two optimizers

    @property
    def token_embeddings(self) -> torch.Tensor:
        """The text encoder's [V, token_dim]."""
        return self.text_encoder.token_embeddings.weight

    def train(self, mode: bool = True) -> AlignerTraining:
        """As for any module, but the text encoder stays in evaluation mode: it is frozen."""
        super().train(mode)
        self.text_encoder.eval()
        return self

    def encode(self, sources: Sequence[str], targets: Sequence[str]) -> tuple[SourceEncoding, torch.Tensor]:
        """The source encoder's output for source sentences, and target token ids [B, max_seq_len]."""
        source = self.source_encoder(sources, list(self.placeholder_ids))
        return source, self.text_encoder.tknz_fn(list(targets)).to(self.device)

    def features(self, ids: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """The text encoder's features [B, N, n_embed] of token embeddings [B, N, token_dim] in place of the ids' own
        [B, N]."""
        return self.text_encoder.features(ids, lambda tokens, own: embeddings)

    def token_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of logits [B, N, V + M] and labels [B, N] in the extended vocabulary, the mean over tokens:
        [] (See et al., arXiv 1704.04368, equations 6 and 7, with one softmax)."""
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX)

    def feature_loss(self, logits: torch.Tensor, labels: torch.Tensor, target_ids: torch.Tensor) -> torch.Tensor:
        """Mean squared difference between the text encoder's features of the target [B, N] and those of the embeddings
        expected under the logits [B, N, V + M]: []. Random vectors stand in for learned words."""
        embeddings = self.token_embeddings
        rows, V, M = len(logits), len(embeddings), logits.shape[-1] - len(embeddings)
        copied = embeddings[torch.randint(V, (rows, M), device=self.device)]
        copied = copied + embeddings.std() * torch.randn_like(copied)  # one for each source position
        probabilities = logits.softmax(dim=-1)
        expected = probabilities[..., :V] @ embeddings + probabilities[..., V:] @ copied
        copies = copied.gather(1, (labels - V).clamp(min=0)[..., None].expand(-1, -1, copied.shape[-1]))
        target = torch.where((labels >= V)[..., None], copies, embeddings[target_ids])
        expected = torch.where((labels == IGNORE_INDEX)[..., None], target, expected)
        return (self.features(target_ids, expected) - self.features(target_ids, target)).square().mean()

    def gap_loss(self, source: SourceEncoding, gaps: Sequence[Sequence[str]]) -> torch.Tensor:
        """Binary cross-entropy of which source tokens are part of the gaps, strings of each sentence, the mean: []."""
        labels = torch.zeros(source.mask.shape, device=self.device)
        for row, (ids, strings) in enumerate(zip(cast(torch.Tensor, source.ids).tolist(), gaps, strict=True)):
            for string in strings:
                wanted = self.source_encoder.tokenizer(string, add_special_tokens=False)["input_ids"]
                for start in range(len(ids) - len(wanted) + 1):
                    if ids[start : start + len(wanted)] == wanted:
                        labels[row, start : start + len(wanted)] = 1.0
        logits = self.aligner.not_understood(source)
        return F.binary_cross_entropy_with_logits(logits[source.mask], labels[source.mask],
                                                  pos_weight=torch.tensor(GAP_WEIGHT, device=self.device))

    def loss(self, sources: Sequence[str], targets: Sequence[str], gaps: Sequence[Sequence[str]] | None = None
             ) -> torch.Tensor:
        """What training minimises, for source sentences in any language, their English targets and what these leave
        out: []."""
        source, target_ids = self.encode(sources, targets)
        labels, prefix = copy_labels(target_ids, source, self.placeholder_ids, len(self.token_embeddings), self.pad_id,
                                     self.name_ids)
        target_ids, prefix = target_ids[:, : labels.shape[1]], prefix[:, :-1]  # the rest has no labels
        _, logits = self.aligner(source, self.token_embeddings, prefix)
        loss = self.token_loss(logits, labels)
        self.log("train/token_loss", loss, prog_bar=True, batch_size=len(sources))
        if self.feature_weight > 0 and not source.names:  # else a target token is not a label
            feature_loss = self.feature_loss(*(x[:FEATURE_ROWS] for x in (logits, labels, target_ids)))
            self.log("train/feature_loss", feature_loss, batch_size=len(sources))
            loss = loss + self.feature_weight * feature_loss
        if gaps is not None and self.aligner.gap is not None:
            gap_loss = self.gap_loss(source, gaps)
            self.log("train/gap_loss", gap_loss, prog_bar=True, batch_size=len(sources))
            loss = loss + gap_loss
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One update of both optimizers on a batch of collate."""
        muon, adam = cast(Any, self.optimizers())
        for optimizer in (muon, adam):
            optimizer.zero_grad()
        self.manual_backward(self.loss(*batch))
        torch.nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
        adam.optimizer.step()
        muon.step()  # this one Lightning counts
        for schedule in cast(Any, self.lr_schedulers()):
            schedule.step()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the share of sentences whose greedy translation is right in every token, and of tokens that are."""
        source, target_ids = self.encode(*batch[:2])
        translation = self.aligner.translate(source, self.token_embeddings, self.placeholder_ids, self.eos_id,
                                             self.pad_id, name_ids=self.name_ids).to(self.device)
        right = (translation == target_ids) | (target_ids == self.pad_id)
        self.log("val/exact_match", right.all(dim=1).float().mean(), prog_bar=True, batch_size=len(target_ids))
        self.log("val/token_accuracy", right[target_ids != self.pad_id].float().mean(), batch_size=len(target_ids))

    def configure_optimizers(self) -> Any:
        """Muon and AdamW, each with a learning rate that rises for a twentieth of the steps and then falls."""
        optimizers = muon_and_adam(self.trained, self.learning_rate)
        return optimizers, [torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.trainer.max_steps, pct_start=0.05, cycle_momentum=False)
            for optimizer in optimizers]

    def state(self) -> dict[str, torch.Tensor]:
        """What is trained, by name: the aligner's weights, and the encoder's if it is trained too."""
        return {name.removeprefix("trained."): weight for name, weight in self.state_dict().items()
                if name.startswith("trained.")}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained alone."""
        checkpoint["state_dict"] = self.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises UserError for a checkpoint of another aligner, which strict_loading would let pass unread."""
        if set(self.state()) != set(checkpoint["state_dict"]):
            raise UserError("the run's checkpoint is of another or an earlier aligner; take a new folder for the run")
        checkpoint["state_dict"] = {f"trained.{name}": w for name, w in checkpoint["state_dict"].items()}


def collate(pairs: list[Pair], english_share: float) -> Batch:
    """Source and target sentences of pairs and what the targets leave out; a share of the sources is the target
    itself."""
    sources = [Pair(pair.en, pair.en) if pair.en and random.random() < english_share else pair for pair in pairs]
    return [pair.ko for pair in sources], [pair.en for pair in sources], [pair.gaps for pair in sources]
