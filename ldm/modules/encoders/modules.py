"""The text encoders that configs name. The one of latent diffusion: BERT's word pieces and a transformer that turns
prompts into features."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import BertTokenizer

from ldm.modules.encoders.clip import FrozenCLIPEmbedder
from ldm.modules.encoders.known_words import KnownWords, read_known_words
from ldm.modules.encoders.text_encoder import Length, PromptTokenizer, TextEncoder, VocabularySize
from ldm.modules.x_transformer import Encoder, TransformerWrapper
from ldm.pretrained import from_pretrained
from ldm.schema import Depth, Trimmed, Width
from ldm.util import resolve_folder

if TYPE_CHECKING:
    from ldm.modules.x_transformer import Inject

__all__ = ["BERTEmbedder", "BERTTokenizer", "FrozenCLIPEmbedder"]  # what configs name as in this file


class BERTTokenizer(PromptTokenizer):
    """Prompts -> token ids, with BERT's word pieces: [CLS] pieces [SEP], padded to max_length."""

    def __init__(self, tokenizer: str, max_length: int):
        bert = from_pretrained(BertTokenizer, tokenizer, "tokenizer")
        super().__init__(bert, max_length, bert.cls_token_id, bert.sep_token_id, bert.pad_token_id)


class BERTEmbedder(TextEncoder):
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
        self.tokenizer_name, self.max_seq_len = tokenizer, max_seq_len
        self.transformer = TransformerWrapper(vocab_size, max_seq_len, Encoder(n_embed, n_layer))

    def make_tokenizer(self) -> PromptTokenizer:
        """BERT's."""
        return BERTTokenizer(self.tokenizer_name, self.max_seq_len)

    @functools.cached_property
    def known_words(self) -> KnownWords | None:
        """The words it was trained on, where its tokenizer's folder has a list of them."""
        return read_known_words(resolve_folder(self.tokenizer_name))

    def knows(self, word: str) -> bool:
        """Whether a word was in the captions that it was trained on; without a list, any that it can read."""
        return self.known_words is None or self.known_words.knows(word)

    def remedy(self, unknown: list[str]) -> str:
        """What to do about words that are not known: words to try in place of them."""
        words = self.known_words
        hints = [f"{word}: try {other}" for word in unknown[:5] if words and (other := words.instead(word))]
        letters = any(c.isalpha() and not c.isascii() for c in "".join(unknown))
        other_scripts = "txt2img_v2.py reads other languages" if letters else ""
        return "; ".join(filter(None, [", ".join(hints), other_scripts])) or super().remedy(unknown)

    @property
    def token_embeddings(self) -> nn.Embedding:
        """The transformer's."""
        return self.transformer.token_emb

    def features(self, tokens: torch.Tensor, inject: Inject | None = None) -> torch.Tensor:
        """Token ids [B, N] -> features [B, N, n_embed]."""
        return self.transformer(tokens, inject)
