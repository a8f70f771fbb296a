"""What is in files of learned words, and in another format: python -m check.check_embedding FILE... [--convert OUT]"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
from dataclasses import replace
from typing import TYPE_CHECKING

from ldm.cli import CommandParser, print_json, print_table, renaming, run_command
from ldm.errors import UserError
from ldm.files import check_new
from ldm.filetypes import shown
from ldm.progress import counted, say
from load import add_model_flags, check_files, text_encoder

if TYPE_CHECKING:
    import torch

    from ldm.embedding_files import Words
    from ldm.modules.encoders.text_encoder import TextEncoder
    from ldm.provenance import Provenance

FORMATS = ("published", "diffusers", "a1111", "kohya")


def main(arguments: list[str] | None = None) -> None:
    """Print what files of words hold, and write one of them in another format."""
    parser = CommandParser(
        description="Print the words of files of any format: their vectors, the nearest tokens of the model, and what "
        "is known of their making; with --convert, write them in another format.",
        example='python -m check.check_embedding logs/RUN/checkpoints/embeddings.pt --convert cat-toy.safetensors '
                '--rename "*=<cat-toy>"')
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of learned words")
    parser.add_argument("--convert", metavar="OUT", help="file to write the words of FILE into; its suffix says how: "
                        ".pt as published, .bin and .safetensors as diffusers has it")
    parser.add_argument("--format", choices=FORMATS, help="another format for OUT; default: the suffix's")
    parser.add_argument("--word", nargs="+", metavar="NAME", help="words that go into OUT; default: all")
    parser.add_argument("--rename", nargs="+", default=[], metavar="OLD=NEW", help="what words are called in OUT")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    add_model_flags(parser, "--ckpt_path", "--config")
    parser.add_json()
    opt = parser.parse_args(arguments)
    check_files(opt.files, opt.config, opt.ckpt_path)
    if given := [f"--{name}" for name in ("format", "word", "rename", "overwrite", "json")
                 if getattr(opt, name) and not opt.convert]:
        raise UserError(f"{given[0]} goes with --convert; name the file to write")
    if opt.convert:
        if len(opt.files) > 1:
            raise UserError("--convert takes one FILE; merge_embeddings.py puts the words of several into one")
        check_new(opt.convert, "--convert", opt.overwrite)
    from ldm.embedding_files import format_for, read_words

    if opt.convert:
        format_for(opt.convert, opt.format)
    files = {file: read_words(file) for file in opt.files}
    encoder = text_encoder(opt)
    for number, (file, words) in enumerate(() if opt.json else files.items()):
        if number:
            print()
        print_words(file, words, encoder)
    if opt.convert:
        convert(opt, files[opt.files[0]], encoder)


def print_words(file: str, words: Words, encoder: TextEncoder) -> None:
    """Print the words of a file, beside a text encoder."""
    from check.check_placeholder import nearest_words
    from ldm.embedding_files import describe_width
    from ldm.provenance import weights_identity

    table = encoder.token_embeddings.weight.detach()
    fits = words.widths == {table.shape[1]}
    print(f"{file}: {counted(len(words.vectors), 'word')} {' and '.join(map(describe_width, sorted(words.widths)))}")
    print(f"format: {words.format}" + ", which has no name for its word" * (not words.named)
          + ", with an adapter of v1" * bool(words.adapter))
    print_table(("word", "vector", "norm", *["nearest tokens by cosine"] * fits), [
        (shown(name), n, float(vector.norm()), *([nearest_words(vector, table, encoder.tknz_fn)] if fits else []))
        for name, vectors in words.vectors.items() for n, vector in enumerate(vectors)])
    lengths = table.norm(dim=1)
    if fits:
        print(f"the model's {len(lengths):,} token embeddings: norm {lengths.mean():.3f} on average (deviation "
              f"{lengths.std():.3f}, longest {lengths.max():.3f})")
    else:
        print(f"no nearest tokens: the model's token embeddings are {table.shape[1]} wide; --ckpt_path names another")
    here = weights_identity(encoder)
    for name, vectors in words.vectors.items():
        for line in describe_provenance(words.provenance.get(name), vectors, here):
            print(f"{shown(name)}: {line}")


def describe_provenance(known: Provenance | None, vectors: torch.Tensor, here: str) -> list[str]:
    """What is known of the making of a word of such vectors [n, dim], beside a text encoder of such an identity."""
    import torch

    if known is None:
        return ["nothing is known of its making"]
    lines = []
    if known.init_word is not None or known.start is not None:
        start = f"from {known.init_word!r}" if known.init_word else "from vectors without a word"
        if known.start is not None:
            moved = float((vectors - known.start).norm() / known.start.norm().clamp(min=1e-12))
            cosine = float(torch.cosine_similarity(vectors, known.start).mean())
            start += f", moved by {moved:.2f} of its start's length, cosine {cosine:.2f}"
        lines.append(f"learned {shown(start, 200)}")
    how = [counted(known.step, "step") if known.step is not None else "", f"rate {known.rate:g}" if known.rate else "",
           f"{counted(len(known.pictures), 'picture')} ({' '.join(shown(p[:8]) for p in known.pictures[:5])}"
           + " ..." * (len(known.pictures) > 5) + ")" if known.pictures else ""]
    if any(how):
        lines.append(", ".join(filter(None, how)))
    if known.text_encoder:
        same = "this model's" if known.text_encoder == here else f"not this model's, {here}"
        lines.append(f"through the text encoder {shown(known.text_encoder)}"
                     + f" of {shown(known.model)}" * bool(known.model) + f", {same}")
    elif known.model:
        lines.append(f"with the model {shown(known.model)}")
    if known.version:
        lines.append(f"by version {shown(known.version)} of this project")
    return lines


def convert(opt, words: Words, encoder: TextEncoder) -> None:
    """Write the words asked for into opt.convert. Raises UserError for words that are not there."""
    from ldm.embedding_files import DIFFUSERS, format_for, write_words

    names = dict(map(renaming, opt.rename))
    for name in [*(opt.word or []), *names]:
        if name not in words.vectors:
            raise UserError(f"{opt.files[0]} has no word {name!r}, it has {' '.join(map(shown, words.vectors))}")
    if opt.word:
        words = replace(words, vectors={n: v for n, v in words.vectors.items() if n in opt.word},
                        provenance={n: p for n, p in words.provenance.items() if n in opt.word})
    try:
        words = words.renamed({old: new for old, new in names.items() if old in words.vectors})
    except UserError as error:
        raise UserError(f"--rename: {error}") from error
    write_words(opt.convert, words.with_tokens_of(encoder), opt.format)
    format = format_for(opt.convert, opt.format)
    say(f"{opt.convert}: {' '.join(map(shown, words.vectors))}, format {format}")
    if format == DIFFUSERS and len(words.vectors) > 1:
        say(f"warning: {opt.convert}: other programs read files of this format with one word; --word chooses one")
    if opt.json:
        print_json({"embedding": opt.convert, "words": list(words.vectors), "format": format})


if __name__ == "__main__":
    run_command(main)
