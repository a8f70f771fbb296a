"""Words of several files in one: python merge_embeddings.py --manager_ckpts FILE FILE... --output_path FILE"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ldm.cli import CommandParser, print_json, renaming, run_command
from ldm.errors import UserError
from ldm.files import check_new
from ldm.filetypes import shown
from ldm.placeholders import check_placeholder, name_of_file, same_name
from ldm.progress import counted, say
from load import add_model_flags, check_files, text_encoder

if TYPE_CHECKING:
    from ldm.embedding_files import Words

Names = dict[tuple[int, str], str]  # (number of a file, a word in it) -> what to call it


def get_parser() -> CommandParser:
    """The flags, the first two of which are the published code's."""
    parser = CommandParser(
        description="Put the words of several files, of any format, into one file.",
        epilog="Words of one name need another name, but for the first: --rename, or an answer on a terminal.",
        example='python merge_embeddings.py --manager_ckpts cat.pt dog.bin --output_path both.pt --rename '
                '"*=<dog>"')
    add = parser.add_argument
    add("--manager_ckpts", nargs="+", required=True, metavar="FILE", help="files of learned words")
    add("--output_path", required=True, metavar="FILE", help="the file to write: .pt in the published layout, "
        ".safetensors or .bin as diffusers has it")
    add("--rename", nargs="+", default=[], metavar="[FILE:]OLD=NEW", help="another name for a word of a file, which "
        "its last names say too, such as cat.pt; without FILE for the words called so, in the files' order; where "
        "there are fewer names than words, the first words keep theirs")
    add("--overwrite", action="store_true", help="replace a file that is there")
    add_model_flags(parser, "--ckpt_path", "--config")
    parser.add_json()
    add("-sd", "--stable_diffusion", action="store_true", help="accepted as the published command has it; the files "
        "say what they are for")
    return parser


def words_of(file: str) -> Words:
    """The words of a file; one that has no name is called as its file is. Raises UserError for a word of v1."""
    from ldm.embedding_files import read_words

    words = read_words(file)
    if words.adapter:
        raise UserError(f"{file}: a word of v1 cannot be merged: what it means is in its adapter too, and a model has "
                        "room for one adapter; use it with txt2img_v1.py")
    return words if words.named else words.renamed({name: name_of_file(file) for name in words.vectors})


def split_file(files: list[str], text: str) -> tuple[int | None, str]:
    """(number of the file, or None, the rest) of [FILE:]OLD=NEW; FILE as the flag has it, or the end of its path where
    no other file's ends so. Raises UserError where several do."""
    for i, file in enumerate(files):
        if text.startswith(f"{file}:"):
            return i, text.removeprefix(f"{file}:")
    ends = {i: end for i, file in enumerate(files) for start in range(1, len(Path(file).parts))
            if text.startswith((end := str(Path(*Path(file).parts[start:]))) + ":")}
    if len(ends) > 1:
        raise UserError(f"--rename {text}: {' and '.join(files[i] for i in ends)} are called so; give the path as "
                        "--manager_ckpts has it")
    return next(((i, text.removeprefix(f"{end}:")) for i, end in ends.items()), (None, text))


def new_names(files: list[str], words: list[Words], renames: list[str]) -> Names:
    """What the flag --rename calls the words of files. Raises UserError for a word that is not there."""
    names: Names = {}
    for_all: list[tuple[str, str]] = []
    for text in renames:
        number, rest = split_file(files, text)
        old, new = renaming(rest)
        if number is None:
            for_all.append((old, new))
        elif old not in words[number].vectors:
            raise UserError(f"--rename {text}: {files[number]} has no word {old!r}, it has "
                            f"{' '.join(map(shown, words[number].vectors))}")
        else:
            names[number, old] = new
    for old, count in Counter(old for old, _ in for_all).items():
        holders = [i for i, w in enumerate(words) if old in w.vectors and (i, old) not in names]
        if count > len(holders):
            raise UserError(f"--rename {old}=...: {counted(count, 'new name')} for {counted(len(holders), 'word')} "
                            f"called {old!r}")
        news = [new for o, new in for_all if o == old]
        names |= {(i, old): new for i, new in zip(holders[-count:], news, strict=True)}
    return names


def ask_for_name(name: str, file: str, other: str) -> str:
    """Another name for a word, as typed on a terminal. Raises UserError where there is none."""
    taken = f"{file}: {other} has a word {shown(repr(name))} too"
    if not sys.stdin.isatty():
        raise UserError(f"{taken}; give another name: --rename \"{file}:{name}=NEW\"")
    while True:
        print(f"{taken}; another name for it: ", end="", file=sys.stderr, flush=True)
        try:
            answer = input().strip()
            check_placeholder(answer)
            return answer
        except EOFError as error:
            print(file=sys.stderr)
            raise UserError(f"{taken}, and got no other name") from error
        except UserError as error:
            print(error, file=sys.stderr)


def merge(files: list[str], words: list[Words], names: Names) -> Words:
    """The words of several files under the names asked for. Raises UserError for words that cannot be in one file."""
    import torch

    from ldm.embedding_files import Words, describe_width

    merged, sources = Words({}), dict[str, str]()
    width = min(words[0].widths)
    for i, (file, one) in enumerate(zip(files, words, strict=True)):
        chosen = {name: names.get((i, name), name) for name in one.vectors}
        for name, vectors in one.vectors.items():
            if vectors.shape[1] != width:
                raise UserError(f"{file}: {shown(repr(name))} is {describe_width(vectors.shape[1])}, and the words of "
                                f"{files[0]} are {describe_width(width)}; the words of one file are for one model")
            beside = {same_name(new): file for old, new in chosen.items() if old != name}
            while other := (beside | sources).get(key := same_name(chosen[name])):
                if key not in beside and torch.equal(merged.vectors.get(chosen[name], vectors[:0]), vectors):
                    break  # the same word once more
                chosen[name] = ask_for_name(chosen[name], file, other)
        renamed = one.renamed({old: new for old, new in chosen.items() if old != new})
        merged.vectors |= renamed.vectors
        merged.provenance |= renamed.provenance
        merged.token_ids = renamed.token_ids | merged.token_ids
        sources = dict.fromkeys(map(same_name, renamed.vectors), file) | sources
    return merged


def main(arguments: list[str] | None = None) -> None:
    """Merge files of words into one."""
    opt = get_parser().parse_args(arguments)
    check_files(opt.manager_ckpts, opt.config, opt.ckpt_path)
    check_new(opt.output_path, "--output_path", opt.overwrite)

    from ldm.embedding_files import PUBLISHED, format_for, write_words

    format = format_for(opt.output_path)
    words = [words_of(file) for file in opt.manager_ckpts]
    merged = merge(opt.manager_ckpts, words, new_names(opt.manager_ckpts, words, opt.rename))
    if format == PUBLISHED and set(merged.vectors) - set(merged.token_ids):
        merged = merged.with_tokens_of(text_encoder(opt, weights=False))
    write_words(opt.output_path, merged)
    counts = {name: counted(len(v), "vector") for name, v in merged.vectors.items()}
    say(f"{opt.output_path}: " + ", ".join(f"{shown(name)} ({n})" for name, n in counts.items()))
    if opt.json:
        print_json({"embedding": opt.output_path, "words": list(merged.vectors)})


if __name__ == "__main__":
    run_command(main)
