"""The learned words: one or several vectors for each placeholder, and how they enter a prompt."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

import torch
from torch import nn

from ldm.embedding_files import Words, misfit, read_words, write_words
from ldm.errors import UserError
from ldm.placeholders import STAR, call_words, check_placeholder, same_name, split_prompt
from ldm.progress import counted, say
from ldm.provenance import Provenance, warn_of_another_model
from ldm.schema import Depth, Trimmed
from ldm.util import quoted

if TYPE_CHECKING:
    from ldm.modules.encoders.text_encoder import TextEncoder

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


class WordDict(nn.ParameterDict):
    """Placeholder -> vectors [n, dim]. A module's parameters cannot have every name that a word can: in state dicts
    `a.b` and `keys` are `a%2Eb` and `%6Beys`, most names what they are."""

    def _key_to_attr(self, key: str) -> str:
        if unquote(key) == key and "." not in key and not hasattr(nn.ParameterDict(), key):
            return key
        return quote(key, safe="").replace(".", "%2E") if "." in key or unquote(key) != key else (
            f"%{key[0].encode().hex().upper()}{key[1:]}")

    @staticmethod
    def word(name: str) -> str:
        """The placeholder whose vectors a state dict has under a name."""
        return unquote(name)


class LoadedWord(NamedTuple):
    """A word of a file, and what it is called."""

    name: str              # here
    file: str | Path
    own: str | None        # its name in the file, if it has one
    vectors: torch.Tensor  # float32 [n, dim]

    def __str__(self) -> str:
        named = self.own is not None and same_name(self.own) == same_name(self.name)
        return f"the word of {self.file}" if named else (
            f"the word of {self.file}, which " + (f"calls it {self.own}" if self.own else "has no name for it"))


@dataclass
class Layout:
    """Where learned vectors go in prompts of token ids [B, N], on the CPU. A word of n vectors takes n positions: what
    follows moves right, what leaves position N is cut."""

    tokens: torch.Tensor    # int64 [B, N]: the prompts
    source: torch.Tensor    # int64 [B, N]: which token of the prompt each position comes from
    vector: torch.Tensor    # int64 [B, N]: which vector goes in there, counted through `words`; -1: none
    words: tuple[str, ...]  # those that the prompts have, each once

    @property
    def learned(self) -> torch.Tensor:
        """bool [B, N]: where learned vectors go in."""
        return self.vector >= 0


class EmbeddingManager(nn.Module):
    """Holds the vectors of textual inversion and puts them in place of placeholder tokens.

    Gal et al., arXiv 2208.01618, section 4: the embedding v* of the placeholder is the only thing that is learned.
    """

    def __init__(
        self,
        embedder: TextEncoder,                          # its tokenizer and its token embeddings are used
        placeholder_strings: list[Trimmed] | None = None,  # any names
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
        self.string_to_param_dict: nn.ParameterDict = WordDict()
        self.initial_embeddings: dict[str, torch.Tensor] = {}
        self.provenance: dict[str, Provenance] = {}  # of words that were loaded or are being learned
        self.strengths: dict[str, float] = {}  # of words taken at another strength than 1 (ldm.strength)
        self.reset_parameters()

    @property
    def embedder(self) -> TextEncoder:
        """The text encoder that the words are for."""
        return self._embedder[0]

    @property
    def dim(self) -> int:
        """Width of the vectors, which is that of the token embeddings."""
        return self.embedder.token_embeddings.embedding_dim

    def token_for(self, placeholder: str) -> torch.Tensor:
        """The token id of a placeholder, int64 []: a single piece's own, else that of an added token, past the
        vocabulary. Raises UserError for what cannot be a name."""
        check_placeholder(placeholder)
        tokenizer = self.embedder.tknz_fn
        ids = tokenizer.ids(placeholder)
        if any(special in placeholder for special in tokenizer.tokenizer.all_special_tokens):
            raise UserError(f"placeholder {placeholder!r} is the text encoder's own; take a name such as * or "
                            "<cat-toy>")
        if len(ids) != 1 or ids[0] == tokenizer.unknown_id:
            taken = [int(i) for i in self.string_to_token_dict.values()]
            return torch.tensor(max([self.embedder.token_embeddings.num_embeddings - 1, *taken]) + 1, device="cpu")
        return torch.tensor(ids[0], device="cpu")

    def reset_parameters(self) -> None:
        """Start every placeholder from its init word as the text encoder knows it now, or from noise of its scale."""
        table = self.embedder.token_embeddings.weight.detach()
        self.string_to_token_dict, self.string_to_param_dict = {}, WordDict()
        self.initial_embeddings, self.provenance = {}, {}
        for i, placeholder in enumerate(self.placeholder_strings):
            if table.is_meta:  # the weights are still to come, and then this is called again
                vectors = table.new_empty(self.max_vectors_per_token, self.dim)
            elif i < len(self.initializer_words):
                vectors = self.initial_embeddings[placeholder] = self._vectors_of(self.initializer_words[i])
            else:  # no better start is known
                vectors = torch.randn(self.max_vectors_per_token, self.dim, device=table.device) * table.std()
            self._set(placeholder, vectors)

    def _vectors_of(self, word: str) -> torch.Tensor:
        table = self.embedder.token_embeddings.weight.detach()
        ids = torch.tensor(self.init_word_ids(word), device=table.device)
        return initial_vectors(table[ids], self.max_vectors_per_token)

    def start_from(self, word: str) -> None:
        """Let the first placeholder start from another init word, and leave the others where they are. Raises UserError
        as `init_word_ids` does."""
        placeholder = self.placeholder_strings[0]
        vectors = self.initial_embeddings[placeholder] = self._vectors_of(word)
        self.initializer_words = [word, *self.initializer_words[1:]]
        with torch.no_grad():
            for own in self.vectors_of(placeholder):
                own.copy_(vectors)

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
            pieces = self.embedder.tknz_fn.pieces(self.embedder.word_ids(word))
            n = self.max_vectors_per_token
            how = "" if len(pieces) == n else " repeated" if len(pieces) < n else " averaged"
            lines.append(f"{placeholder!r}: {counted(n, 'vector')} from {word!r} = {' '.join(pieces)}{how}")
        return "\n".join(lines) or "noise"

    def _set(self, placeholder: str, vectors: torch.Tensor) -> None:
        token = self.token_for(placeholder)
        if int(token) < len(self.embedder.tknz_fn) and placeholder.isalnum() and placeholder not in PER_IMAGE_TOKENS:
            warnings.warn(f"placeholder {placeholder!r} is a word of the text encoder, and prompts lose its meaning; "
                          "a sign such as * or a name such as <cat-toy> has none to lose", stacklevel=1)
        for other, taken in self.string_to_token_dict.items():
            if int(token) == int(taken) or same_name(placeholder) == same_name(other):
                raise UserError(f"placeholders {other!r} and {placeholder!r} are one to the text encoder; take another "
                                "name for one of them")
        self.string_to_token_dict[placeholder] = token
        self.string_to_param_dict[placeholder] = nn.Parameter(vectors.to(torch.float32).clone())

    def going_in(self, placeholder: str) -> torch.Tensor:
        """The vectors [n, dim] that go in for a placeholder."""
        return self.string_to_param_dict[placeholder]

    def active_vectors(self, placeholder: str) -> torch.Tensor:
        """The vectors [n, dim] of a placeholder that are in use at this point of training."""
        vectors = self.going_in(placeholder)
        if not self.progressive_words:
            return vectors
        return vectors[: 1 + self.progressive_counter // PROGRESSIVE_SCALE]

    def placeholder_ids(self) -> dict[str, torch.Tensor]:
        """{placeholder: token id} of all that a prompt may call the words: their names, and * where there is only one
        word."""
        ids = dict(self.string_to_token_dict)
        if len(ids) == 1 and STAR not in ids:
            ids[STAR] = self.token_for(STAR)
        return ids

    def _words_of_tokens(self) -> dict[int, str]:
        """{token id: word}."""
        words = list(self.string_to_token_dict)
        return {int(token): name if name in self.string_to_token_dict else words[0]
                for name, token in self.placeholder_ids().items()}

    def layout(self, tokens: torch.Tensor) -> Layout:
        """Where the vectors go in prompts of token ids [B, N] on the CPU. Warns of what is cut if it is more than
        padding."""
        word_of = self._words_of_tokens()
        rows = tokens.tolist()
        words = tuple(dict.fromkeys(word_of[t] for row in rows for t in row if t in word_of))
        vectors: dict[str, range] = {}
        end = 0
        for word in words:
            vectors[word] = range(end, end := end + len(self.active_vectors(word)))
        places = [[(position, vector) for position, token in enumerate(row)
                   for vector in (vectors[word_of[token]] if token in word_of else (-1,))] for row in rows]
        n = tokens.shape[1]
        for row, place in zip(rows, places, strict=True):
            self._warn_if_cut([row[position] for position in dict.fromkeys(p for p, _ in place[n:])])
        source, vector = torch.tensor([place[:n] for place in places], device="cpu").unbind(dim=-1)
        return Layout(tokens, source, vector, words)

    def inject(self, layout: Layout, embedded: torch.Tensor) -> torch.Tensor:
        """Embeddings of tokens [B, N, dim], on any device -> embeddings [B, N, dim] with the learned vectors in."""
        if not layout.words:
            return embedded
        vectors = torch.cat([self.active_vectors(word).to(embedded) for word in layout.words])
        source, vector = layout.source.to(embedded.device), layout.vector.to(embedded.device)[..., None]
        own = embedded.gather(1, source[..., None].expand_as(embedded))
        # A vector's gradients are added up from the last prompt to the first, as autograd does for one concatenation a
        # prompt: floats depend on the order.
        learned = vectors[vector[..., 0].clamp(min=0).flip(0)].flip(0)
        return torch.where(vector >= 0, learned, own)

    def forward(self, tokenized_text: torch.Tensor, embedded_text: torch.Tensor) -> torch.Tensor:
        """Token ids [B, N] and their embeddings [B, N, dim] -> embeddings [B, N, dim] with the learned vectors in."""
        return self.inject(self.layout(tokenized_text.cpu()), embedded_text)

    def refine(self, features: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Features [B, N, dim] of prompts, as they come from the text encoder; a manager that learns something behind
        it changes them here."""
        return features

    def _warn_if_cut(self, tokens: list[int]) -> None:
        """Warn that tokens have no room, unless nobody would miss them."""
        tokenizer = self.embedder.tknz_fn
        if lost := [t for t in tokens if t not in (tokenizer.pad_id, tokenizer.end_id)]:
            warnings.warn(f"the learned words take several tokens each and push others out; cut: "
                          f"{quoted(tokenizer.decode(lost, self.placeholder_ids()))}", stacklevel=2)

    def embedding_parameters(self) -> Iterator[nn.Parameter]:
        """The vectors of all placeholders, each [n, dim]: what training changes."""
        return iter([vectors for word in self.string_to_param_dict for vectors in self.vectors_of(word)])

    @torch.no_grad()
    def take_at(self, placeholder: str, start: torch.Tensor, strength: float) -> None:
        """Put a word's vectors so far on the way from its start [n, dim] to where they are."""
        for vectors in self.vectors_of(placeholder):
            vectors.copy_(torch.lerp(start.to(vectors), vectors, strength))
        self.strengths[placeholder] = strength

    def vectors_of(self, placeholder: str) -> list[nn.Parameter]:
        """All that a word goes in as, each [n, dim]: here, its vectors; a manager that learns more adds it."""
        return [self.string_to_param_dict[placeholder]]

    def embedding_to_coarse_loss(self) -> torch.Tensor:
        """Squared distance of the mean of a placeholder's vectors to the mean of their start, averaged over
        placeholders: []."""
        distances = [(self.going_in(p) - start.to(self.going_in(p))).mean(0).square().sum()
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

    def load_companions(self, loaded: Sequence[LoadedWord], files: Mapping[str | Path, Words]) -> None:
        """Take from files what goes with their words. Raises UserError when they were learned in another way."""
        for path, words in files.items():
            if "post_BERT" in words.adapter:
                raise UserError(f"{path}: a word with an adapter, learned with train_new_v1.py; use it with "
                                "txt2img_v1.py")

    def load(self, paths: str | Path | Sequence[str | Path], names: Sequence[str] = ()) -> list[LoadedWord]:
        """Replace the words by those of files, in any format that `ldm.embedding_files` knows. Returns which these are,
        and what they are called here (see `call_words`, which `names` are for); says so on stderr when they were
        learned through another text encoder.

        Raises UserError for a file without embeddings or with embeddings of another width.
        """
        files = {path: read_words(path) for path in dict.fromkeys([paths] if isinstance(paths, str | Path) else paths)}
        found = [(path, own) for path, words in files.items() for own in words.own_names]
        vectors = [v for words in files.values() for v in words.vectors.values()]
        loaded = [LoadedWord(name, path, own, v) for name, (path, own), v in zip(
            call_words(found, names), found, vectors, strict=True)]
        for word in loaded:
            if word.vectors.shape[1] != self.dim:
                raise misfit(word.file, word.own or word.name, word.vectors.shape[1], self.dim)
            try:
                self.token_for(word.name)
            except UserError as error:
                raise UserError(f"{word.file}: {error}") from error
        self.load_companions(loaded, files)
        for path, words in files.items():
            warn_of_another_model(path, words.provenance, self.embedder)
        self._take({word.name: word.vectors for word in loaded})
        known = [words.provenance.get(name) for words in files.values() for name in words.vectors]
        self.provenance = {word.name: p for word, p in zip(loaded, known, strict=True) if p is not None}
        return loaded

    def _take(self, embeddings: Mapping[str, torch.Tensor]) -> None:
        """Let these be the words: {placeholder: vectors [n, dim]}."""
        self.strengths = {}
        self.string_to_token_dict, self.string_to_param_dict = {}, WordDict()
        self.initial_embeddings = {p: start for p, start in self.initial_embeddings.items()
                                   if p in embeddings and embeddings[p].shape == start.shape}
        for placeholder, vectors in embeddings.items():
            self._set(placeholder, vectors.to(self.embedder.token_embeddings.weight.device))
        self.placeholder_strings = list(self.string_to_token_dict)
        self.max_vectors_per_token = max(len(v) for v in self.string_to_param_dict.values())
        self.progressive_words = False  # a file holds the vectors that were in use

    def placeholders_in(self, prompt: str) -> list[str]:
        """The words that a prompt uses, as the text encoder reads it."""
        tokens = self.embedder.tokenize(prompt, self.placeholder_ids())[0].tolist()
        word_of = self._words_of_tokens()
        found = {word_of[t] for t in tokens if t in word_of}
        return [word for word in self.string_to_token_dict if word in found]

    def warn_if_absent(self, prompts: list[str]) -> None:
        """Say so on stderr when a prompt uses none of the placeholders."""
        for prompt in dict.fromkeys(prompts):
            if not self.placeholders_in(prompt):
                say(f"warning: the prompt {quoted(prompt)} does not contain {' or '.join(self.placeholder_ids())};"
                    " the learned word has no part in it")

    def _warn_of_stars(self, prompts: list[str]) -> None:
        """Say so on stderr when a prompt has a * and that is none of the words."""
        words = self.placeholder_ids()
        for prompt in dict.fromkeys(prompts) if words and STAR not in words else ():
            plain = [part.text for part in split_prompt(prompt, words, True) if part.placeholder is None]
            if STAR in "".join(plain):
                say(f"warning: {STAR} in {quoted(prompt)} is none of the learned words, which are written "
                    f"{' '.join(words)}")

    def warn_about(self, prompts: list[str], learned: bool = True, negative_prompt: str = "") -> None:
        """Say on stderr what prompts have that is not read as it may be meant: words that the text encoder cannot
        read, no learned word, neither in them nor in the negative prompt, or placeholders where nothing was learned."""
        own, prompts = prompts, [*prompts, negative_prompt]
        for prompt in dict.fromkeys(prompts):
            self.embedder.warn_if_unreadable(prompt, self.placeholder_ids())
        if learned:
            self.warn_if_absent([] if self.placeholders_in(negative_prompt) else own)
            self._warn_of_stars(prompts)
            return
        words = dict(zip(self.placeholder_strings, self.initializer_words, strict=False))
        for placeholder in dict.fromkeys(p for prompt in prompts for p in self.placeholders_in(prompt)):
            start = f"{words[placeholder]!r}, the config's initial word" if placeholder in words else "noise"
            say(f"no --embedding_path: {placeholder} is read as {start}")
