"""The text encoder of Stable Diffusion 1.x: CLIP's byte-pair tokens and its text transformer, as `transformers` has
them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ldm.modules.encoders.text_encoder import Length, PromptTokenizer, TextEncoder, VocabularySize
from ldm.pretrained import from_pretrained
from ldm.schema import Depth, Trimmed, Width

if TYPE_CHECKING:
    from typing_extensions import Self

    from ldm.modules.x_transformer import Inject


class CLIPPromptTokenizer(PromptTokenizer):
    """Prompts -> token ids, with CLIP's pieces: start, pieces, end, and the end's token (Stable Diffusion 1.x) for
    padding."""

    separates_signs = False  # those next to each other are one word: in "a *, red" it would read no `*`

    def __init__(self, tokenizer: str, max_length: int):
        from transformers import CLIPTokenizer

        clip = from_pretrained(CLIPTokenizer, tokenizer, "tokenizer")
        super().__init__(clip, max_length, clip.bos_token_id, clip.eos_token_id, clip.pad_token_id)


class WordEmbedding(nn.Embedding):
    """A table of token embeddings through which learned words enter a transformer that takes token ids alone."""

    _inject: Inject | None = None

    @classmethod
    def of(cls, table: nn.Embedding) -> Self:
        """The same table, its weight shared."""
        made = cls(1, 1, device="meta")
        made.num_embeddings, made.embedding_dim, made.weight = *table.weight.shape, table.weight
        return made

    @contextmanager
    def injecting(self, inject: Inject | None) -> Iterator[None]:
        """Within it the embeddings are as `inject` changes them."""
        self._inject = inject
        try:
            yield
        finally:
            self._inject = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Token ids [B, N] -> embeddings [B, N, dim], as `ldm.modules.x_transformer.embed_tokens` makes them."""
        if self._inject is None:
            return super().forward(input)
        return self._inject(input, super().forward(input.clamp(max=self.num_embeddings - 1)))


class TextTransformer(nn.Module):
    """CLIP's text transformer, learned words let in: token ids [B, N] -> features [B, N, width].

    Where `transformers` wraps it in another module, this is what is in there, so that the names below `text_model` are
    the same in all its versions.
    """

    text_model: Any

    def __init__(self, **sizes: Any):
        from transformers import CLIPTextConfig, CLIPTextModel

        super().__init__()
        model = CLIPTextModel(CLIPTextConfig(**sizes))
        self.text_model = getattr(model, "text_model", model)
        embeddings = self.text_model.embeddings
        embeddings.token_embedding = WordEmbedding.of(embeddings.token_embedding)
        # made here, for a model without weights too
        positions = torch.arange(sizes["max_position_embeddings"], device="cpu")[None]
        embeddings.register_buffer("position_ids", positions, persistent=False)

    @property
    def token_embedding(self) -> WordEmbedding:
        """The table of token embeddings."""
        return self.text_model.embeddings.token_embedding

    def forward(self, tokens: torch.Tensor, inject: Inject | None = None) -> torch.Tensor:
        """Features after the last norm; inject as `ldm.modules.x_transformer.embed_tokens` has it."""
        with self.token_embedding.injecting(inject):
            return self.text_model(input_ids=tokens).last_hidden_state


class FrozenCLIPEmbedder(TextEncoder):
    """The text transformer of CLIP (Radford et al., arXiv 2103.00020, section 2.4), all features after the last norm,
    as Stable Diffusion 1.x reads a prompt. The defaults are the sizes of ViT-L/14.

    The names of its weights are those of Stable Diffusion's checkpoints, `transformer.text_model...`.
    """

    def __init__(
        self,
        version: Trimmed = "openai/clip-vit-large-patch14",  # of the tokenizer: a folder, or a name on the model hub
        max_length: Length = 77,                # tokens of a prompt
        n_embed: Width = 768,                   # width of the features
        n_layer: Depth = 12,
        n_head: Depth = 12,
        n_hidden: Width = 3072,                 # width between the two layers of a feed-forward block
        hidden_act: Literal["quick_gelu", "gelu"] = "quick_gelu",
        vocab_size: VocabularySize = 49408,
    ):
        super().__init__()
        if n_embed % n_head:
            raise ValueError(f"n_embed={n_embed}: must be a multiple of n_head, {n_head}")
        self.tokenizer_name, self.max_seq_len = version, max_length
        self.transformer = TextTransformer(
            vocab_size=vocab_size, bos_token_id=vocab_size - 2, eos_token_id=vocab_size - 1, hidden_size=n_embed,
            intermediate_size=n_hidden, num_hidden_layers=n_layer, num_attention_heads=n_head,
            max_position_embeddings=max_length, hidden_act=hidden_act)

    def make_tokenizer(self) -> PromptTokenizer:
        """CLIP's."""
        return CLIPPromptTokenizer(self.tokenizer_name, self.max_seq_len)

    @property
    def token_embeddings(self) -> WordEmbedding:
        """The transformer's."""
        return self.transformer.token_embedding

    def features(self, tokens: torch.Tensor, inject: Inject | None = None) -> torch.Tensor:
        """Token ids [B, N] -> features [B, N, n_embed]."""
        return self.transformer(tokens, inject)
