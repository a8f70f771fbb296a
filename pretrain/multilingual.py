"""Train the emoji world's multilingual transformer: python -m pretrain.multilingual --run pretrain/runs/multilingual

A small XLM-RoBERTa with its own vocabulary, trained to fill in what is masked in Korean and English sentences that
stand side by side (translation language modelling, Lample & Conneau, arXiv 1901.07291, section 3.3).
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from pathlib import Path
from typing import TYPE_CHECKING

from improvement.v2.names import TYPES
from improvement.v2.sentences import PAIRS, read_pairs
from ldm.cli import run_command
from ldm.progress import bar
from ldm.util import ROOT
from load import check_files
from pretrain.checkpoint import Run, parser
from pretrain.world import cldr_names

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, XLMRobertaForMaskedLM

OUT = ROOT / "models/multilingual/emoji"
MASKED = 0.25
LENGTH = 128
# The letters of Korean syllables, as Unicode's NFD has them.
ONSETS, VOWELS, CODAS = ([chr(code) for code in codes] for codes in (
    range(0x1100, 0x1113), range(0x1161, 0x1176), range(0x11A8, 0x11C3)))


def new_tokenizer(sentences: list[str]) -> PreTrainedTokenizerFast:
    """Characters as tokens, with the special tokens of XLM-RoBERTa.

    Text is decomposed (Unicode NFD), so that accents are tokens of their own and an ending or a wrong letter in a
    Korean syllable leaves the rest of it as it was. Onset and vowel are joined again, by byte-pair merges: that gives a
    quarter more tokens than there are syllables, and no more than 400 of them. A character that the sentences do not
    have is read as its bytes, so none is unknown.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.Sequence([
        normalizers.Replace(Regex("[\\uFE0F\\u200D]"), ""), normalizers.NFKC(), normalizers.Lowercase(),
        normalizers.NFD(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    characters = {c for text in sentences for c in normalizer.normalize_str(text)}
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    merges = [(onset, vowel) for onset in ONSETS for vowel in VOWELS]
    words = [*special, *(f"<0x{byte:02X}>" for byte in range(256)),
             *sorted(characters | {*ONSETS, *VOWELS, *CODAS}), *(o + v for o, v in merges)]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges, byte_fallback=True))
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        unk_token="<unk>", pad_token="<pad>", model_max_length=LENGTH,
        mask_token=AddedToken("<mask>", lstrip=True, rstrip=True, special=True))


def new_model(tokenizer: PreTrainedTokenizerFast) -> XLMRobertaForMaskedLM:
    """A transformer of 0.8 M parameters that fills in what is masked. Its token types say where names stand."""
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    return XLMRobertaForMaskedLM(XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=LENGTH + 2, type_vocab_size=TYPES, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id))


def mask_tokens(ids: torch.Tensor, tokenizer: PreTrainedTokenizerBase, share: float
                ) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids with a share of the ordinary tokens masked, labels: what was there, -100 elsewhere)."""
    import torch

    ordinary = ~torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    chosen = ordinary & (torch.rand(ids.shape) < share)
    return ids.masked_fill(chosen, tokenizer.mask_token_id), ids.masked_fill(~chosen, -100)


def round_weights(model: torch.nn.Module, bits: int) -> None:
    """Keep so many bits of every weight's mantissa: the file's size stays, but it compresses to about half."""
    import torch

    for weight in model.parameters():
        mantissa, exponent = torch.frexp(weight.data)
        weight.data = torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent)


def main(arguments: list[str] | None = None) -> None:
    """Train the multilingual transformer, or go on with it, and write it to --out."""
    flags = parser("Train the emoji world's multilingual transformer.",
                   "python -m pretrain.multilingual --run pretrain/runs/multilingual",
                   minutes=15, batch_size=64, learning_rate=2e-3)
    flags.add_argument("--pairs", type=Path, default=PAIRS, metavar="CSV", help="sentences, with columns ko and en")
    flags.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help="folder for the finished model")
    opt = flags.parse_args(arguments)
    check_files(opt.pairs)
    pairs = read_pairs(opt.pairs)
    import torch

    from ldm.devices import first_device, mixed_precision
    from ldm.optim import muon_and_adam

    torch.manual_seed(opt.seed)
    device = first_device()
    characters = "".join(map(chr, range(0x3041, 0x30FF)))  # kana, and what Japanese and Spanish names are written with
    tokenizer = new_tokenizer([characters, *(text for pair in pairs for text in pair),
                               *cldr_names("ja").values(), *cldr_names("es").values()])
    model = new_model(tokenizer).train()
    model.to(device)  # type: ignore[arg-type]  # transformers wraps nn.Module.to and loses its types
    ids = tokenizer([ko for ko, _ in pairs], [en for _, en in pairs], padding="max_length", truncation=True,
                    max_length=LENGTH, return_tensors="pt")["input_ids"]
    run = Run(opt.run, opt.minutes, {"model": model}, muon_and_adam(model, opt.learning_rate))
    steps, mean_loss = bar(desc="multilingual", initial=run.step), None
    while run.tick():
        batch = ids[torch.randint(len(ids), (opt.batch_size,))]
        batch = batch[:, : int((batch != tokenizer.pad_token_id).sum(dim=1).max())]
        masked, labels = mask_tokens(batch, tokenizer, MASKED)
        with mixed_precision(device):
            loss = model(input_ids=masked.to(device), attention_mask=(batch != tokenizer.pad_token_id).to(device),
                         labels=labels.to(device)).loss
        run.update(loss)
        value = float(loss.detach())
        mean_loss = value if mean_loss is None else 0.99 * mean_loss + 0.01 * value
        steps.update()
        if run.step % 500 == 0:
            steps.write(f"step {run.step}  minute {run.elapsed / 60:.1f}  loss {mean_loss:.3f}")
            run.save()
    run.save()
    round_weights(model.roberta, 5)
    model.roberta.half().save_pretrained(opt.out)
    tokenizer.save_pretrained(opt.out)


if __name__ == "__main__":
    run_command(main)
