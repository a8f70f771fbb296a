"""The learned words: one or several vectors for each placeholder, and how they enter a prompt."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ldm.embedding_files import Words, misfit, read_words, write_words
from ldm.errors import UserError
from ldm.provenance import Provenance, warn_of_another_model
from ldm.schema import Depth, Trimmed
from ldm.util import quoted

if TYPE_CHECKING:
    from ldm.modules.encoders.modules import BERTEmbedder

# Placeholders for single pictures of the training set (Gal et al., arXiv 2208.01618, section 5.1 "per-image tokens").
PER_IMAGE_TOKENS = list("אבגדהוזחטיכלמנסעפצקרשת")

PROGRESSIVE_SCALE = 2000  # steps after which progressive words get one more vector


def initial_vectors(pieces: torch.Tensor, count: int) -> torch.Tensor:
    """`count` vectors [count, dim] from the embeddings of an init word's pieces [P, dim], in order.

    As many vectors as pieces: one each. More vectors: pieces repeat. Fewer: neighbouring pieces are averaged, so that
    one vector starts from the mean of all.
    """
    if count >= len(pieces):
        return pieces[torch.arange(count) * len(pieces) // count].clone()
    return torch.stack([group.mean(dim=0) for group in pieces.tensor_split(count)])


class EmbeddingManager(nn.Module):
    """Holds the vectors of textual inversion and puts them in place of placeholder tokens.

    Gal et al., arXiv 2208.01618, section 4: the embedding v* of the placeholder is the only thing that is learned.
    """

    def __init__(
        self,
        embedder: BERTEmbedder,                         # its tokenizer and its token embeddings are used
        placeholder_strings: list[Trimmed] | None = None,  # each must be one token
        initializer_words: list[Trimmed] | None = None,    # one a placeholder; without it the start is random
        per_image_tokens: bool = False,                 # add a placeholder for each picture
        num_vectors_per_token: Depth = 1,
        progressive_words: bool = False,                # begin with one vector, add one every PROGRESSIVE_SCALE steps
    ):
        super().__init__()
        self._embedder = [embedder]  # in a list: its weights are not this module's
        self.placeholder_strings = ["*"] if placeholder_strings is None else list(placeholder_strings)
        if per_image_tokens:
            self.placeholder_strings += [t for t in PER_IMAGE_TOKENS if t not in self.placeholder_strings]
        self.initializer_words = list(initializer_words or [])
        self.max_vectors_per_token = num_vectors_per_token
        self.progressive_words = progressive_words
        self.progressive_counter = 0
        self.string_to_token_dict: dict[str, torch.Tensor] = {}
        self.string_to_param_dict = nn.ParameterDict()
        self.initial_embeddings: dict[str, torch.Tensor] = {}
        self.provenance: dict[str, Provenance] = {}  # of words that were loaded or are being learned
        self.reset_parameters()

    @property
    def embedder(self) -> BERTEmbedder:
        """The text encoder that the words are for."""
        return self._embedder[0]

    @property
    def dim(self) -> int:
        """Width of the vectors, which is that of the token embeddings."""
        return self.embedder.transformer.token_emb.embedding_dim

    def token_for(self, placeholder: str) -> torch.Tensor:
        """The token id of a placeholder, int64 []. Raises UserError unless it is exactly one known token."""
        ids = self.embedder.tknz_fn.ids(placeholder)
        if len(ids) != 1 or ids[0] == self.embedder.tknz_fn.unknown_id:
            pieces = " ".join(self.embedder.tknz_fn.pieces(placeholder)) or "nothing"
            raise UserError(f"placeholder {placeholder!r} is not one token of the text encoder (it reads: {pieces}); "
                            "take a single sign such as * or @")
        if ids[0] in self.embedder.tknz_fn.tokenizer.all_special_ids:
            raise UserError(f"placeholder {placeholder!r} is the text encoder's own; take a sign such as * or @")
        if "." in placeholder or hasattr(nn.ParameterDict(), placeholder):
            raise UserError(f"placeholder {placeholder!r} cannot name a parameter; take a sign such as * or @")
        if placeholder.isalnum() and placeholder not in PER_IMAGE_TOKENS:
            warnings.warn(f"placeholder {placeholder!r} is a word of the text encoder, and prompts lose its meaning; "
                          "a sign such as * or @ has none to lose", stacklevel=2)
        return torch.tensor(ids[0], device="cpu")

    def reset_parameters(self) -> None:
        """Start every placeholder from its init word as the text encoder knows it now, or from noise of its scale."""
        table = self.embedder.transformer.token_emb.weight.detach()
        self.string_to_token_dict, self.string_to_param_dict = {}, nn.ParameterDict()
        self.initial_embeddings, self.provenance = {}, {}
        for i, placeholder in enumerate(self.placeholder_strings):
            if table.is_meta:  # the weights are still to come, and then this is called again
                vectors = table.new_empty(self.max_vectors_per_token, self.dim)
            elif i < len(self.initializer_words):
                ids = torch.tensor(self.init_word_ids(self.initializer_words[i]), device=table.device)
                vectors = initial_vectors(table[ids], self.max_vectors_per_token)
                self.initial_embeddings[placeholder] = vectors.clone()
            else:  # no better start is known
                vectors = torch.randn(self.max_vectors_per_token, self.dim, device=table.device) * table.std()
            self._set(placeholder, vectors)

    def init_word_ids(self, word: str) -> list[int]:
        """Token ids of an init word. Raises UserError for an empty word or one the tokenizer cannot read."""
        ids = self.embedder.word_ids(word)
        if not ids or self.embedder.tknz_fn.unknown_id in ids:
            raise UserError(f"init word {word!r} has no tokens in the text encoder; take another word")
        return ids

    def describe_initialisation(self) -> str:
        """One line a placeholder: which pieces of which word its vectors start from."""
        lines = []
        for placeholder, word in zip(self.placeholder_strings, self.initializer_words, strict=False):
            pieces = self.embedder.tknz_fn.tokenizer.convert_ids_to_tokens(self.embedder.word_ids(word))
            n = self.max_vectors_per_token
            how = "" if len(pieces) == n else " repeated" if len(pieces) < n else " averaged"
            lines.append(f"{placeholder!r}: {n} vector{'s' * (n > 1)} from {word!r} = {' '.join(pieces)}{how}")
        return "\n".join(lines) or "noise"

    def _set(self, placeholder: str, vectors: torch.Tensor) -> None:
        self.string_to_token_dict[placeholder] = self.token_for(placeholder)
        self.string_to_param_dict[placeholder] = nn.Parameter(vectors.to(torch.float32))

    def active_vectors(self, placeholder: str) -> torch.Tensor:
        """The vectors [n, dim] of a placeholder that are in use at this point of training."""
        vectors = self.string_to_param_dict[placeholder]
        if not self.progressive_words:
            return vectors
        return vectors[: 1 + self.progressive_counter // PROGRESSIVE_SCALE]

    def forward(self, tokenized_text: torch.Tensor, embedded_text: torch.Tensor) -> torch.Tensor:
        """Token ids [B, N] and their embeddings [B, N, dim] -> embeddings [B, N, dim] with the learned vectors in.

        A placeholder of n vectors takes n positions: what follows moves right, what leaves position N is cut, with a
        warning if it was more than padding.
        """
        vectors = {int(token): self.active_vectors(placeholder).to(embedded_text)
                   for placeholder, token in self.string_to_token_dict.items()}
        rows = []
        for tokens, embedded in zip(tokenized_text.tolist(), embedded_text, strict=True):
            parts: list[torch.Tensor] = []
            start = 0
            for position, token in enumerate(tokens):
                if token in vectors:
                    parts += [embedded[start:position], vectors[token]]
                    start = position + 1
            rows.append(torch.cat([*parts, embedded[start:]])[: len(tokens)] if parts else embedded)
            self._warn_if_cut(tokens, {t: len(v) for t, v in vectors.items()})
        return torch.stack(rows)

    def refine(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Features [B, N, dim] of prompts of tokens [B, N], as they come from the text encoder; a manager that learns
        something behind it changes them here."""
        return features

    def learned_positions(self, tokenized_text: torch.Tensor) -> torch.Tensor:
        """bool [B, N] on the CPU: where learned vectors go into prompts of token ids [B, N]."""
        lengths = {int(token): len(self.active_vectors(p)) for p, token in self.string_to_token_dict.items()}
        rows = [[t in lengths for t in tokens for _ in range(lengths.get(t, 1))][: len(tokens)]
                for tokens in tokenized_text.tolist()]
        return torch.tensor(rows)

    def _warn_if_cut(self, tokens: list[int], lengths: dict[int, int]) -> None:
        tokenizer = self.embedder.tknz_fn.tokenizer
        ends = torch.tensor([lengths.get(t, 1) for t in tokens]).cumsum(0).tolist()
        lost = [t for t, end in zip(tokens, ends, strict=True)
                if end > len(tokens) and t not in (tokenizer.pad_token_id, tokenizer.sep_token_id)]
        if lost:
            warnings.warn(f"the learned words take several tokens each and push others out; cut: "
                          f"{quoted(tokenizer.decode(lost))}", stacklevel=2)

    def embedding_parameters(self) -> Iterator[nn.Parameter]:
        """The vectors of all placeholders, each [n, dim]: what training changes."""
        return self.string_to_param_dict.parameters()

    def embedding_to_coarse_loss(self) -> torch.Tensor:
        """Squared distance of the mean of a placeholder's vectors to the mean of their start, averaged over
        placeholders: []."""
        distances = [(self.string_to_param_dict[p] - start.to(self.string_to_param_dict[p])).mean(0).square().sum()
                     for p, start in self.initial_embeddings.items()]
        if not distances:
            raise UserError("embedding_reg_weight needs initializer_words: there is no start to stay near")
        return torch.stack(distances).mean()

    def save(self, path: str | Path, step: int | None = None) -> None:
        """Write the words, in the format that goes with the file's suffix, with their provenance, at a step if one is
        given. What goes with the vectors has room in a `.pt` only."""
        vectors = {p: self.active_vectors(p).detach() for p in self.string_to_param_dict}
        provenance = {p: self.provenance[p].at(step, len(v)) for p, v in vectors.items() if p in self.provenance}
        write_words(path, Words(vectors, token_ids={p: int(i) for p, i in self.string_to_token_dict.items()},
                                provenance=provenance, adapter=self.companions()))

    def companions(self) -> dict[str, Any]:
        """What a `.pt` file holds beside the vectors: nothing; a manager that learns more adds it here."""
        return {}

    def load_companions(self, path: str | Path, content: dict[str, Any]) -> None:
        """Take from a file what goes with the vectors. Raises UserError when it was learned in another way."""
        if "post_BERT" in content:
            raise UserError(f"{path}: a word with an adapter, learned with train_new_v1.py; use it with txt2img_v1.py")

    def load(self, path: str | Path) -> None:
        """Replace the words by those of a file, in any format that `ldm.embedding_files` knows. Says so on stderr when
        they were learned through another text encoder.

        Raises UserError for a file without embeddings or with embeddings of another width.
        """
        words = read_words(path)
        embeddings = words.vectors
        for placeholder, vectors in embeddings.items():
            if vectors.shape[1] != self.dim:
                raise misfit(path, placeholder, vectors.shape[1], self.dim)
            try:
                self.token_for(placeholder)
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
        self.load_companions(path, words.adapter)
        warn_of_another_model(path, words.provenance, self.embedder)
        self.string_to_token_dict, self.string_to_param_dict = {}, nn.ParameterDict()
        self.initial_embeddings = {p: start for p, start in self.initial_embeddings.items()
                                   if p in embeddings and embeddings[p].shape == start.shape}
        for placeholder, vectors in embeddings.items():
            self._set(placeholder, vectors.to(self.embedder.transformer.token_emb.weight.device))
        self.placeholder_strings = list(self.string_to_token_dict)
        self.max_vectors_per_token = max(len(v) for v in self.string_to_param_dict.values())
        self.provenance = words.provenance
        self.progressive_words = False  # a file holds the vectors that were in use

    def placeholders_in(self, prompt: str) -> list[str]:
        """The placeholders that a prompt uses, as the text encoder reads it."""
        tokens = set(self.embedder.tokenize(prompt, self.string_to_token_dict)[0].tolist())
        return [p for p, token in self.string_to_token_dict.items() if int(token) in tokens]

    def warn_if_absent(self, prompts: list[str]) -> None:
        """Say so on stderr when a prompt uses none of the placeholders."""
        for prompt in dict.fromkeys(prompts):
            if not self.placeholders_in(prompt):
                print(f"warning: the prompt {quoted(prompt)} does not contain {' or '.join(self.string_to_token_dict)};"
                      " the learned word has no part in it", file=sys.stderr)

    def warn_about(self, prompts: list[str], learned: bool = True) -> None:
        """Say on stderr what prompts have that is not read as it may be meant: words that the text encoder cannot
        read, no learned word, or placeholders where nothing was learned."""
        for prompt in dict.fromkeys(prompts):
            self.embedder.warn_if_unreadable(prompt, self.string_to_token_dict)
        if learned:
            self.warn_if_absent(prompts)
            return
        words = dict(zip(self.placeholder_strings, self.initializer_words, strict=False))
        for placeholder in dict.fromkeys(p for prompt in prompts for p in self.placeholders_in(prompt)):
            start = f"{words[placeholder]!r}, the config's initial word" if placeholder in words else "noise"
            print(f"no --embedding_path: {placeholder} is read as {start}", file=sys.stderr)
