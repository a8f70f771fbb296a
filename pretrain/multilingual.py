"""Train the emoji world's multilingual transformer: python -m pretrain.multilingual --run pretrain/runs/multilingual

A small XLM-RoBERTa with its own vocabulary, trained to fill in what is masked in Korean and English sentences that
stand side by side (translation language modelling, Lample & Conneau, arXiv 1901.07291, section 3.3).
"""

from __future__ import annotations

import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from improvement.v2.sentences import PAIRS, read_pairs
from ldm.cli import run_command
from ldm.util import ROOT
from load import check_files
from pretrain.checkpoint import Run, parser

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, XLMRobertaForMaskedLM

OUT = ROOT / "models/multilingual/emoji"
MASKED = 0.25
LENGTH = 96


def new_tokenizer(sentences: list[str], size: int = 2500) -> PreTrainedTokenizerFast:
    """A unigram vocabulary over the sentences, with the special tokens of XLM-RoBERTa."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(sentences, trainers.UnigramTrainer(
        vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        unk_token="<unk>", pad_token="<pad>", mask_token="<mask>", model_max_length=LENGTH)


def new_model(tokenizer: PreTrainedTokenizerFast) -> XLMRobertaForMaskedLM:
    """A transformer of 0.7 M parameters that fills in what is masked."""
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    return XLMRobertaForMaskedLM(XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=LENGTH + 2, type_vocab_size=1, pad_token_id=tokenizer.pad_token_id,
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
    flags = parser("Train the emoji world's multilingual transformer.", minutes=15, batch_size=64, learning_rate=2e-3)
    flags.add_argument("--pairs", type=Path, default=PAIRS, help="CSV with columns ko and en")
    flags.add_argument("--out", type=Path, default=OUT, help="folder for the finished model")
    opt = flags.parse_args(arguments)
    check_files(opt.pairs)
    pairs = read_pairs(opt.pairs)
    import torch

    from ldm.devices import first_device, mixed_precision
    from ldm.optim import muon_and_adam

    torch.manual_seed(opt.seed)
    device = first_device()
    tokenizer = new_tokenizer([text for pair in pairs for text in pair])
    model = new_model(tokenizer).train()
    model.to(device)  # type: ignore[arg-type]  # transformers wraps nn.Module.to and loses its types
    ids = tokenizer([ko for ko, _ in pairs], [en for _, en in pairs], padding="max_length", truncation=True,
                    max_length=LENGTH, return_tensors="pt")["input_ids"]
    run = Run(opt.run, opt.minutes, {"model": model}, muon_and_adam(model, opt.learning_rate))
    bar, mean_loss = tqdm(desc="multilingual", unit="step", initial=run.step, mininterval=10), None
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
        bar.update()
        if run.step % 500 == 0:
            bar.write(f"step {run.step}  minute {run.elapsed / 60:.1f}  loss {mean_loss:.3f}")
            run.save()
    run.save()
    round_weights(model.roberta, 5)
    model.roberta.half().save_pretrained(opt.out)
    tokenizer.save_pretrained(opt.out)


if __name__ == "__main__":
    run_command(main)
