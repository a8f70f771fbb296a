"""v2: prompts in any language, translated into the English text encoder's tokens before it reads them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from improvement.v2.aligner import Aligner, SourceEncoding, copy_labels, load_aligner
from improvement.v2.alignment import align, cross_attention, weighed_words
from ldm.errors import UserError
from ldm.modules.encoders.modules import BERTEmbedder
from ldm.modules.encoders.text_encoder import Placeholders
from ldm.placeholders import split_prompt
from ldm.pretrained import from_pretrained
from ldm.prompts import Prompt
from ldm.schema import Trimmed
from ldm.util import quoted, resolve_file


class MultilingualEmbedder(nn.Module):
    """The source encoder: a frozen encoder of `transformers`, its last layer's states beside its token embeddings.

    The placeholder of a learned word enters as the encoder's mask token: one token in every language, whatever
    particle follows it ("*의 사진"), about which the encoder knows no more than its context.
    """

    def __init__(self, name_or_folder: str, max_length: int = 64):
        super().__init__()
        verbosity = logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()  # a pooling layer that nothing here uses may be missing
        try:
            self.tokenizer = from_pretrained(AutoTokenizer, name_or_folder, "multilingual transformer")
            self.model = from_pretrained(AutoModel, name_or_folder, "multilingual transformer", weights_only=True,
                                         dtype=torch.float32).eval().requires_grad_(False)
        finally:
            logging.set_verbosity(verbosity)
        if self.tokenizer.mask_token is None:
            raise UserError(f"multilingual transformer {name_or_folder}: has no mask token to stand for learned words")
        self.max_length = max_length

    @property
    def memory_dim(self) -> int:
        """Width of the encoder's output, twice its hidden size H."""
        return 2 * self.model.config.hidden_size

    def train(self, mode: bool = True) -> MultilingualEmbedder:
        """Stays in evaluation mode: it is frozen."""
        return super().train(False)

    def tokenize(self, prompts: Sequence[str], placeholders: Sequence[str], ignore_case: bool = False
                 ) -> tuple[torch.Tensor, torch.Tensor, list[dict[int, str]]]:
        """Source token ids [B, M], their mask, bool [B, M], and for each prompt {position: placeholder}.

        Raises UserError for a prompt that itself has the mask token.
        """
        texts, found = [], []
        for prompt in prompts:
            parts = list(split_prompt(prompt, placeholders, ignore_case))
            if any(part.placeholder is None and self.tokenizer.mask_token in part.text for part in parts):
                raise UserError(f"the prompt {quoted(prompt)} has {self.tokenizer.mask_token} in it, kept for learned "
                                "words")
            found.append([part.placeholder for part in parts if part.placeholder is not None])
            text = "".join(f" {self.tokenizer.mask_token} " if part.placeholder else part.text for part in parts)
            texts.append(text.strip() if placeholders else text)
        for ids in self.tokenizer(texts, verbose=False)["input_ids"]:
            if len(ids) > self.max_length:
                warnings.warn(f"a prompt has {len(ids)} tokens and {self.max_length} fit; cut: "
                              f"{quoted(str(self.tokenizer.decode(ids[self.max_length - 1 : -1])))}", stacklevel=2)
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        ids = batch["input_ids"]
        # not strict: a placeholder that was cut off has no mask token left
        positions = [dict(zip((row == self.tokenizer.mask_token_id).nonzero()[:, 0].tolist(), names, strict=False))
                     for row, names in zip(ids, found, strict=True)]
        return ids, batch["attention_mask"].bool(), positions

    def weighed_words(self, prompt: Prompt, placeholders: Sequence[str], ignore_case: bool = False
                      ) -> tuple[list[int], list[float]]:
        """(the word of each source token of a prompt, -1 for none; the weight of each word), for the tokens of
        `tokenize`. A placeholder is a word."""
        text, weights, rest = "", list[float](), prompt.weights
        for part in split_prompt(prompt.text, placeholders, ignore_case):
            own, rest = rest[: len(part.text)], rest[len(part.text) :]
            piece = f" {self.tokenizer.mask_token} " if part.placeholder else part.text
            text, weights = text + piece, weights + ([sum(own) / len(own)] * len(piece) if part.placeholder else own)
        if placeholders:
            text, weights = text.strip(), weights[len(text) - len(text.lstrip()) :]
        spans = self.tokenizer(text, truncation=True, max_length=self.max_length, return_offsets_mapping=True,
                               verbose=False)["offset_mapping"]
        return weighed_words(text, weights, spans)

    @torch.no_grad()
    def forward(self, prompts: Sequence[str], placeholders: Sequence[str] = (), ignore_case: bool = False
                ) -> SourceEncoding:
        """Encode prompts in which placeholders may stand: memory [B, M, 2 H]. Raises UserError as tokenize does."""
        ids, mask, positions = self.tokenize(prompts, placeholders, ignore_case)
        device = self.model.device
        hidden_states = self.model(input_ids=ids.to(device), attention_mask=mask.to(device).long(),
                                   output_hidden_states=True).hidden_states
        # the token's context, and which token it is: the aligner learns faster with both
        memory = torch.cat([hidden_states[-1], hidden_states[0]], dim=-1)
        return SourceEncoding(memory, mask.to(device), positions)


class AlignedEmbedder(BERTEmbedder):
    """The text encoder of a published or embedded model, behind a multilingual encoder and an aligner.

    Prompts in any language become English token ids, placeholders among them; from there on everything is as without
    v2, so that a learned word means what it meant when it was learned.
    """

    def __init__(
        self,
        multilingual: Trimmed = "models/multilingual/emoji",        # a folder, or a name on the model hub
        aligner: Trimmed = "models/multilingual/emoji/aligner.pt",  # what improvement/v2/train_aligner.py wrote
        **kwargs: Any,                                           # see BERTEmbedder
    ):
        super().__init__(**kwargs)
        self.multilingual_name, self.aligner_file = multilingual, aligner
        self._translator: list[tuple[MultilingualEmbedder, Aligner]] = []  # a list: out of the model's checkpoint

    @property
    def translator(self) -> tuple[MultilingualEmbedder, Aligner]:
        """Source encoder and aligner, read when they are first needed, on the text encoder's device.

        Raises UserError for files that cannot be read or do not fit each other.
        """
        token_embeddings = self.token_embeddings.weight
        if not self._translator:
            with torch.random.fork_rng(devices=[]):  # when it is first needed must not change what a run draws
                source_encoder = MultilingualEmbedder(self.multilingual_name)
                aligner = load_aligner(Path(resolve_file(self.aligner_file)))
            aligner.check_fit(source_encoder.memory_dim, token_embeddings, self.aligner_file)
            self._translator = [(source_encoder, aligner.eval())]
        source_encoder, aligner = self._translator[0]
        return source_encoder.to(token_embeddings.device), aligner.to(token_embeddings.device)

    def read(self, prompts: Sequence[str], placeholders: Iterable[str]) -> SourceEncoding:
        """What the source encoder makes of prompts in which placeholders may stand."""
        return self.translator[0](prompts, list(placeholders), self.tknz_fn.ignores_case)

    @torch.no_grad()
    def tokenize(self, text: str | list[str], placeholders: Placeholders) -> torch.Tensor:
        """Token ids [B, max_seq_len], on the CPU, of the translation of prompts in which placeholders may stand. What
        is empty to the text encoder stays empty: guidance goes away from what the base goes away from."""
        texts = [text] if isinstance(text, str) else list(text)
        tokenizer = self.tknz_fn
        rows = {i: tokenizer("")[0] for i, t in enumerate(texts) if not tokenizer.ids(t)}
        if sentences := [i for i in range(len(texts)) if i not in rows]:
            source = self.read([texts[i] for i in sentences], placeholders)
            translation = self.translator[1].translate(
                source, self.token_embeddings.weight, placeholders, eos_id=tokenizer.end_id, pad_id=tokenizer.pad_id)
            rows |= dict(zip(sentences, translation, strict=True))
        return torch.stack([rows[i] for i in range(len(texts))])

    @torch.no_grad()
    def token_weights(self, prompt: Prompt, placeholders: Placeholders) -> list[float]:
        """The weight of each token of a prompt's translation: that of the word it comes from, by where the aligner
        looked (`improvement.v2.alignment`). A placeholder's own is exact."""
        tokens, V = self.tokenize(prompt.text, placeholders), self.token_embeddings.num_embeddings
        weights = [1.0] * tokens.shape[1]
        ends = (tokens[0] == self.tknz_fn.end_id).nonzero()[:, 0].tolist() or [tokens.shape[1] - 1]
        words, word_weights = self.translator[0].weighed_words(prompt, list(placeholders), self.tknz_fn.ignores_case)
        if not self.tknz_fn.ids(prompt.text) or not word_weights:
            return weights
        source = self.read([prompt.text], placeholders)
        labels = copy_labels(tokens[:, : ends[0] + 1], source, placeholders, V)
        attention = cross_attention(self.translator[1], source, self.token_embeddings.weight,
                                    labels[:, :-1].clamp(min=0).to(self.token_embeddings.weight.device))
        from_words = align(attention[0], words)
        for n in range(1, ends[0]):
            word = words[int(labels[0, n]) - V] if labels[0, n] >= V else from_words[n]
            weights[n] = word_weights[word] if word >= 0 else 1.0
        return weights

    def reads(self, word: str) -> bool:
        """Whether a word in any language has tokens of its own."""
        source_encoder = self.translator[0]
        ids = source_encoder.tokenize([word], [])[0]
        return source_encoder.tokenizer.unk_token_id not in ids[0].tolist() or not self.tknz_fn.ids(word)

    def remedy(self, unknown: list[str]) -> str:
        """What to do about words that cannot be read."""
        return "take other words"

    def word_ids(self, word: str) -> list[int]:
        """English token ids of a word in any language, without [CLS], [SEP] and articles."""
        if word.isascii():
            return super().word_ids(word)
        left_out = self.tknz_fn.special_ids.union(*map(self.tknz_fn.ids, ("a", "an", "the")))
        return [i for i in self.tokenize(word, {})[0].tolist() if i not in left_out]
