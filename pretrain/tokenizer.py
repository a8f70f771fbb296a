"""Build the emoji model's word-piece vocabulary: python -m pretrain.tokenizer --out models/ldm/emoji/tokenizer"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import json
import re
import string
from pathlib import Path

from ldm.cli import CommandParser, run_command
from ldm.data.emoji import COLOURS, COUNTS, SIZES, plural
from ldm.files import write_bytes
from ldm.modules.encoders.known_words import FILE, parts
from load import check_files
from pretrain.held_out import held_out_lists
from pretrain.languages.en import many
from pretrain.lexicon import Lexicon
from pretrain.world import CAPTIONS, CAPTIONS_PLAIN, all_concepts, cldr_names, seen

BEHIND = re.compile(r" (?:with|of|on|in|for|from|at|behind|and) ")  # ends the noun in a name and what stands before it


def wide_words(sealed: bool) -> list[str]:
    """Every text that captions of the wide world are made of."""
    from pretrain.wide import WideWorld

    return [re.sub(r"\{.?\}", "", text) for text in WideWorld(Path("none"), sealed=sealed).words()]


def corpus(wide: bool) -> list[str]:
    """Every text the vocabulary must read in whole words: captions, training templates, names of all emoji; of the wide
    world too."""
    from ldm.data import personalized, personalized_style

    names = [name for c in all_concepts() for name in (c.name, plural(c.name), c.kind, plural(c.kind))]
    templates = [t for module in (personalized, personalized_style) for t in (
        *module.TEMPLATES, *module.DUAL_TEMPLATES)]
    return [*CAPTIONS, *CAPTIONS_PLAIN, *COLOURS, *SIZES, *(count for count, _ in COUNTS.values()), "an thing object",
            *names, *cldr_names("en").values(), *templates, *(wide_words(sealed=False) if wide else ())]


def known_words(wide: bool) -> dict[str, str]:
    """The words of captions -> "", and English words for the things in them -> the word of the caption."""
    lists = held_out_lists()
    concepts = sorted((c for c in set(seen()) if not (wide and lists.in_text(c.name))), key=lambda c: c.name)
    names = [name for c in concepts for name in (c.name, plural(c.name), c.kind, plural(c.kind))]
    captions = [*CAPTIONS, *CAPTIONS_PLAIN, *COLOURS, *SIZES, *(count for count, _ in COUNTS.values()), "an", *names,
                *(wide_words(sealed=True) if wide else ())]
    known = dict.fromkeys((word for text in captions for word in parts(re.sub(r"\{.\}", "", text))), "")
    lexicon = Lexicon("en")
    for concept in concepts:
        for word, _, _ in lexicon.forms[concept.name]:
            if wide and lists.in_text(word):
                continue
            for form in (word, many(word)):
                if parts(form) == [form.lower()]:
                    known.setdefault(form.lower(), concept.name)
    return known


def nouns(wide: bool) -> list[str]:
    """The words that a model trained on captions knows as things: the nouns of the names it sees, and their kinds. A
    word may start from one of them (ldm/initial_word.py)."""
    names = [name for c in seen() for name in (c.name, c.kind)]
    if wide:
        from pretrain.families import FAMILIES
        from pretrain.things import read_list

        lists = held_out_lists()
        names = [name for name in names if not lists.in_text(name)]
        names += [name for row in read_list() if not row.held_out for name in (*row.names, row.kind) if name]
        names += [family for family in FAMILIES if family not in lists.families]
    return sorted({noun for name in names if (noun := BEHIND.split(name.lower())[0].split()[-1]).isalpha()})


def main(arguments: list[str] | None = None) -> None:
    """Write the vocabulary, and the list of nouns in it."""
    flags = CommandParser(
        description="Build the emoji model's word-piece vocabulary.",
        example="python -m pretrain.tokenizer --out models/ldm/emoji/tokenizer")
    flags.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for vocab.txt, "
                       "nouns.txt and tokenizer_config.json")
    flags.add_argument("--world", choices=("emoji", "wide"), default="emoji", help="world whose captions it must read")
    flags.add_argument("--extend", type=Path, metavar="FOLDER", help="tokenizer whose tokens keep their numbers: what "
                       "it lacks goes behind them, so that weights of its model can be trained on")
    opt = flags.parse_args(arguments)
    check_files(opt.extend and opt.extend / "vocab.txt")
    out, wide = opt.out, opt.world == "wide"
    from transformers import BertTokenizer

    from ldm.modules.embedding_manager import PER_IMAGE_TOKENS

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    signs = sorted(set(string.printable.lower()) - set(string.whitespace))
    letters = ["##" + c for c in string.ascii_lowercase + string.digits]
    # Split as the tokenizer will split: lower case, accents off, punctuation apart.
    basic = BertTokenizer(vocab={t: i for i, t in enumerate(special)}).backend_tokenizer
    words = set()
    for text in corpus(wide):
        text = basic.normalizer.normalize_str(text)
        words |= {word for word, _ in basic.pre_tokenizer.pre_tokenize_str(text)}
    signs += sorted({w for w in words if len(w) == 1} - set(signs))
    vocabulary = special + signs + letters + PER_IMAGE_TOKENS + sorted(words - set(signs))
    if opt.extend:
        first = (opt.extend / "vocab.txt").read_text(encoding="utf-8").splitlines()
        vocabulary = list(dict.fromkeys(first + vocabulary))
    write_bytes(out / "vocab.txt", ("\n".join(vocabulary) + "\n").encode())
    write_bytes(out / "nouns.txt", ("\n".join(nouns(wide)) + "\n").encode())
    write_bytes(out / "tokenizer_config.json", (json.dumps(
        {"do_lower_case": True, "tokenizer_class": "BertTokenizer", "model_max_length": 512}) + "\n").encode())
    rows = "".join(f"{word}\t{instead}\n" for word, instead in sorted(known_words(wide).items()))
    write_bytes(out / FILE, f"word\tinstead\n{rows}".encode())
    print(f"{len(vocabulary)} tokens in {out}; set cond_stage_config.params.vocab_size to that")


if __name__ == "__main__":
    run_command(main)
