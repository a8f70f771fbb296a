"""The text encoders that configs name. The one of latent diffusion: BERT's word pieces and a transformer that turns
prompts into features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import BertTokenizer

from ldm.errors import UserError
from ldm.modules.encoders.clip import FrozenCLIPEmbedder
from ldm.modules.encoders.text_encoder import Length, PromptTokenizer, TextEncoder, VocabularySize
from ldm.modules.x_transformer import Encoder, TransformerWrapper
from ldm.pretrained import from_pretrained
from ldm.schema import Depth, Trimmed, Width

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
        """BERT's. Raises UserError for one that does not belong to the token embeddings."""
        tokenizer = BERTTokenizer(self.tokenizer_name, self.max_seq_len)
        if len(tokenizer) > self.token_embeddings.num_embeddings:
            raise UserError(f"tokenizer {self.tokenizer_name!r} has {len(tokenizer)} tokens, the text encoder "
                            f"{self.token_embeddings.num_embeddings}: they do not belong together")
        return tokenizer

    @property
    def token_embeddings(self) -> nn.Embedding:
        """The transformer's."""
        return self.transformer.token_emb

    def features(self, tokens: torch.Tensor, inject: Inject | None = None) -> torch.Tensor:
        """Token ids [B, N] -> features [B, N, n_embed]."""
        return self.transformer(tokens, inject)
