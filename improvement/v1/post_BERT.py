"""v1: an adapter and a small transformer behind the text encoder, learned in one run with the new word.

What they make of a word is more like the thing, and drowns what stands beside it. So a word has two readings: the
base's, bit for bit what is learned without all this, and one with a vector of its own and the layers. A gate learns to
tell which counts: a word that stands alone, as in the captions it is learned in, is read in the second way.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from torch import nn

from ldm.embedding_files import Words
from ldm.errors import UserError
from ldm.models.diffusion.ddpm import LatentDiffusion
from ldm.modules.diffusionmodules.util import zero_module
from ldm.modules.embedding_manager import EmbeddingManager, Layout, LoadedWord, WordDict
from ldm.modules.meta import without_weights
from ldm.modules.x_transformer import Attention, Encoder, FeedForward
from ldm.placeholders import Part, split_prompt
from ldm.schema import Range, Rate, Weight
from ldm.serialization import check_weights

if TYPE_CHECKING:
    from ldm.modules.encoders.text_encoder import TextEncoder

MAX_LAYERS = 64  # of what an adapter's file asks for
# What a prompt may ask for beside a learned word, {0}: a second thing, {1}, or a size or number, which the second
# reading would drown; and a background, {1}, which it leaves.
COMPANY = ("{0} and a {1}", "{1} and a {0}", "{0} with a {1}", "{1} with a {0}", "{0} next to a {1}",
           "{1} next to a {0}", "small {0}", "big {0}", "two {0}")
BACKGROUND = "{0} on a {1} background"
COLOURS = ("black", "blue", "brown", "gray", "green", "orange", "pink", "purple", "red", "white", "yellow")


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


class Gate(nn.Module):
    """Whether a token stands alone, or beside a second thing, by its feature and the mean of all: features [B, N, dim]
    -> logits [B, N], above zero where it is alone."""

    def __init__(self, dim: int, hidden: int = 32):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2 * dim, hidden), nn.SiLU(), nn.Linear(hidden, 1))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """The logits."""
        return self.net(torch.cat([z, z.mean(dim=1, keepdim=True).expand_as(z)], dim=-1)).squeeze(-1)


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
        everywhere: bool = False,     # one reading and no gate; the layers change the features of all tokens
        **kwargs: Any,                # see EmbeddingManager
    ):
        self._sizes, self.everywhere = {"bottleneck": bottleneck, "n_layer": n_layer}, everywhere
        self.adapted: set[str] | None = None  # words that the layers were learned with; None: all
        self.reading: Literal["base", "alone", "gated"] = "gated"
        super().__init__(embedder, **kwargs)

    def reset_parameters(self) -> None:
        """Start the vectors of both readings as EmbeddingManager does, and the layers as the identity."""
        self.alone = nn.ParameterDict()
        super().reset_parameters()
        device = self.embedder.token_embeddings.weight.device
        self.post_bert = PostBERT(self.dim, **self._sizes).to(device)
        self.gate = None if self.everywhere else Gate(self.dim).to(device)
        if self.gate is not None:
            self._take_alone({word: vectors.detach() for word, vectors in self.string_to_param_dict.items()})

    def _take_alone(self, vectors: Mapping[str, torch.Tensor]) -> None:
        """Let these be the vectors of the second reading, {word: [n, dim]}."""
        self.alone = WordDict({word: nn.Parameter(v.to(self.embedder.token_embeddings.weight.device, torch.float32,
                                                       copy=True)) for word, v in vectors.items()})

    @contextmanager
    def read_as(self, reading: Literal["base", "alone", "gated"]) -> Iterator[None]:
        """Meanwhile, read words in the one way, in the other, or in the one that the gate says."""
        before, self.reading = self.reading, reading
        try:
            yield
        finally:
            self.reading = before

    def vectors_of(self, placeholder: str) -> list[nn.Parameter]:
        """Its vectors, then those of the second reading, each [n, dim]."""
        return [*super().vectors_of(placeholder), *([self.alone[placeholder]] if placeholder in self.alone else [])]

    def going_in(self, placeholder: str) -> torch.Tensor:
        """The vectors [n, dim] that go in for a placeholder in the reading of now."""
        alone = self.reading == "alone" and placeholder in self.alone
        return self.alone[placeholder] if alone else super().going_in(placeholder)

    def refine(self, features: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Features [B, N, dim] of prompts, the base's reading -> features: the second reading of prompts in which all
        words that have one stand alone, by the gate; other prompts stay what they are, bit for bit."""
        if self.reading == "base":
            return features
        if self.reading == "alone" or self.gate is None:
            return self._turn(features, layout)
        if not self._adapted_positions(layout).any():
            return features
        rows = self.alone_rows(features, layout)
        with self.read_as("alone"):
            return torch.where(rows[:, None, None], self._turn(self.read(layout), layout), features)

    def read(self, layout: Layout) -> torch.Tensor:
        """Features [B, N, dim] of prompts as the text encoder makes them, with the vectors of the reading of now."""
        tokens = layout.tokens.to(self.embedder.token_embeddings.weight.device)
        return self.embedder.features(tokens, lambda _, embedded: self.inject(layout, embedded))

    def alone_rows(self, features: torch.Tensor, layout: Layout) -> torch.Tensor:
        """bool [B]: the prompts that the second reading counts in, by the gate, with features [B, N, dim] of the base's
        reading: those that have a word that was learned with the layers, and where all such words stand alone."""
        adapted = self._adapted_positions(layout).to(features.device)
        shut = adapted if self.gate is None else adapted & (self.gate(features) <= 0)
        return adapted.any(dim=1) & ~shut.any(dim=1)

    def _turn(self, features: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Features [B, N, dim] with the layers' output at the learned words, or everywhere.

        There the output is turned, not stretched: it keeps the length that the text encoder gave. Free to grow it
        becomes two to three times as long as any word's, and drowns the rest of the prompt.
        """
        refined = self.post_bert(features)
        if not self.everywhere:
            refined = refined * (features.norm(dim=-1, keepdim=True) / refined.norm(dim=-1, keepdim=True))
        if self.strengths:
            refined = torch.lerp(features, refined, self._strengths(layout).to(features)[..., None])
        if self.everywhere:
            return refined
        return torch.where(self._adapted_positions(layout).to(features.device)[..., None], refined, features)

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
        """What `load_companions` takes: the weights of the layers, whether they change all tokens, and, with a gate,
        its weights and the vectors of the second reading, [n, dim] for all words together."""
        kept = {"post_BERT": _copied(self.post_bert), "post_BERT_everywhere": self.everywhere}
        if self.gate is not None:
            with self.read_as("alone"):
                vectors = [self.active_vectors(word).detach().cpu() for word in self.string_to_param_dict]
            kept |= {"post_BERT_gate": _copied(self.gate), "post_BERT_alone": torch.cat(vectors)}
        return kept

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
        self._load_adapter(adapted[0], files[adapted[0]].adapter, [w for w in loaded if w.file == adapted[0]])
        self.adapted = None if len(files) == 1 else {word.name for word in loaded if word.file == adapted[0]}

    def _load_adapter(self, path: str | Path, content: dict[str, Any], words: Sequence[LoadedWord]) -> None:
        state, gate, alone = content["post_BERT"], content.get("post_BERT_gate"), content.get("post_BERT_alone")
        down, everywhere = state.get("adapter.down.weight"), content.get("post_BERT_everywhere", False)
        layers = {n.split(".")[2] for n in state if isinstance(n, str) and re.match(r"transformer\.layers\.\d+\.", n)}
        sizes = {"bottleneck": len(down) if torch.is_tensor(down) and down.dim() else 0, "n_layer": len(layers) // 2}
        counts = [len(word.vectors) for word in words]
        try:
            if sizes["n_layer"] > MAX_LAYERS:
                raise UserError(f"it has more layers than {MAX_LAYERS}")
            with without_weights():  # no memory before it is known that the file has as much
                parts = [(state, PostBERT(self.dim, **sizes).state_dict())]
                if gate is not None:  # files of earlier versions have one reading
                    parts += [(gate, Gate(self.dim).state_dict()),
                              ({"alone": alone}, {"alone": torch.empty(sum(counts), self.dim)})]
            if not isinstance(everywhere, bool) or everywhere and gate is not None or (gate is None) != (
                    alone is None) or not all(
                    isinstance(part, dict) and set(part) == set(expected) for part, expected in parts):
                raise UserError("it has other parts than an adapter")
            for part, expected in parts:
                check_weights(part, expected)
        except UserError as error:
            raise UserError(f"{path}: its adapter was learned for another model, or is damaged: {error}") from error
        self._sizes, self.everywhere = sizes, everywhere
        device = self.embedder.token_embeddings.weight.device
        self.post_bert, self.gate = PostBERT(self.dim, **sizes), None
        self.post_bert.load_state_dict(state)
        self.post_bert.to(device)
        self._take_alone({})
        if gate is not None and alone is not None:
            self.gate = Gate(self.dim)
            self.gate.load_state_dict(gate)
            self.gate.to(device)
            self._take_alone({word.name: v for word, v in zip(words, alone.split(counts), strict=True)})


def _copied(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


class PostBERTDiffusion(LatentDiffusion):
    """Latent diffusion with a PostBERTManager, whose layers it trains at a rate of their own.

    A training step is two passes, one for each reading of the words. The gate learns to tell the captions from the same
    with a second thing. Where the layers change the features of all tokens there is one reading and no gate; a
    preservation term keeps prompts without the words where they were.
    """

    embedding_manager: PostBERTManager

    def __init__(
        self,
        preservation_weight: Weight = 1.0,   # of the preservation term
        post_learning_rate: Rate = 1e-4,     # of the layers
        gate_learning_rate: Rate = 5e-4,     # of the gate
        **kwargs: Any,                       # see LatentDiffusion
    ):
        super().__init__(**kwargs)
        self.preservation_weight = preservation_weight
        self.post_learning_rate, self.gate_learning_rate = post_learning_rate, gate_learning_rate
        self._things: list[str] = []

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The vectors of the learned words, then the parameters of the layers and their gate."""
        return [p for parameters, _ in self._rates() for p in parameters]

    def _rates(self) -> list[tuple[list[nn.Parameter], float]]:
        manager = self.embedding_manager
        behind, gate = list(manager.post_bert.parameters()), manager.gate
        return [(super().trainable_parameters(), self.learning_rate), (behind, self.post_learning_rate),
                *([(list(gate.parameters()), self.gate_learning_rate)] if gate is not None else [])]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW: the vectors at `learning_rate`, layers and gate at `post_learning_rate` and `gate_learning_rate`."""
        return torch.optim.AdamW([{"params": parameters, "lr": rate} for parameters, rate in self._rates()])

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

    def preservation_loss(self, c: list[str]) -> torch.Tensor:
        """Mean squared change of the features of prompts like c, but without learned words: []."""
        with torch.no_grad():
            before = self.cond_stage_model.features(self.ordinary_prompts(c).to(self.device))
        return (self.embedding_manager.post_bert(before) - before).square().mean()

    def gate_prompts(self, c: list[str]) -> tuple[list[str], list[str]]:
        """For the gate, prompts in which learned words stand alone, c itself and c on backgrounds by turns; and c with
        what the second reading would drown, any word of the vocabulary for a second thing."""
        tokenizer, names = self.cond_stage_model.tknz_fn, self.embedding_manager.placeholder_ids()
        if not self._things:
            pieces = (piece.removesuffix("</w>") for piece in tokenizer.tokenizer.get_vocab())
            self._things = sorted({piece for piece in pieces if piece.isalpha() and len(piece) > 2} - set(names))

        def one_of(choices: Sequence[str]) -> str:
            return choices[int(torch.randint(len(choices), ()))]

        def company(part: Part) -> str:
            return part.text if part.placeholder is None else one_of(COMPANY).format(part.text, one_of(self._things))
        alone = [BACKGROUND.format(prompt, one_of(COLOURS)) if i % 2 else prompt for i, prompt in enumerate(c)]
        return alone, ["".join(company(part) for part in split_prompt(prompt, names, tokenizer.ignores_case))
                       for prompt in c]

    def gate_loss(self, c: list[str]) -> torch.Tensor:
        """Cross-entropy of the gate at the learned words, open in the first of `gate_prompts` and shut in the others:
        []."""
        encoder, manager = self.cond_stage_model, self.embedding_manager
        assert manager.gate is not None
        with torch.no_grad(), warnings.catch_warnings(), manager.read_as("base"):
            warnings.simplefilter("ignore")  # of what is cut: nobody wrote these prompts
            alone, company = self.gate_prompts(c)
            layout = manager.layout(encoder.tokenize([*alone, *company], manager.placeholder_ids()))
            features = manager.read(layout)
        opens = (torch.arange(len(layout.tokens)) < len(alone)).float()
        opens = opens[:, None].expand_as(layout.vector)[layout.learned]
        logits = manager.gate(features)[layout.learned.to(self.device)]
        return nn.functional.binary_cross_entropy_with_logits(
            logits.float(), opens.to(self.device), reduction="sum") / max(1, len(opens))

    def forward(self, x: torch.Tensor, c: list[str], **mask: torch.Tensor
                ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """As LatentDiffusion has it, plus the terms of gate and preservation. In training the loss is that of the
        second reading; the first one's gradient comes with it."""
        stage, manager = "train" if self.training else "val", self.embedding_manager
        own = torch.zeros((), device=x.device)
        two = self.training and manager.gate is not None
        if two:
            vectors = list(manager.string_to_param_dict.parameters())
            with manager.read_as("base"):
                first = super().forward(x, c, **mask)[0]
            # This pass is over before the next one begins, so that there is memory for one: its gradient is kept in a
            # term of the loss that is zero.
            for vector, gradient in zip(vectors, torch.autograd.grad(first, vectors, allow_unused=True), strict=True):
                if gradient is not None:
                    own = own + ((vector - vector.detach()) * gradient).sum()
        with manager.read_as("alone" if two else manager.reading):
            loss, parts = super().forward(x, c, **mask)
        more = {}
        if manager.gate is not None:
            more["gate"] = self.gate_loss(list(c))
        if manager.everywhere and self.preservation_weight > 0:
            more["preservation"] = self.preservation_weight * self.preservation_loss(list(c))
        for name, term in more.items():
            parts[f"{stage}/loss_{name}"], loss = term, loss + term
        return loss + own, parts | {f"{stage}/loss": loss}
