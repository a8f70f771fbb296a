"""An embedding file and what it does to a prompt: python -m check.check_placeholder EMBEDDING [--prompt TEXT]"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldm.cli import CommandParser, print_table, run_command
from load import add_model_flags, check_files, load_model

if TYPE_CHECKING:
    import torch


def nearest_words(vector: torch.Tensor, table: torch.Tensor, tokenizer, count: int = 5) -> str:
    """The vocabulary's words most similar to a vector [D] by cosine."""
    import torch.nn.functional as F

    cosine, ids = F.cosine_similarity(vector[None], table).topk(count)
    words = tokenizer.tokenizer.convert_ids_to_tokens(ids.tolist())
    return ", ".join(f"{word} {c:.2f}" for word, c in zip(words, cosine.tolist(), strict=True))


def injected_positions(manager, tokens: list[int]) -> list[tuple[str, int, int]]:
    """(placeholder, vector number, position) for each vector that enters a tokenized prompt."""
    placeholders = {int(token): placeholder for placeholder, token in manager.string_to_token_dict.items()}
    found, position = [], 0
    for token in tokens:
        placeholder = placeholders.get(token)
        length = 1 if placeholder is None else len(manager.active_vectors(placeholder))
        if placeholder is not None:
            found += [(placeholder, n, position + n) for n in range(length) if position + n < len(tokens)]
        position += length
    return found


def print_slots(encoder, manager, prompt: str, table: torch.Tensor) -> None:
    """What v2's aligner says in each slot of the English prompt."""
    embedder, aligner = encoder.front
    reading = embedder([prompt], list(manager.string_to_token_dict))
    choices = aligner.choose(reading, table, encoder.tknz_fn.tokenizer.sep_token_id)
    points = aligner(reading, table, choices[:, :-1])[0][0]
    rows = []
    for slot, choice in enumerate(choices[0].tolist()):
        sign = reading.signs[0].get(choice - len(table))
        token = sign or encoder.tknz_fn.tokenizer.convert_ids_to_tokens(choice)
        says = f"points at {sign}" if sign else nearest_words(points[slot], table, encoder.tknz_fn, 3)
        rows.append((slot, token, says))
    print_table(("slot", "token", "nearest words by cosine"), rows)


def main(arguments: list[str] | None = None) -> None:
    """Print what an embedding file holds and does."""
    parser = CommandParser(description="Print the placeholders of an embedding file, their vectors and the "
                                     "nearest vocabulary words; with a prompt, where the vectors go in and how far "
                                     "the text features move.")
    parser.add_argument("embedding", metavar="EMBEDDING")
    parser.add_argument("--prompt", help="a prompt to look at")
    add_model_flags(parser, without=["--embedding_path"])
    opt = parser.parse_args(arguments)
    check_files(opt.embedding, opt.config, opt.ckpt_path)
    import torch

    with torch.no_grad():
        look(opt, load_model(opt))


def look(opt, model) -> None:
    """Print the placeholders of opt.embedding and, with opt.prompt, what they do to it."""
    encoder, manager = model.cond_stage_model, model.embedding_manager
    table = encoder.transformer.token_emb.weight
    manager.load(opt.embedding)

    print(f"the vocabulary's {len(table):,} vectors are {table.norm(dim=1).mean():.3f} long on average "
          f"(deviation {table.norm(dim=1).std():.3f})\n")
    print_table(("placeholder", "token id", "vector", "length", "nearest words by cosine"), [
        (placeholder, int(manager.string_to_token_dict[placeholder]), n, float(vector.norm()),
         nearest_words(vector, table, encoder.tknz_fn))
        for placeholder, vectors in manager.string_to_param_dict.items() for n, vector in enumerate(vectors)])

    if opt.prompt is not None:
        manager.warn_if_absent([opt.prompt])
        tokens = encoder.tokenize(opt.prompt, manager.string_to_token_dict)[0]
        entries = {position: f"{placeholder}, vector {n}" for placeholder, n, position in
                   injected_positions(manager, tokens.tolist())}
        before, after = encoder.encode([opt.prompt])[0], model.get_learned_conditioning([opt.prompt])[0]
        moved = (after - before).norm(dim=1) / before.norm(dim=1)
        pieces = encoder.tknz_fn.tokenizer.convert_ids_to_tokens(tokens.tolist())
        length = max([p for p, piece in enumerate(pieces) if piece != "[PAD]"] + list(entries)) + 1
        print(f"\n{opt.prompt!r}: {len(entries)} vectors go in; the features move by "
              f"{float((after - before).norm() / before.norm()):.3f} of their length")
        print_table(("position", "token", "learned vector there", "features move by"), [
            (p, pieces[p], entries.get(p, ""), float(moved[p])) for p in range(length)])
        if opt.variant == "v2":
            print("\nwhat the aligner makes of the prompt")
            print_slots(encoder, manager, opt.prompt, table)


if __name__ == "__main__":
    run_command(main)
