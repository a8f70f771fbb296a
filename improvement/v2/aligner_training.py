"""How v2's aligner is trained: teacher forcing on parallel sentences, between two frozen encoders."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from improvement.v2.aligner import IGNORE_INDEX, Aligner, SourceEncoding, copy_labels
from improvement.v2.pre_BERT import MultilingualEmbedder
from ldm.errors import UserError
from ldm.modules.encoders.text_encoder import TextEncoder
from ldm.optim import muon_and_adam

FEATURE_ROWS = 16  # sentences of a batch whose text features are compared


class AlignerTraining(pl.LightningModule):
    """The aligner between a frozen source encoder and the frozen English text encoder."""

    def __init__(self, source_encoder: MultilingualEmbedder, text_encoder: TextEncoder, aligner: Aligner,
                 placeholders: Sequence[str], learning_rate: float, feature_weight: float):
        super().__init__()
        self.source_encoder, self.aligner = source_encoder, aligner
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        tknz_fn = text_encoder.tknz_fn
        self.placeholder_ids = {p: torch.tensor(tknz_fn.ids(p)[0]) for p in placeholders}
        self.eos_id, self.pad_id = tknz_fn.end_id, tknz_fn.pad_id
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

    def loss(self, sources: Sequence[str], targets: Sequence[str]) -> torch.Tensor:
        """What training minimises, for source sentences in any language and their English targets: []."""
        source, target_ids = self.encode(sources, targets)
        target_ids = target_ids[:, : int((target_ids != self.pad_id).sum(dim=1).max())]  # the rest has no labels
        labels = copy_labels(target_ids, source, self.placeholder_ids, len(self.token_embeddings))
        prefix = torch.where(labels == IGNORE_INDEX, target_ids, labels)[:, :-1]  # teacher forcing
        labels = labels.masked_fill(target_ids == self.pad_id, IGNORE_INDEX)
        _, logits = self.aligner(source, self.token_embeddings, prefix)
        loss = self.token_loss(logits, labels)
        self.log("train/token_loss", loss, prog_bar=True, batch_size=len(sources))
        if self.feature_weight > 0:
            feature_loss = self.feature_loss(*(x[:FEATURE_ROWS] for x in (logits, labels, target_ids)))
            self.log("train/feature_loss", feature_loss, batch_size=len(sources))
            loss = loss + self.feature_weight * feature_loss
        return loss

    def training_step(self, batch: tuple[list[str], list[str]], batch_idx: int) -> None:
        """One update of both optimizers on a batch of collate."""
        muon, adam = cast(Any, self.optimizers())
        for optimizer in (muon, adam):
            optimizer.zero_grad()
        self.manual_backward(self.loss(*batch))
        torch.nn.utils.clip_grad_norm_(self.aligner.parameters(), 1.0)
        adam.optimizer.step()
        muon.step()  # this one Lightning counts
        for schedule in cast(Any, self.lr_schedulers()):
            schedule.step()

    def validation_step(self, batch: tuple[list[str], list[str]], batch_idx: int) -> None:
        """Log the share of sentences whose greedy translation is right in every token, and of tokens that are."""
        source, target_ids = self.encode(*batch)
        translation = self.aligner.translate(source, self.token_embeddings, self.placeholder_ids, self.eos_id,
                                             self.pad_id).to(self.device)
        right = (translation == target_ids) | (target_ids == self.pad_id)
        self.log("val/exact_match", right.all(dim=1).float().mean(), prog_bar=True, batch_size=len(target_ids))
        self.log("val/token_accuracy", right[target_ids != self.pad_id].float().mean(), batch_size=len(target_ids))

    def configure_optimizers(self) -> Any:
        """Muon and AdamW, each with a learning rate that rises for a twentieth of the steps and then falls."""
        optimizers = muon_and_adam(self.aligner, self.learning_rate)
        return optimizers, [torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.trainer.max_steps, pct_start=0.05, cycle_momentum=False)
            for optimizer in optimizers]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the aligner's weights alone."""
        checkpoint["state_dict"] = {n: v for n, v in checkpoint["state_dict"].items() if n.startswith("aligner.")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises UserError for a checkpoint of another aligner, which strict_loading would let pass unread."""
        if {f"aligner.{name}" for name in self.aligner.state_dict()} != set(checkpoint["state_dict"]):
            raise UserError("the run's checkpoint is of another or an earlier aligner; take a new folder for the run")


def collate(pairs: list[tuple[str, str]], english_share: float) -> tuple[list[str], list[str]]:
    """Source and target sentences of pairs (Korean, English); a share of the sources is the target itself."""
    return ([en if random.random() < english_share else ko for ko, en in pairs], [en for _, en in pairs])
