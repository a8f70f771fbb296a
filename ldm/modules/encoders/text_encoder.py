"""What textual inversion needs of any text encoder: prompts to token ids, learned words among them, to features."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import torch
from torch import nn

from ldm.errors import UserError
from ldm.modules.encoders.weights import token_weights, weigh
from ldm.placeholders import split_prompt
from ldm.progress import say
from ldm.prompts import Prompt
from ldm.schema import Range
from ldm.util import quoted

if TYPE_CHECKING:
    from ldm.modules.embedding_manager import EmbeddingManager
    from ldm.modules.x_transformer import Inject

Placeholders = Mapping[str, torch.Tensor | int]  # of learned words: placeholder -> token id
VocabularySize = Annotated[int, Range(1, 10**7)]
Length = Annotated[int, Range(3, 10**5)]  # the tokens that begin and end a prompt are among them


class Tokens(NamedTuple):
    """A text as a tokenizer reads it, without the tokens that begin and end a prompt."""

    ids: list[int]
    spans: list[tuple[int, int]]  # (start, end) in the text, one a token


class PromptTokenizer:
    """Prompts -> token ids [B, max_length]: start, pieces, end, padding.

    A placeholder whose id is past the vocabulary is an added token: a piece of its own wherever it stands, as
    `ldm.placeholders` finds it. What is a single piece of the vocabulary needs no such help.
    """

    separates_signs = True  # whether the vocabulary has a sign such as * as a piece of its own wherever it stands

    def __init__(self, tokenizer: Any, max_length: int, start_id: int, end_id: int, pad_id: int):
        self.tokenizer, self.max_length = tokenizer, max_length  # a fast tokenizer of `transformers`
        self.start_id, self.end_id, self.pad_id = start_id, end_id, pad_id

    def __len__(self) -> int:
        return len(self.tokenizer)

    def __call__(self, text: str | list[str], placeholders: Placeholders | None = None) -> torch.Tensor:
        """int64 [B, max_length] on the CPU. A prompt that is too long is cut, with a warning that says what is lost."""
        texts = [text] if isinstance(text, str) else list(text)
        return torch.tensor([self.framed(tokens.ids, placeholders) for tokens in self.read(texts, placeholders)])

    def read(self, texts: Sequence[str], placeholders: Placeholders | None = None) -> list[Tokens]:
        """The tokens of texts, which may be whole prompts or parts of them."""
        ids = {name: int(i) for name, i in (placeholders or {}).items()}
        added = [name for name, i in ids.items() if i >= len(self) or not self.separates_signs]
        parts = [list(split_prompt(text, added, bool(added) and self.ignores_case)) for text in texts]
        plain = [part.text for row in parts for part in row if part.placeholder is None]
        encoded = self.tokenizer(plain, add_special_tokens=False, return_offsets_mapping=True,
                                 verbose=False) if plain else {"input_ids": [], "offset_mapping": []}
        pieces = iter(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
        read = []
        for row in parts:
            tokens, start = Tokens([], []), 0
            for part in row:
                found, spans = next(pieces) if part.placeholder is None else (
                    [ids[part.placeholder]], [(0, len(part.text))])
                tokens.ids.extend(found)
                tokens.spans.extend((start + a, start + b) for a, b in spans)
                start += len(part.text)
            read.append(tokens)
        return read

    def framed(self, ids: Sequence[int], placeholders: Placeholders | None = None) -> list[int]:
        """Token ids between start and end, cut, with a warning, or padded to max_length."""
        fit = self.max_length - 2
        if len(ids) > fit:
            warnings.warn(f"a prompt has {len(ids) + 2} tokens and {self.max_length} fit; cut: "
                          f"{quoted(self.decode(ids[fit:], placeholders))}", stacklevel=2)
        return [self.start_id, *ids[:fit], self.end_id] + [self.pad_id] * (fit - len(ids))

    def ids(self, text: str) -> list[int]:
        """The token ids of a text, without those that begin and end a prompt."""
        return self.read([text])[0].ids

    def pieces(self, ids: Iterable[int], placeholders: Placeholders | None = None) -> list[str]:
        """What token ids are, as the vocabulary writes it; placeholders, among them too."""
        names = {int(i): name for name, i in (placeholders or {}).items()}
        return [self.tokenizer.convert_ids_to_tokens(i) if i < len(self) else names[i] for i in ids]

    def decode(self, ids: Iterable[int], placeholders: Placeholders | None = None) -> str:
        """Token ids as a text."""
        return " ".join(
            " ".join(self.pieces(group, placeholders)) if added else self.tokenizer.decode(list(group))
            for added, group in groupby(ids, key=lambda i: i >= len(self)))

    @property
    def special_ids(self) -> set[int]:
        """The ids of tokens that no text is read as."""
        return set(self.tokenizer.all_special_ids)

    @property
    def unknown_id(self) -> int | None:
        """The id of what the vocabulary cannot spell, if there is such a thing."""
        return self.tokenizer.unk_token_id

    @property
    def ignores_case(self) -> bool:
        """Whether capitals and small letters are the same, and so in the names of learned words."""
        return self.ids("A") == self.ids("a")


def first_ten(words: Sequence[str]) -> str:
    """Words in quotes, ten at most."""
    return ", ".join(quoted(w, 30) for w in words[:10]) + f" and {len(words) - 10} more" * (len(words) > 10)


class TextEncoder(nn.Module):
    """Prompts -> features, with learned words in them. A text encoder is a tokenizer, a table of token embeddings, and
    what is made of them.

    A learned word enters where its token's embedding would: single pieces of the vocabulary in place of their own,
    added tokens, whose ids lie past the table, in place of nothing.
    """

    tokenizer_name: str  # a folder, or a name on the model hub
    max_seq_len: int     # tokens of a prompt
    _tknz_fn: PromptTokenizer | None = None

    def make_tokenizer(self) -> PromptTokenizer:
        """The tokenizer. Raises UserError where it cannot be read."""
        raise NotImplementedError

    @property
    def token_embeddings(self) -> nn.Embedding:
        """The table of token embeddings, weight [V, dim]."""
        raise NotImplementedError

    def features(self, tokens: torch.Tensor, inject: Inject | None = None) -> torch.Tensor:
        """Token ids [B, max_seq_len] -> features [B, max_seq_len, width], inject given what
        `ldm.modules.x_transformer.embed_tokens` gives it."""
        raise NotImplementedError

    @property
    def tknz_fn(self) -> PromptTokenizer:
        """The tokenizer, read when it is first needed. Raises UserError for one that does not belong to the table."""
        if self._tknz_fn is None:
            tokenizer, known = self.make_tokenizer(), self.token_embeddings.num_embeddings
            if len(tokenizer) > known:
                raise UserError(f"tokenizer {self.tokenizer_name!r} has {len(tokenizer)} tokens, the text encoder "
                                f"{known}: they do not belong together")
            self._tknz_fn = tokenizer
        return self._tknz_fn

    def forward(self, text: str | Sequence[str | Prompt], embedding_manager: EmbeddingManager | None = None
                ) -> torch.Tensor:
        """Prompts -> features [B, max_seq_len, width]; the manager puts its vectors in place of placeholders, and has
        the last word on the features, but for the weights that a Prompt gives its words."""
        prompts = [text] if isinstance(text, str) else list(text)
        texts = [prompt if isinstance(prompt, str) else prompt.text for prompt in prompts]
        device = self.token_embeddings.weight.device
        if embedding_manager is None:
            return self._weighted(prompts, self.features(self.tokenize(texts, {}).to(device)), {}, None)
        manager, placeholders = embedding_manager, embedding_manager.placeholder_ids()
        tokens = self.tokenize(texts, placeholders)
        layout = manager.layout(tokens)  # on the CPU, where tokens are made: the device is never waited for
        features = self.features(tokens.to(device), lambda _, embedded: manager.inject(layout, embedded))
        return self._weighted(prompts, manager.refine(features, layout), placeholders, layout.source)

    encode = forward

    def _weighted(self, prompts: Sequence[str | Prompt], features: torch.Tensor, placeholders: Placeholders,
                  source: torch.Tensor | None) -> torch.Tensor:
        """Features [B, N, width] with the prompts' weights on them; those of a prompt without weights are what they
        were. `source` [B, N] is the token that each position comes from; None: its own."""
        if not any(isinstance(prompt, Prompt) and prompt.weighted for prompt in prompts):
            return features
        rows = list(features)
        for i, prompt in enumerate(prompts):
            if isinstance(prompt, Prompt) and prompt.weighted:
                weights = torch.tensor(self.token_weights(prompt, placeholders), device="cpu")
                rows[i] = weigh(rows[i], (weights if source is None else weights[source[i]]).to(rows[i]))
        return torch.stack(rows)

    def token_weights(self, prompt: Prompt, placeholders: Placeholders) -> list[float]:
        """The weight of each of the max_seq_len tokens that `tokenize` makes of a prompt; 1 for those that begin and
        end it, and for padding."""
        tokens = self.tknz_fn.read([prompt.text], placeholders)[0]
        weights = [1.0, *token_weights(prompt.weights, tokens.spans)[: self.max_seq_len - 2]]
        return weights + [1.0] * (self.max_seq_len - len(weights))

    def tokenize(self, text: str | list[str], placeholders: Placeholders) -> torch.Tensor:
        """Token ids [B, max_seq_len], on the CPU, of prompts in which placeholders may stand."""
        return self.tknz_fn(text, placeholders)

    def understood(self, prompts: Sequence[str], placeholders: Placeholders) -> list[str]:
        """What prompts are read as, for each a line, or nothing where they are read as they stand."""
        return [""] * len(prompts)

    def word_ids(self, word: str) -> list[int]:
        """The token ids of a word, without those that begin and end a prompt."""
        return self.tknz_fn.ids(word)

    def reads(self, word: str) -> bool:
        """Whether a word has tokens of its own, none the one for all unknown."""
        return self.tknz_fn.unknown_id not in self.tknz_fn.ids(word)

    def knows(self, word: str) -> bool:
        """Whether a word means something to the text encoder, as far as can be told."""
        return self.reads(word)

    def warn_if_unreadable(self, prompt: str, placeholders: Iterable[str] = ()) -> None:
        """Say so on stderr when a prompt has words, beside learned ones, that are all one to the text encoder, since it
        knows none of them, or words that it was not trained on."""
        parts = split_prompt(prompt, placeholders, self.tknz_fn.ignores_case)
        words = " ".join(part.text for part in parts if part.placeholder is None).split()
        words = words[: self.max_seq_len]  # what is cut off matters to nobody
        unread = [w for w in dict.fromkeys(words) if not self.reads(w)]
        if unread:
            say(f"warning: the text encoder cannot read {first_ten(unread)} in {quoted(prompt)}; it draws the same "
                f"for any other word that it does not know; {self.remedy(unread)}")
        unknown = [w for w in dict.fromkeys(words) if w not in unread and not self.knows(w)]
        if unknown:
            say(f"warning: the model was not trained on {first_ten(unknown)} in {quoted(prompt)}; "
                f"{self.remedy(unknown)}")

    def remedy(self, unknown: list[str]) -> str:
        """What to do about words that cannot be read."""
        letters = any(c.isalpha() and not c.isascii() for c in "".join(unknown))
        return "take English words" + ", or txt2img_v2.py, which reads other languages" * letters
