"""Measure a training step of v2's aligner at the published model's size: python -m benchmarks.aligner"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import resource
import time

from ldm.cli import CommandParser, count, run_command

VOCABULARY, TOKEN_DIM, LENGTH = 30_522, 1280, 77  # of the published model's text encoder


def main(arguments: list[str] | None = None) -> None:
    """Print sentences a second, floating point operations and memory."""
    parser = CommandParser(description="Measure a training step of v2's aligner over a frozen encoder of "
                           "xlm-roberta-base's size, with random weights, on one CPU core.",
                           example="python -m benchmarks.aligner --batch_size 8")
    parser.add_argument("--batch_size", type=count, default=16, metavar="N", help="pairs a step")
    parser.add_argument("--source", type=count, default=32, help="tokens of a source sentence")
    parser.add_argument("--target", type=count, default=20, help="tokens of a target sentence")
    parser.add_argument("--width", type=count, default=512, help="of the aligner, a multiple of 32")
    parser.add_argument("--layers", type=count, default=4, help="layers of the aligner")
    parser.add_argument("--encoder_layers", type=count, default=12, help="layers of the encoder")
    opt = parser.parse_args(arguments)
    import torch
    import torch.nn.functional as F
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import XLMRobertaConfig, XLMRobertaModel

    from improvement.v2.aligner import Aligner, SourceEncoding

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = XLMRobertaModel(XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1,
                                               num_hidden_layers=opt.encoder_layers)).eval().requires_grad_(False)
    tokens = torch.randn(VOCABULARY, TOKEN_DIM) * 0.02
    aligner = Aligner(2 * encoder.config.hidden_size, TOKEN_DIM, LENGTH, opt.width, opt.layers, opt.width // 32)
    sources = torch.randint(5, 250_000, (opt.batch_size, opt.source))
    targets = torch.randint(5, VOCABULARY, (opt.batch_size, opt.target))

    def step() -> None:
        with torch.no_grad():
            states = encoder(input_ids=sources, output_hidden_states=True).hidden_states
        source = SourceEncoding(torch.cat([states[-1], states[0]], dim=-1), torch.ones_like(sources).bool(),
                                [{} for _ in sources])
        _, logits = aligner(source, tokens, targets[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()

    with FlopCounterMode(display=False) as counter:
        step()
    start = time.process_time()
    step()
    seconds = time.process_time() - start
    torch.set_num_threads(threads)
    millions = [sum(p.numel() for p in model.parameters()) / 1e6 for model in (encoder, aligner)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"encoder {millions[0]:.0f} M parameters, aligner {millions[1]:.0f} M; {memory:.1f} GB")
    print(f"{counter.get_total_flops() / opt.batch_size / 1e9:.1f} GFLOP a sentence, "
          f"{opt.batch_size / seconds:.1f} sentences a second on one core")


if __name__ == "__main__":
    run_command(main)
