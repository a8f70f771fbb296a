"""An embedding file and what it does to a prompt: python -m check.check_placeholder EMBEDDING [--prompt TEXT]"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from typing import TYPE_CHECKING

from ldm.cli import CommandParser, print_table, run_command
from ldm.progress import counted
from ldm.prompts import parse_prompt
from ldm.util import quoted
from load import add_model_flags, check_files, load_model, load_words

if TYPE_CHECKING:
    import torch


def nearest_words(vector: torch.Tensor, token_embeddings: torch.Tensor, tokenizer, count: int = 5) -> str:
    """The vocabulary's words whose token embeddings [V, D] are most similar to a vector [D] by cosine."""
    from ldm.nearest import nearest

    return ", ".join(f"{word} {c:.2f}" for word, c in nearest(vector, token_embeddings, tokenizer, count))


def injected_positions(manager, tokens: torch.Tensor) -> dict[int, str]:
    """{position: word and number of the vector} of the vectors that enter a prompt of token ids [1, N]."""
    layout = manager.layout(tokens)
    names = [f"{word}, vector {n}" for word in layout.words for n in range(len(manager.active_vectors(word)))]
    return {position: names[vector] for position, vector in enumerate(layout.vector[0].tolist()) if vector >= 0}


def print_translation(encoder, manager, prompt: str, token_embeddings: torch.Tensor) -> None:
    """v2's translation of a prompt: the token at each target position, and whence it comes."""
    from improvement.v2.pre_BERT import BEAMS

    if not encoder.tknz_fn.ids(prompt):
        print("an empty prompt is not translated; it stays empty")
        return
    _, aligner = encoder.translator
    tokenizer = encoder.tknz_fn.tokenizer
    source = encoder.read([prompt], manager.placeholder_ids())
    tokens = aligner.decode(source, token_embeddings, encoder.tknz_fn.end_id, BEAMS)
    outputs = aligner(source, token_embeddings, tokens[:, :-1])[0][0]
    rows = []
    for position, token in enumerate(tokens[0].tolist()):
        source_position = token - len(token_embeddings)
        if source_position < 0:
            rows.append((position, tokenizer.convert_ids_to_tokens(token),
                         nearest_words(outputs[position], token_embeddings, encoder.tknz_fn, 3)))
        else:
            copies = source.placeholders[0] | (source.names[0] if source.names else {})
            rows.append((position, copies[source_position],
                         f"copied from source position {source_position}"))
    print_table(("position", "token", "nearest words by cosine to the decoder's output"), rows)


def main(arguments: list[str] | None = None) -> None:
    """Print what an embedding file holds and does."""
    parser = CommandParser(
        description="Print the placeholders of an embedding file, their vectors and the "
        "nearest vocabulary words; with a prompt, where the vectors go in and how far "
        "the text features move.",
        example='python -m check.check_placeholder logs/RUN/checkpoints/embeddings.pt --prompt "a photo of a *"')
    parser.add_argument("embedding", metavar="FILE", help="learned words")
    parser.add_argument("--prompt", metavar="TEXT", help="a prompt to look at; weights in it are left out")
    add_model_flags(parser, without=["--embedding_path"])
    opt = parser.parse_args(arguments)
    check_files(opt.embedding, opt.config, opt.ckpt_path)
    import torch

    with torch.no_grad():
        look(opt, load_model(opt))


def features_without(encoder, manager, starts: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Features [B, N, D] of the prompts of token ids [B, N] as they were before anything was learned: as many vectors
    at each placeholder, from {placeholder: [n, dim]}, else its own token's; an added token's, the first start's."""
    from ldm.modules.embedding_manager import WordDict, initial_vectors

    learned, table = manager.string_to_param_dict, encoder.token_embeddings.weight
    start = next(iter(starts.values()), table[encoder.tknz_fn.unknown_id][None])
    own = {p: table[int(i)][None] if int(i) < len(table) else start for p, i in manager.string_to_token_dict.items()}
    try:
        manager.string_to_param_dict = WordDict({
            p: initial_vectors(starts.get(p, own[p]), len(vectors)) for p, vectors in learned.items()})
        return encoder.features(tokens, manager)
    finally:
        manager.string_to_param_dict = learned


def look(opt, model) -> None:
    """Print the placeholders of opt.embedding and, with opt.prompt, what they do to it."""
    encoder, manager = model.cond_stage_model, model.embedding_manager
    token_embeddings = encoder.token_embeddings.weight
    starts = dict(manager.initial_embeddings)
    words = dict(zip(manager.placeholder_strings, manager.initializer_words, strict=False))
    load_words(model, opt.embedding)
    starts |= {p: known.start.to(token_embeddings) for p, known in manager.provenance.items()
               if known.start is not None}
    words |= {p: known.init_word for p, known in manager.provenance.items() if known.init_word}

    lengths = token_embeddings.norm(dim=1)
    print(f"the vocabulary's {len(lengths):,} vectors are {lengths.mean():.3f} long on average "
          f"(deviation {lengths.std():.3f})\n")
    print_table(("placeholder", "token id", "vector", "length", "nearest words by cosine"), [
        (placeholder, int(manager.string_to_token_dict[placeholder]), n, float(vector.norm()),
         nearest_words(vector, token_embeddings, encoder.tknz_fn))
        for placeholder, vectors in manager.string_to_param_dict.items() for n, vector in enumerate(vectors)])

    if opt.prompt is not None:
        opt.prompt = parse_prompt(opt.prompt, manager.placeholder_ids()).text
        manager.warn_about([opt.prompt])
        tokens = encoder.tokenize(opt.prompt, manager.placeholder_ids())
        before = features_without(encoder, manager, starts, tokens.to(token_embeddings.device))[0]
        after = model.get_learned_conditioning([opt.prompt])[0]
        entries = injected_positions(manager, tokens)
        moved = (after - before).norm(dim=1) / before.norm(dim=1)
        pieces = encoder.tknz_fn.pieces(tokens[0].tolist(), manager.placeholder_ids())
        length = max([p for p, i in enumerate(tokens[0].tolist()) if i != encoder.tknz_fn.pad_id] + list(entries)) + 1
        default = next(iter(words.values()), encoder.tknz_fn.pieces([encoder.tknz_fn.unknown_id])[0])
        instead = ", ".join(f"{words.get(p, p if int(i) < len(lengths) else default)!r} in place of {p}"
                            for p, i in manager.string_to_token_dict.items())
        print(f"\n{quoted(opt.prompt)}: {counted(len(entries), 'vector')} go{'es' * (len(entries) == 1)} in; "
              f"against the same prompt with {instead} the features move by "
              f"{float((after - before).norm() / before.norm()):.3f} of their length")
        print_table(("position", "token", "learned vector there", "features move by"), [
            (p, pieces[p], entries.get(p, ""), float(moved[p])) for p in range(length)])
        if opt.variant == "v2":
            print("\nthe prompt as v2 translates it")
            print_translation(encoder, manager, opt.prompt, token_embeddings)


if __name__ == "__main__":
    run_command(main)
