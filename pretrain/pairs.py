"""Write sentences as people type them beside the base model's own: python -m pretrain.pairs --out pairs.csv

Names and keywords are Unicode CLDR's; pretrain/languages has a grammar for each language. The sentences of
improvement/v2/sentences.py, which are regular, are among them.
"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import csv
import io
import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from improvement.v2.names import FILE, Name, Names
from improvement.v2.sentences import HYPERNYMS, PLACEHOLDERS, Pair, random_sentences, unseen
from ldm.cli import CommandParser, count, run_command, share, training_seed
from ldm.data.emoji import COLOURS
from ldm.errors import UserError
from ldm.files import write_bytes
from pretrain.languages import CLOSE, FRAMES, OPEN, Chatter, Meaning, Thing, gaps, weighted

if TYPE_CHECKING:
    from pretrain.lexicon import Lexicon

LANGUAGES = {"ko": 0.4, "en": 0.4, "ja": 0.08, "es": 0.12}  # -> share of the sentences
NUMBERS = ((1, 67), (2, 14), (3, 8), (4, 5), (5, 2), (6, 1.2), (7, .8), (8, .8), (9, .6), (10, .9))
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
SENTENCES = 20_000  # of each language, whose words are told from those for things
ODD = "odd"  # a colour that the world does not have


def random_thing(rng: random.Random, lexicon: Lexicon, strange: float) -> Thing:
    """A concept, a learned word or, with a small probability, something that the world does not have."""
    draw, number = rng.random(), weighted(rng, NUMBERS)
    if draw < strange:
        return Thing("", "", number)
    size = weighted(rng, (("", 84), ("big", 9), ("small", 7)))
    tint = rng.choice(list(COLOURS)) if rng.random() < 0.2 else ODD if rng.random() < 0.01 else ""
    if draw < strange + 0.15:
        return Thing(weighted(rng, tuple(zip(PLACEHOLDERS, (3, 1), strict=True))), "", number, size, tint)
    concept = lexicon.random_concept(rng)
    coloured = {*concept.name.split()} & COLOURS.keys()
    return Thing(concept.name, concept.kind, number, size, "" if coloured else tint)


def random_meaning(rng: random.Random, lexicon: Lexicon) -> Meaning:
    """What somebody might ask for."""
    strange = 0.4 if rng.random() < 0.25 else 0.0
    things = [random_thing(rng, lexicon, strange) for _ in range(weighted(rng, ((1, 68), (2, 30), (3, 2))))]
    names = [thing.name for thing in things if thing.name]
    if len(set(names)) < len(names):
        things = things[:1]
    ground = rng.choice(list(COLOURS)) if rng.random() < 0.6 else ODD if rng.random() < 0.04 else ""
    frame = rng.choices(list(FRAMES), (74, 11, 7, 3, 1.5, 1.5, 1, 1))[0]
    return Meaning(tuple(things), ground, frame)


def natural_pairs(rng: random.Random, language: str, lexicon: Lexicon) -> Iterator[Pair]:
    """Pairs without end, of sentences as people type them."""
    grammar = lexicon.module
    chatter: Chatter | None = getattr(grammar, "CHATTER", None)
    while True:
        meaning = random_meaning(rng, lexicon)
        if len(meaning.english.split()) > 24:
            continue
        other = lexicon.random_concept(rng)
        text = grammar.write(rng, meaning, partial(lexicon.noun, rng),
                             lambda thing, unit, c=other: lexicon.noun(rng, Thing(c.name, c.kind), unit))
        if len(meaning.things) == 1 and meaning.things[0].name and rng.random() < 0.02:
            like, between = rng.choice(grammar.LIKES), rng.choice((" ", ", ", "... ", ". "))
            text = like.format(lexicon.noun(rng, meaning.things[0])) + between + text
        while rng.random() < (0.16 if chatter else 0.05):
            talk = chatter(rng) if chatter and rng.random() < 0.8 else rng.choice(grammar.TALK)
            between = rng.choice((", ", ". ", "... ", "! ", " ", " "))
            text = rng.choice((f"{talk}{between}{text}", f"{text}{between}{talk}"))
        text, left_out = gaps(grammar.noisy(rng, text) if rng.random() < 0.7 else text)
        yield Pair(" ".join(text.split()), meaning.english, left_out)


def plain_words(rng: random.Random, lexicon: Lexicon, count: int) -> list[Name]:
    """What a language's sentences, so many, have twice or more between the names of things."""
    def marked(thing: Thing, unit: str) -> str:
        word = lexicon.noun(rng, thing, unit)
        return word if OPEN in word else f"{OPEN}{word}{CLOSE}"

    said = (*lexicon.module.TALK, *lexicon.module.LIKES)
    found = Counter(word for phrase in said for word in WORD.findall(phrase.lower()) * 2)
    for _ in range(count):
        text = lexicon.module.write(rng, random_meaning(rng, lexicon), marked,
                                    lambda thing, unit: marked(Thing(lexicon.random_concept(rng).name), unit))
        found.update(word for part in text.lower().split(OPEN) for word in WORD.findall(part.rpartition(CLOSE)[2]))
    return [Name(word, "", "") for word, times in found.items() if times > 1 and not word.isdigit()]


def regular_pairs(rng: random.Random, lexicon: list[tuple[str, str]]) -> Iterator[Pair]:
    """Pairs without end, of the templates' sentences; some of the sources are the English sentence."""
    for sentence in random_sentences(rng, lexicon):
        yield Pair(sentence.en if rng.random() < 0.2 else sentence.ko, sentence.en)


def kind_pairs(rng: random.Random) -> Iterator[Pair]:
    """Pairs without end, of words for kinds of things, such as init words are."""
    while True:
        ko, en = rng.choice(list(HYPERNYMS.items()))
        yield Pair(ko, Thing(en).english) if rng.random() < 0.5 else Pair(f"{ko} 하나 그려줘", Thing(en).english)


def read_places(options: list[str]) -> dict[str, list[Path]]:
    """{language: files} of ko=FILE ... Raises UserError for other things."""
    files: dict[str, list[Path]] = {}
    for option in options:
        language, sign, file = option.partition("=")
        if not sign or language not in LANGUAGES or not Path(file).is_file():
            raise UserError(f"--strange {option}: needs LANGUAGE=FILE, with one of {', '.join(LANGUAGES)} and a file")
        files.setdefault(language, []).append(Path(file))
    return files


def main(arguments: list[str] | None = None) -> None:
    """Write the file of pairs."""
    parser = CommandParser(
        description="Write sentences of the emoji world beside their English ones.",
        example="python -m pretrain.pairs --out pairs.csv --languages ko en")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV",
                        help="where pairs go: columns ko, en and gaps")
    parser.add_argument("--count", type=count, default=16_000, help="number of pairs")
    parser.add_argument("--regular", type=share, default=0.2, help="share of the templates' sentences")
    parser.add_argument("--languages", nargs="+", choices=list(LANGUAGES), default=list(LANGUAGES),
                        help="languages to write beside English")
    parser.add_argument("--strange", nargs="*", default=[], metavar="LANGUAGE=FILE",
                        help="words, one a line, for things that the world may not have")
    parser.add_argument("--names", type=Path, metavar="FOLDER",
                        help="write the table of names too, into the folder of the multilingual transformer")
    parser.add_argument("--seed", type=training_seed, default=0, help="seed of the random sentences")
    opt = parser.parse_args(arguments)
    files = read_places(opt.strange)
    from pretrain.lexicon import Lexicon, all_names
    from pretrain.world import all_concepts

    rng = random.Random(opt.seed)
    regular = regular_pairs(rng, [(c.name_ko, c.name) for c in all_concepts()])
    kinds = kind_pairs(rng)
    lexicons = {name: Lexicon(name, strange=files.get(name, ())) for name in opt.languages}
    natural = {name: natural_pairs(rng, name, lexicon) for name, lexicon in lexicons.items()}
    if opt.names:
        english_first = sorted(lexicons.values(), key=lambda lexicon: lexicon.language != "en")
        table = all_names(english_first)
        for lexicon in english_first:
            table += plain_words(random.Random(opt.seed), lexicon, SENTENCES)
        opt.names.mkdir(parents=True, exist_ok=True)
        Names(dict.fromkeys(table)).write(opt.names / FILE)
    shares = [LANGUAGES[name] for name in opt.languages]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("ko", "en", "gaps"))
    rows: list[tuple[str, str, str]] = []
    while opt.count > len(rows):
        draw = rng.random()
        source = (regular if draw < opt.regular else kinds if draw < opt.regular + 0.003
                  else natural[rng.choices(opt.languages, shares)[0]])
        pair = next(source)
        if not unseen(pair.ko):
            rows.append((pair.ko, pair.en, "|".join(pair.gaps)))
    writer.writerows(rows)
    write_bytes(opt.out, text.getvalue().encode())
    print(f"{opt.out}: {opt.count} pairs")


if __name__ == "__main__":
    run_command(main)
