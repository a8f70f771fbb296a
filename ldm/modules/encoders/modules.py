"""Text encoders: a word-piece tokenizer and a transformer that turns prompts into features."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import torch
from torch import nn
from transformers import BertTokenizer

from ldm.errors import UserError
from ldm.modules.x_transformer import Encoder, TransformerWrapper
from ldm.pretrained import from_pretrained
from ldm.schema import Depth, Range, Trimmed, Width
from ldm.util import quoted

if TYPE_CHECKING:
    from ldm.modules.embedding_manager import EmbeddingManager


VocabularySize = Annotated[int, Range(1, 10**7)]
Length = Annotated[int, Range(3, 10**5)]  # [CLS] and [SEP] are among them


class BERTTokenizer:
    """Prompts -> token ids, with BERT's word pieces: [CLS] pieces [SEP], padded to max_length."""

    def __init__(self, tokenizer: str, max_length: int):
        self.tokenizer = from_pretrained(BertTokenizer, tokenizer, "tokenizer")
        self.max_length = max_length

    def __len__(self) -> int:
        return len(self.tokenizer)

    def __call__(self, text: str | list[str]) -> torch.Tensor:
        """int64 [B, max_length] on the CPU. A prompt that is too long is cut, with a warning that says what is lost."""
        texts = [text] if isinstance(text, str) else list(text)
        for ids in self.tokenizer(texts, truncation=False, verbose=False)["input_ids"]:
            if len(ids) > self.max_length:
                lost = self.tokenizer.decode(ids[self.max_length - 1 : -1])
                warnings.warn(f"a prompt has {len(ids)} tokens and {self.max_length} fit; cut: {quoted(lost)}",
                              stacklevel=2)
        return self.tokenizer(texts, truncation=True, max_length=self.max_length, padding="max_length",
                              return_tensors="pt")["input_ids"]

    def pieces(self, text: str) -> list[str]:
        """The word pieces of a text, without [CLS] and [SEP]."""
        return self.tokenizer.tokenize(text)

    def ids(self, text: str) -> list[int]:
        """The token ids of a text, without [CLS] and [SEP]."""
        return self.tokenizer.convert_tokens_to_ids(self.pieces(text))

    @property
    def unknown_id(self) -> int:
        """The id of what the vocabulary cannot spell."""
        return self.tokenizer.unk_token_id


class BERTEmbedder(nn.Module):
    """The text encoder of latent diffusion: word pieces and a transformer trained with the image model
    (Rombach et al., arXiv 2112.10752, section 4.3.1)."""

    def __init__(
        self,
        n_embed: Width,                         # width of the features
        n_layer: Depth,                         # attention and feed-forward layers
        vocab_size: VocabularySize = 30522,
        max_seq_len: Length = 77,               # tokens of a prompt
        tokenizer: Trimmed = "bert-base-uncased",  # a folder with a vocab.txt, or a name on the model hub
    ):
        super().__init__()
        self.tokenizer_name = tokenizer
        self._tknz_fn: BERTTokenizer | None = None
        self.transformer = TransformerWrapper(vocab_size, max_seq_len, Encoder(n_embed, n_layer))

    @property
    def tknz_fn(self) -> BERTTokenizer:
        """The tokenizer, read when it is first needed."""
        if self._tknz_fn is None:
            tokenizer = BERTTokenizer(self.tokenizer_name, self.transformer.max_seq_len)
            if len(tokenizer) > self.transformer.token_emb.num_embeddings:
                raise UserError(f"tokenizer {self.tokenizer_name!r} has {len(tokenizer)} tokens, the text encoder "
                                f"{self.transformer.token_emb.num_embeddings}: they do not belong together")
            self._tknz_fn = tokenizer
        return self._tknz_fn

    def forward(self, text: str | list[str], embedding_manager: EmbeddingManager | None = None) -> torch.Tensor:
        """Prompts -> features [B, max_seq_len, n_embed]; the manager puts its vectors in place of placeholders, and has
        the last word on the features."""
        device = self.transformer.token_emb.weight.device
        if embedding_manager is None:
            return self.transformer(self.tokenize(text, {}).to(device))
        tokens = self.tokenize(text, embedding_manager.string_to_token_dict).to(device)
        return embedding_manager.refine(self.transformer(tokens, embedding_manager), tokens)

    encode = forward

    def tokenize(self, text: str | list[str], placeholders: dict[str, torch.Tensor]) -> torch.Tensor:
        """Token ids [B, max_seq_len] of prompts in which learned words ({sign: token id}) may stand."""
        return self.tknz_fn(text)

    def word_ids(self, word: str) -> list[int]:
        """The token ids of a word, without [CLS] and [SEP]."""
        return self.tknz_fn.ids(word)

    def reads(self, word: str, placeholders: Iterable[str]) -> bool:
        """Whether a word, in which learned words may stand, has tokens of its own, none the one for all unknown."""
        return self.tknz_fn.unknown_id not in self.tknz_fn.ids(word)

    def warn_if_unreadable(self, prompt: str, placeholders: Iterable[str] = ()) -> None:
        """Say so on stderr when a prompt has words that are all one to the text encoder, since it knows none of
        them."""
        words = prompt.split()[: self.transformer.max_seq_len]  # what is cut off matters to nobody
        unknown = [w for w in dict.fromkeys(words) if not self.reads(w, placeholders)]
        if unknown:
            named = ", ".join(quoted(w, 30) for w in unknown[:10]) + f" and {len(unknown) - 10} more" * (
                len(unknown) > 10)
            print(f"warning: the text encoder cannot read {named} in {quoted(prompt)}; it draws the same for any other "
                  f"word that it does not know; {self.remedy(unknown)}", file=sys.stderr)

    def remedy(self, unknown: list[str]) -> str:
        """What to do about words that cannot be read."""
        letters = any(c.isalpha() and not c.isascii() for c in "".join(unknown))
        return "take English words" + ", or txt2img_v2.py, which reads other languages" * letters
