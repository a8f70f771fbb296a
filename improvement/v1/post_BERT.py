"""v1: an adapter and a small transformer behind the text encoder, learned in one run with the new word.

The word is what it would be without them, bit for bit. They learn what its feature lacks where it stands alone, and to
leave it as it is beside a second thing, which would be drowned by it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from torch import nn

from ldm.embedding_files import Words
from ldm.errors import UserError
from ldm.models.diffusion.ddpm import LatentDiffusion
from ldm.modules.diffusionmodules.util import zero_module
from ldm.modules.embedding_manager import EmbeddingManager, Layout, LoadedWord
from ldm.modules.meta import without_weights
from ldm.modules.x_transformer import Attention, Encoder, FeedForward
from ldm.placeholders import split_prompt
from ldm.schema import Range, Rate, Weight
from ldm.serialization import check_weights

if TYPE_CHECKING:
    from ldm.modules.encoders.text_encoder import TextEncoder

MAX_LAYERS = 64  # of what an adapter's file asks for
# How a second thing, {1}, stands beside a learned word, {0}.
COMPANY = ("{0} and a {1}", "{1} and a {0}", "{0} with a {1}", "{1} with a {0}", "{0} next to a {1}",
           "{1} next to a {0}")


Bottleneck = Annotated[int, Range(0, 10**6)]
Layers = Annotated[int, Range(0, 1000)]


class AdapterLayer(nn.Module):
    """A bottleneck with a residual (Houlsby et al., arXiv 1902.00751, section 2.1), at first the identity.

    [B, N, dim] -> [B, N, dim].
    """

    def __init__(self, dim: int, bottleneck: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.down, self.up = nn.Linear(dim, bottleneck), zero_module(nn.Linear(bottleneck, dim))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """z plus what passes the bottleneck."""
        return z + self.up(nn.functional.gelu(self.down(self.norm(z))))


class PostBERT(nn.Module):
    """An adapter (none for bottleneck 0), then n_layer pre-norm transformer layers: features [B, N, dim] -> features.

    The last projection of every residual branch starts at zero, so that at first features come out as they went in,
    bit for bit.
    """

    def __init__(self, dim: int, bottleneck: int = 64, n_layer: int = 1):
        super().__init__()
        self.adapter = AdapterLayer(dim, bottleneck) if bottleneck else nn.Identity()
        self.transformer = Encoder(dim, n_layer)
        for block in self.transformer.modules():
            if isinstance(block, Attention | FeedForward):
                zero_module(block.to_out if isinstance(block, Attention) else block.net[-1])

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """What adapter and layers make of the features."""
        return self.transformer(self.adapter(z))


class PostBERTManager(EmbeddingManager):
    """An embedding manager that also keeps what is learned behind the text encoder; one file carries both."""

    def __init__(
        self,
        embedder: TextEncoder,
        bottleneck: Bottleneck = 64,  # width of the adapter; 0: none
        n_layer: Layers = 1,          # transformer layers behind it
        everywhere: bool = False,     # whether they change the features of all tokens, not of the learned words alone
        **kwargs: Any,                # see EmbeddingManager
    ):
        self._sizes, self.everywhere = {"bottleneck": bottleneck, "n_layer": n_layer}, everywhere
        self.adapted: set[str] | None = None  # words that the layers were learned with; None: all
        self.part: Literal["both", "vectors", "layers"] = "both"  # what gradients are for, see refine
        super().__init__(embedder, **kwargs)

    def reset_parameters(self) -> None:
        """Start the vectors as EmbeddingManager does, and the layers as the identity."""
        super().reset_parameters()
        self.post_bert = PostBERT(self.dim, **self._sizes).to(self.embedder.token_embeddings.weight.device)

    def refine(self, features: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Features [B, N, dim] of prompts -> features, by default with the learned layers' output at the learned words
        and nothing else changed: prompts without them stay what they are, bit for bit.

        There the output is turned, not stretched: it keeps the length that the text encoder gave. Free to grow it
        becomes two to three times as long as any word's, and drowns the rest of the prompt.

        For the part "vectors" features are what they are without the layers; for "layers" the vectors get no gradient.
        """
        if self.part == "vectors":
            return features
        if self.part == "layers":
            features = features.detach()
        refined = self.post_bert(features)
        if not self.everywhere:
            refined = refined * (features.norm(dim=-1, keepdim=True) / refined.norm(dim=-1, keepdim=True))
        if self.strengths:
            refined = torch.lerp(features, refined, self._strengths(layout).to(features)[..., None])
        if self.everywhere:
            return refined
        return torch.where(self._adapted_positions(layout).to(features.device)[..., None], refined, features)

    def embedding_to_coarse_loss(self) -> torch.Tensor:
        """As EmbeddingManager has it; no matter of the layers."""
        loss = super().embedding_to_coarse_loss()
        return loss.detach() if self.part == "layers" else loss

    def _adapted_positions(self, layout: Layout) -> torch.Tensor:
        """bool [B, N]: where the words are that the layers were learned with."""
        if self.adapted is None or not layout.words:
            return layout.learned
        adapted = torch.tensor([word in self.adapted for word in layout.words for _ in self.active_vectors(word)])
        return layout.learned & adapted[layout.vector.clamp(min=0)]

    def _strengths(self, layout: Layout) -> torch.Tensor:
        """float [B, N]: how much counts of what the layers change: at a word its strength, elsewhere the greatest."""
        each = {word: self.strengths.get(word, 1.0) for word in self.string_to_param_dict}
        of_vectors = [each[word] for word in layout.words for _ in self.active_vectors(word)] or [1.0]
        return torch.where(layout.learned, torch.tensor(of_vectors)[layout.vector.clamp(min=0)], max(each.values()))

    def companions(self) -> dict[str, Any]:
        """The weights of the layers, and whether they change all tokens: what `load_companions` takes."""
        return {"post_BERT": {n: v.detach().cpu().clone() for n, v in self.post_bert.state_dict().items()},
                "post_BERT_everywhere": self.everywhere}

    def load_companions(self, loaded: Sequence[LoadedWord], files: Mapping[str | Path, Words]) -> None:
        """Take the adapter of a file, whatever its sizes, for the words of that file. Raises UserError where there is
        none, or more than one."""
        adapted = [path for path, words in files.items() if isinstance(words.adapter.get("post_BERT"), dict)
                   and words.adapter["post_BERT"]]
        if not adapted:
            raise UserError(f"{next(iter(files))}: a word without an adapter, learned with train_new.py; use it with "
                            "txt2img.py, or learn one with train_new_v1.py")
        if len(adapted) > 1:
            raise UserError(f"{adapted[0]} and {adapted[1]} have an adapter each, behind one text encoder, where only "
                            "one has its place; give one of them, beside words that train_new.py learned")
        self._load_adapter(adapted[0], files[adapted[0]].adapter)
        self.adapted = None if len(files) == 1 else {word.name for word in loaded if word.file == adapted[0]}

    def _load_adapter(self, path: str | Path, content: dict[str, Any]) -> None:
        state = content["post_BERT"]
        down, everywhere = state.get("adapter.down.weight"), content.get("post_BERT_everywhere", False)
        layers = {n.split(".")[2] for n in state if isinstance(n, str) and re.match(r"transformer\.layers\.\d+\.", n)}
        sizes = {"bottleneck": len(down) if torch.is_tensor(down) and down.dim() else 0, "n_layer": len(layers) // 2}
        try:
            if sizes["n_layer"] > MAX_LAYERS:
                raise UserError(f"it has more layers than {MAX_LAYERS}")
            with without_weights():  # no memory before it is known that the file has as much
                expected = PostBERT(self.dim, **sizes).state_dict()
            if set(state) != set(expected) or not isinstance(everywhere, bool):
                raise UserError("it has other parts than an adapter")
            check_weights(state, expected)
        except UserError as error:
            raise UserError(f"{path}: its adapter was learned for another model, or is damaged: {error}") from error
        self._sizes, self.everywhere = sizes, everywhere
        post_bert = PostBERT(self.dim, **sizes)
        post_bert.load_state_dict(state)
        self.post_bert = post_bert.to(self.embedder.token_embeddings.weight.device)


class PostBERTDiffusion(LatentDiffusion):
    """Latent diffusion with a PostBERTManager, whose layers it trains at a rate of their own.

    A training step is two passes: the vectors learn as they do without the layers, and the layers behind what they have
    become. A preservation term keeps the words' features beside a second thing where they were, and, where the layers
    change the features of all tokens, prompts without the words.
    """

    embedding_manager: PostBERTManager

    def __init__(
        self,
        preservation_weight: Weight = 1.0,   # of the preservation term
        post_learning_rate: Rate = 1e-4,     # of the layers
        **kwargs: Any,                       # see LatentDiffusion
    ):
        super().__init__(**kwargs)
        self.preservation_weight, self.post_learning_rate = preservation_weight, post_learning_rate
        self._things: list[str] = []

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The vectors of the learned words, then the parameters of the layers."""
        return [*super().trainable_parameters(), *self.embedding_manager.post_bert.parameters()]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW: the vectors at `learning_rate`, the layers at `post_learning_rate`."""
        vectors, layers = super().trainable_parameters(), self.embedding_manager.post_bert.parameters()
        return torch.optim.AdamW([{"params": vectors, "lr": self.learning_rate},
                                  {"params": list(layers), "lr": self.post_learning_rate}])

    def ordinary_prompts(self, c: list[str]) -> torch.Tensor:
        """Token ids [len(c) + 1, N]: the prompts with words drawn from the vocabulary in place of the learned ones, and
        the empty prompt."""
        encoder, placeholders = self.cond_stage_model, self.embedding_manager.placeholder_ids()
        tokens = encoder.tknz_fn([*c, ""], placeholders)
        learned = torch.isin(tokens, torch.stack(list(placeholders.values())))
        special = torch.tensor(list(encoder.tknz_fn.special_ids))
        ordinary = torch.arange(encoder.token_embeddings.num_embeddings)
        ordinary = ordinary[~torch.isin(ordinary, special)]
        tokens[learned] = ordinary[torch.randint(len(ordinary), (int(learned.sum()),))]
        return tokens

    def company_prompts(self, c: list[str]) -> list[str]:
        """The prompts, with a second thing beside each learned word: any word of the vocabulary."""
        tokenizer, names = self.cond_stage_model.tknz_fn, self.embedding_manager.placeholder_ids()
        if not self._things:
            pieces = (piece.removesuffix("</w>") for piece in tokenizer.tokenizer.get_vocab())
            self._things = sorted({piece for piece in pieces if piece.isalpha() and len(piece) > 2} - set(names))

        def one_of(choices: Sequence[str]) -> str:
            return choices[int(torch.randint(len(choices), ()))]
        return ["".join(part.text if part.placeholder is None else
                        one_of(COMPANY).format(part.text, one_of(self._things))
                        for part in split_prompt(prompt, names, tokenizer.ignores_case)) for prompt in c]

    def preservation_loss(self, c: list[str]) -> torch.Tensor:
        """[]: the mean squared change of the learned words' features in prompts like c, but with a second thing, as a
        share of their squares; and, where the layers act everywhere, the mean squared change of the features of prompts
        like c, but without learned words."""
        encoder, manager = self.cond_stage_model, self.embedding_manager
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is cut: nobody wrote these prompts
            tokens = encoder.tokenize(self.company_prompts(c), manager.placeholder_ids())
            layout = manager.layout(tokens)
            before = encoder.features(tokens.to(self.device), lambda _, embedded: manager.inject(layout, embedded))
        change = torch.zeros((), device=self.device)
        if layout.learned.any():  # else all words were cut
            learned = layout.learned.to(self.device)
            change = (manager.refine(before, layout) - before)[learned].square().sum() / before[learned].square().sum()
        if manager.everywhere:
            with torch.no_grad():
                before = encoder.features(self.ordinary_prompts(c).to(self.device))
            change = change + (manager.post_bert(before) - before).square().mean()
        return change

    def forward(self, x: torch.Tensor, c: list[str], **mask: torch.Tensor
                ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """As LatentDiffusion has it, plus the preservation term. In training the loss is that of the layers; the
        vectors get their gradient from one without them."""
        stage, own = "train" if self.training else "val", torch.zeros((), device=x.device)
        manager, vectors = self.embedding_manager, super().trainable_parameters()
        try:
            if self.training:
                manager.part = "vectors"
                # One pass is over before the other begins, so that there is memory for one: its gradient is kept in a
                # term of the loss that is nought.
                for vector, gradient in zip(vectors, torch.autograd.grad(super().forward(x, c, **mask)[0], vectors,
                                                                         allow_unused=True), strict=True):
                    if gradient is not None:
                        own = own + ((vector - vector.detach()) * gradient).sum()
                manager.part = "layers"
            loss, parts = super().forward(x, c, **mask)
        finally:
            manager.part = "both"
        if self.preservation_weight > 0:
            parts[f"{stage}/loss_preservation"] = self.preservation_loss(list(c))
            loss = loss + self.preservation_weight * parts[f"{stage}/loss_preservation"]
            parts[f"{stage}/loss"] = loss
        return loss + own, parts
