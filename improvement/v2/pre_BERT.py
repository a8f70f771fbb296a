"""v2: prompts in any language, read by a multilingual transformer before the English text encoder."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from improvement.v2.aligner import Aligner, load_aligner
from ldm.errors import UserError
from ldm.modules.encoders.modules import BERTEmbedder
from ldm.util import resolve_file, resolve_folder


@dataclass
class Reading:
    """What a multilingual transformer makes of prompts."""

    states: torch.Tensor             # [B, M, 2 H]: what a token says in its sentence, and which token it is
    mask: torch.Tensor               # bool [B, M]: True for tokens, False for padding
    signs: list[dict[int, str]]      # for each prompt: token position -> the placeholder there

    @property
    def sign_mask(self) -> torch.Tensor:
        """bool [B, M]: True where a placeholder is."""
        found = torch.zeros_like(self.mask)
        for row, positions in enumerate(self.signs):
            found[row, list(positions)] = True
        return found


class MultilingualEmbedder(nn.Module):
    """States of prompts from a frozen encoder of `transformers`: its last layer beside its first.

    The sign of a learned word is read as the encoder's mask token: one symbol in every language, whatever particle
    follows it ("*의 사진"), about which the encoder knows no more than what the sentence says.
    """

    def __init__(self, name_or_folder: str, max_length: int = 64):
        super().__init__()
        folder, verbosity = resolve_folder(name_or_folder), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()  # a pooling layer that nothing here uses may be missing
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
        except (OSError, ValueError) as error:
            raise UserError(f"multilingual transformer {name_or_folder!r} is neither a folder with one nor a name "
                            f"the model hub answers to ({str(error).splitlines()[0]})") from error
        finally:
            logging.set_verbosity(verbosity)
        if self.tokenizer.mask_token is None:
            raise UserError(f"multilingual transformer {name_or_folder}: has no mask token to stand for learned words")
        self.max_length = max_length

    @property
    def dim(self) -> int:
        return 2 * self.model.config.hidden_size

    def train(self, mode: bool = True):
        return super().train(False)  # frozen, always

    def tokenize(self, prompts: list[str], placeholders: list[str]):
        """(token ids [B, M], bool [B, M], for each prompt {position: placeholder}). Raises UserError for a prompt that
        itself has the mask token."""
        pattern = "|".join(sign_pattern(p) for p in sorted(placeholders, key=len, reverse=True))
        texts, found = [], []
        for prompt in prompts:
            if self.tokenizer.mask_token in prompt:
                raise UserError(f"the prompt {prompt!r} has {self.tokenizer.mask_token} in it, kept for learned "
                                "words")
            found.append(re.findall(pattern, prompt) if pattern else [])
            texts.append(re.sub(pattern, f" {self.tokenizer.mask_token} ", prompt).strip() if pattern else prompt)
        for ids in self.tokenizer(texts, verbose=False)["input_ids"]:
            if len(ids) > self.max_length:
                warnings.warn(f"a prompt has {len(ids)} tokens and {self.max_length} fit; cut: "
                              f"{self.tokenizer.decode(ids[self.max_length - 1 : -1])!r}", stacklevel=2)
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        ids = batch["input_ids"]
        signs = [dict(zip((row == self.tokenizer.mask_token_id).nonzero()[:, 0].tolist(), names, strict=False))
                 for row, names in zip(ids, found, strict=True)]
        return ids, batch["attention_mask"].bool(), signs

    @torch.no_grad()
    def forward(self, prompts: list[str], placeholders: list[str] = ()) -> Reading:
        ids, mask, signs = self.tokenize(list(prompts), list(placeholders))
        device = self.model.device
        layers = self.model(input_ids=ids.to(device), attention_mask=mask.to(device).long(),
                            output_hidden_states=True).hidden_states
        states = torch.cat([layers[-1], layers[0]], dim=-1)
        return Reading(states, mask.to(device), signs)


def sign_pattern(placeholder: str) -> str:
    """A regular expression for a placeholder; one of letters counts only where no Latin letter or digit touches it."""
    pattern = re.escape(placeholder)
    return rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])" if placeholder.isalnum() else pattern


class AlignedEmbedder(BERTEmbedder):
    """The text encoder of a published or embedded model, behind a multilingual transformer and an aligner.

    Prompts in any language become English token ids, learned words among them; from there on everything is as without
    v2, so that a word means what it meant when it was learned.
    """

    def __init__(
        self,
        multilingual: str = "models/multilingual/emoji",         # a folder, or a name on the model hub
        aligner: str = "models/multilingual/emoji/aligner.pt",   # what improvement/v2/train_aligner.py wrote
        **kwargs,                                                # see BERTEmbedder
    ):
        super().__init__(**kwargs)
        self.multilingual_name, self.aligner_file = multilingual, aligner
        self._front: list = []  # a list: its weights are not in the model's checkpoint

    @property
    def front(self) -> tuple[MultilingualEmbedder, Aligner]:
        """Multilingual transformer and aligner, read when they are first needed, on the text encoder's device."""
        if not self._front:
            embedder = MultilingualEmbedder(self.multilingual_name)
            aligner = load_aligner(Path(resolve_file(self.aligner_file)))
            aligner.check_fit(embedder.dim, self.transformer.token_emb.weight, self.aligner_file)
            self._front = [embedder, aligner.eval()]
        device = self.transformer.token_emb.weight.device
        return tuple(part.to(device) for part in self._front)

    @torch.no_grad()
    def tokenize(self, text: str | list[str], placeholders: dict[str, torch.Tensor]) -> torch.Tensor:
        """Token ids [B, max_seq_len] in the English vocabulary, each placeholder's token where its word goes."""
        embedder, aligner = self.front
        tokenizer = self.tknz_fn.tokenizer
        reading = embedder([text] if isinstance(text, str) else list(text), list(placeholders))
        return aligner.english(reading, self.transformer.token_emb.weight, placeholders, tokenizer.sep_token_id,
                               tokenizer.pad_token_id)

    def word_ids(self, word: str) -> list[int]:
        """English token ids of a word in any language, without [CLS], [SEP] and articles."""
        if word.isascii():
            return super().word_ids(word)
        tokenizer = self.tknz_fn.tokenizer
        left_out = {*tokenizer.all_special_ids, *tokenizer.convert_tokens_to_ids(["a", "an", "the"])}
        return [i for i in self.tokenize(word, {})[0].tolist() if i not in left_out]
