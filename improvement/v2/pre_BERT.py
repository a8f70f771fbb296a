"""v2: prompts in any language, translated into the English text encoder's tokens before it reads them."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from improvement.v2 import names
from improvement.v2.aligner import Aligner, SourceEncoding, load_aligner, spelt
from improvement.v2.alignment import align, hide_each, weighed_words
from improvement.v2.coverage import Coverage
from improvement.v2.names import Names, NameTokens
from ldm.errors import UserError
from ldm.modules.encoders.modules import BERTEmbedder
from ldm.modules.encoders.text_encoder import Placeholders
from ldm.placeholders import split_prompt
from ldm.pretrained import from_pretrained
from ldm.prompts import Prompt
from ldm.schema import Trimmed
from ldm.util import quoted, resolve_file, resolve_folder

BEAMS = 4  # of the search for a prompt's translation
GAP_SHARE = 0.4  # mean probability of a word's tokens from which it is named as not understood


class Reading(NamedTuple):
    """What a prompt is understood as: an English sentence, and the parts of the prompt that nothing was made of."""

    english: str
    gaps: tuple[str, ...]

    def __str__(self) -> str:
        left_out = f"; not understood: {', '.join(self.gaps)}" if self.gaps else ""
        return (self.english or "nothing") + left_out


class MultilingualEmbedder(nn.Module):
    """The source encoder: a frozen encoder of `transformers`, its last layer's states beside its token embeddings.

    The placeholder of a learned word enters as the encoder's mask token: one token in every language, whatever
    particle follows it ("*의 사진"), about which the encoder knows no more than its context.
    """

    def __init__(self, name_or_folder: str, max_length: int = 128):
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
        table = Path(resolve_folder(name_or_folder), names.FILE)
        self.names = names.read_names(table) if table.is_file() else None  # of what can be copied, beside placeholders
        self.coverage = Coverage(self.names) if self.names else None

    @property
    def memory_dim(self) -> int:
        """Width of the encoder's output, twice its hidden size H."""
        return 2 * self.model.config.hidden_size

    def train(self, mode: bool = True) -> MultilingualEmbedder:
        """Stays in evaluation mode: it is frozen."""
        return super().train(False)

    def substitute(self, prompts: Sequence[str], placeholders: Sequence[str], ignore_case: bool = False
                   ) -> tuple[list[str], list[list[str]]]:
        """Prompts with the mask token for each placeholder, and the placeholders in order. Raises UserError for a
        prompt that itself has the mask token."""
        texts, found = [], []
        for prompt in prompts:
            parts = list(split_prompt(prompt, placeholders, ignore_case))
            if any(part.placeholder is None and self.tokenizer.mask_token in part.text for part in parts):
                raise UserError(f"the prompt {quoted(prompt)} has {self.tokenizer.mask_token} in it, kept for learned "
                                "words")
            found.append([part.placeholder for part in parts if part.placeholder is not None])
            text = "".join(f" {self.tokenizer.mask_token} " if part.placeholder else part.text for part in parts)
            texts.append(text.strip() if placeholders else text)
        return texts, found

    def tokenize(self, prompts: Sequence[str], placeholders: Sequence[str], ignore_case: bool = False
                 ) -> tuple[torch.Tensor, torch.Tensor, list[dict[int, str]]]:
        """Source token ids [B, M], their mask, bool [B, M], and for each prompt {position: placeholder}.

        Raises UserError for a prompt that itself has the mask token.
        """
        texts, found = self.substitute(prompts, placeholders, ignore_case)
        ids, mask, _ = self.encode_texts(texts)
        return ids, mask, self.positions(ids, found)

    def positions(self, ids: torch.Tensor, found: list[list[str]]) -> list[dict[int, str]]:
        """{position: placeholder} of token ids [B, M] and placeholders in order; one that was cut off has no mask token
        left."""
        return [dict(zip((row == self.tokenizer.mask_token_id).nonzero()[:, 0].tolist(), names, strict=False))
                for row, names in zip(ids, found, strict=True)]

    def encode_texts(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Token ids [B, M], mask, bool [B, M], and where the tokens stand, [B, M, 2], if the tokenizer can tell. Warns
        of texts that are cut."""
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt",
                               return_offsets_mapping=self.tokenizer.is_fast)
        if batch["input_ids"].shape[1] >= self.max_length:
            for row in self.tokenizer(texts, verbose=False)["input_ids"]:
                if len(row) > self.max_length:
                    warnings.warn(f"a prompt has {len(row)} tokens and {self.max_length} fit; cut: "
                                  f"{quoted(str(self.tokenizer.decode(row[self.max_length - 1 : -1])))}", stacklevel=2)
        return batch["input_ids"], batch["attention_mask"].bool(), batch.get("offset_mapping")

    def find_names(self, texts: list[str], spans: torch.Tensor
                   ) -> tuple[torch.Tensor, list[dict[int, str]], torch.Tensor]:
        """Token types [B, M] of names in texts whose tokens stand at spans [B, M, 2]; {position: English name}, the
        longest first, as labels want them; and which of them are sure, bool [B, M]. What a word means beside the first
        stands at its next tokens."""
        table, mask = cast(Names, self.names), str(self.tokenizer.mask_token)
        texts = [text.replace(mask, " " * len(mask)) for text in texts]
        types, rows = [], []
        sure = torch.zeros(spans.shape[:2], dtype=torch.bool)
        for n, (text, row) in enumerate(zip(texts, spans.tolist(), strict=True)):
            starts = [a if b > a else -1 for a, b in row]
            kinds, found = [names.OUTSIDE] * len(row), dict[int, tuple[str, int]]()
            for match in table.find(text):
                if match.english[0] == names.STRANGE:
                    continue
                inside = [i for i, a in enumerate(starts) if match.start <= a < match.end]
                begin, rest = match.types
                if inside:
                    sure[n, inside[0]] = match.sure and kinds[inside[0]] == names.OUTSIDE
                for i in inside:
                    kinds[i] = kinds[i] or rest
                if inside:
                    kinds[inside[0]] = begin
                if table.within_plain(match, text):  # nobody means it, though in a bare 배경 there is nothing else
                    continue
                free = [i for i in inside if i not in found]
                for position, english in zip(free, match.english, strict=False):
                    found[position] = (english, match.end - match.start)
            types.append(kinds)
            rows.append({position: english for position, (english, _) in
                         sorted(found.items(), key=lambda item: (-len(item[1][0]), -item[1][1]))})
        return torch.tensor(types), rows, sure

    def gaps(self, text: str, marks: Sequence[float], spans: Sequence[Sequence[int]], copied: Sequence[int],
             nothing: bool) -> list[str]:
        """The parts of a text that are not understood, as `Coverage.gaps` has them; without a table, words whose tokens
        have a mean mark over GAP_SHARE."""
        if self.coverage is not None:
            mask = str(self.tokenizer.mask_token)
            return self.coverage.gaps(text.replace(mask, " " * len(mask)), marks, spans, copied, nothing)
        found = []
        for match in re.finditer(r"\S+", text):
            own = [mark for mark, (a, b) in zip(marks, spans, strict=True)
                   if b > a and match.start() <= a < match.end()]
            if own and sum(own) / len(own) > GAP_SHARE:
                found.append(match[0].strip(".,!?~"))
        return found

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

    def forward(self, prompts: Sequence[str], placeholders: Sequence[str] = (), ignore_case: bool = False,
                hidden: torch.Tensor | None = None) -> SourceEncoding:
        """Encode prompts in which placeholders may stand, without the tokens that are hidden, bool [B, M]: memory
        [B, M, 2 H]. Raises UserError as tokenize does."""
        texts, used = self.substitute(prompts, placeholders, ignore_case)
        ids, mask, spans = self.encode_texts(texts)
        mask = mask if hidden is None else mask & ~hidden
        device = self.model.device
        options: dict[str, torch.Tensor] = {}
        found, sure = None, None
        if self.names is not None:
            types, found, sure = self.find_names(texts, spans)
            sure = sure.to(device)
            options["token_type_ids"] = types.to(device)
        hidden_states = self.model(input_ids=ids.to(device), attention_mask=mask.to(device).long(),
                                   output_hidden_states=True, **options).hidden_states
        # the token's context, and which token it is: the aligner learns faster with both
        memory = torch.cat([hidden_states[-1], hidden_states[0]], dim=-1)
        return SourceEncoding(memory, mask.to(device), self.positions(ids, used), ids, found, sure)


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
                source, self.token_embeddings.weight, placeholders, eos_id=tokenizer.end_id, pad_id=tokenizer.pad_id,
                beams=BEAMS, name_ids=self.name_tokens)
            rows |= dict(zip(sentences, translation, strict=True))
        return torch.stack([rows[i] for i in range(len(texts))])

    @torch.no_grad()
    def readings(self, prompts: Sequence[str], placeholders: Placeholders) -> list[Reading]:
        """What prompts are read as, in English, and the words in them that nothing was made of."""
        tokenizer, (encoder, aligner), weight = self.tknz_fn, self.translator, self.token_embeddings.weight
        read = []
        for prompt in prompts:
            if not tokenizer.ids(prompt):
                read.append(Reading("", ()))
                continue
            source = self.read([prompt], placeholders)
            tokens = aligner.decode(source, weight, tokenizer.end_id, BEAMS)[0].tolist()
            tokens = tokens[: tokens.index(tokenizer.end_id)] if tokenizer.end_id in tokens else tokens
            ids = spelt(tokens, source, 0, placeholders, len(weight), self.name_tokens)[0]
            english = tokenizer.decode([i for i in ids if i != tokenizer.start_id], placeholders)
            gaps: list[str] = []
            if aligner.gap is not None:
                texts, _ = encoder.substitute([prompt], list(placeholders), tokenizer.ignores_case)
                marks = aligner.not_understood(source)[0].sigmoid().tolist()
                spans = encoder.encode_texts(texts)[2][0].tolist()
                copied = [token - len(weight) for token in tokens if token >= len(weight)]
                gaps = encoder.gaps(texts[0], marks, spans, copied, not english)
            read.append(Reading(english, tuple(gaps)))
        return read

    def understood(self, prompts: Sequence[str], placeholders: Placeholders) -> list[str]:
        """What prompts are read as, for each a line."""
        return [str(reading) for reading in self.readings(prompts, placeholders)]

    @torch.no_grad()
    def token_weights(self, prompt: Prompt, placeholders: Placeholders) -> list[float]:
        """The weight of each token of a prompt's translation: that of the word without which it is least
        likely (`improvement.v2.alignment`). What is copied, placeholders and names, comes from where it stands."""
        weights = [1.0] * self.max_seq_len
        words, word_weights = self.translator[0].weighed_words(prompt, list(placeholders), self.tknz_fn.ignores_case)
        if not self.tknz_fn.ids(prompt.text) or not word_weights:
            return weights
        source, embeddings = self.read([prompt.text], placeholders), self.token_embeddings.weight
        aligner, V, end = self.translator[1], len(embeddings), self.tknz_fn.end_id
        tokens = aligner.decode(source, embeddings, end, BEAMS)
        ids, places = spelt(tokens[0].tolist(), source, 0, placeholders, V, self.name_tokens)
        names, copied = (source.names or [{}])[0], {}
        for place, token in enumerate(tokens[0].tolist()):
            if token >= V:  # a name of several words stands at the first of them, and at each is known by the whole
                count, name = places.count(place), names.get(token - V)
                stands = [m for m in sorted(names) if m >= token - V and names[m] == name][:count]
                copied[place] = [words[m] for m in (stands if len(stands) == count else [token - V] * count)]
        of_names = {word for found in copied.values() for word in found}
        plain = [-1 if word in of_names else word for word in words]
        from_words: list[int] = []
        if set(plain) != {-1}:
            hidden = hide_each(plain)
            without = self.translator[0]([prompt.text] * len(hidden), list(placeholders), self.tknz_fn.ignores_case,
                                         hidden)
            from_words = align(aligner, without, embeddings, tokens)
        ends = ids.index(end) if end in ids else len(ids)
        for n, place in enumerate(places[:ends][: self.max_seq_len - 1]):
            if place in copied:
                word = copied[place][n - places.index(place)]
            else:
                word = from_words[place] if n and from_words else -1
            weights[n] = word_weights[word] if word >= 0 else 1.0
        return weights

    @functools.cached_property
    def name_tokens(self) -> NameTokens:
        """The token ids of English names."""
        return NameTokens(self.tknz_fn)

    def reads(self, word: str) -> bool:
        """Whether a word in any language has tokens of its own."""
        source_encoder = self.translator[0]
        ids = source_encoder.tokenize([word], [])[0]
        return source_encoder.tokenizer.unk_token_id not in ids[0].tolist() or not self.tknz_fn.ids(word)

    def knows(self, word: str) -> bool:
        """Whether a word means something: what a whole prompt does not, `readings` tells."""
        return True

    def remedy(self, unknown: list[str]) -> str:
        """What to do about words that cannot be read."""
        return "take other words"

    def word_ids(self, word: str) -> list[int]:
        """English token ids of a word in any language, without [CLS], [SEP] and articles."""
        if word.isascii():
            return super().word_ids(word)
        left_out = self.tknz_fn.special_ids.union(*map(self.tknz_fn.ids, ("a", "an", "the")))
        return [i for i in self.tokenize(word, {})[0].tolist() if i not in left_out]
