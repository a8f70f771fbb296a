"""The words that the page knows: those of run folders, and files that were imported or merged.

The browser names a word by an id that stands in the listing, never by a path.
"""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ldm.embedding_files import PUBLISHED, Words, read_words, write_words
from ldm.errors import UserError
from ldm.files import write_bytes
from ldm.placeholders import STAR, check_placeholder, name_of_file, same_name
from ldm.ranking import saved_steps
from ldm.util import ROOT, quoted

OWN = "webui"  # the page's folder in --logdir: the queue, pictures to learn from, files of words
MOST_WORDS = 500  # that are listed
MOST_BYTES = 32 * 2**20  # of an imported file


@dataclass(frozen=True)
class Word:
    """A file of learned words, and what the page calls them."""

    id: str                  # what the browser calls it
    file: Path
    run: Path | None         # the run folder it belongs to
    names: tuple[str, ...]   # of its words in prompts, on this page
    own: tuple[str | None, ...]  # their names in the file
    width: int               # of the vectors
    adapter: bool            # whether it is a word of v1
    learned: float           # when the file was written, in seconds

    @property
    def name(self) -> str:
        """Its words' names as a line."""
        return " ".join(self.names)

    @property
    def variant(self) -> str | None:
        """What the model has to be for it."""
        return "v1" if self.adapter else None

    @property
    def steps(self) -> dict[int, Path]:
        """{step: file} of what its run has saved on the way."""
        return saved_steps(self.run / "checkpoints") if self.run else {}


class Shelf:
    """The words below a folder of runs."""

    def __init__(self, logdir: Path):
        self.logdir, self.own = logdir, logdir / OWN

    @property
    def files(self) -> Path:
        """The folder of words that were not learned here."""
        return self.own / "words"

    def listing(self) -> list[Word]:
        """All words, those learned or brought here last first. A name that two of them have is the older one's; the
        other, and what is called *, is called by its file or run. Files that hold no words are left out."""
        found: list[tuple[Path, Path | None, Words]] = []
        for pattern in ("*/checkpoints/embeddings.pt", "*/*/checkpoints/embeddings.pt"):
            for file in self.logdir.glob(pattern):
                if not file.is_relative_to(self.own):
                    found += self._read(file, file.parent.parent)
        for file in self.files.glob("*"):
            found += self._read(file, None) if not file.name.startswith(".") else []
        found = sorted(found, key=lambda item: (_begun(item[0], item[1]), str(item[0])))[-MOST_WORDS:]
        taken: set[str] = set()
        listed = []
        for file, run, words in found:
            names = []
            for own in words.own_names:
                names.append(_free(name_of_file(file) if own in (None, STAR) else str(own), taken))
                taken.add(same_name(names[-1]))
            listed.append(Word((run or file).relative_to(self.logdir).as_posix(), file, run, tuple(names),
                               tuple(words.own_names), min(words.widths), bool(words.adapter), _written(file)))
        return listed[::-1]

    @staticmethod
    def _read(file: Path, run: Path | None) -> list[tuple[Path, Path | None, Words]]:
        try:
            state = file.stat()
            return [(file, run, _read_once(file, state.st_mtime_ns, state.st_size))]
        except (UserError, OSError):
            return []

    def find(self, id: str | None) -> Word:
        """The word of an id. Raises UserError where there is none, as for any path."""
        for word in self.listing():
            if word.id == id:
                return word
        raise UserError("this word is not there any more; choose another" if id else "choose a word first")

    def of_digest(self, digest: str) -> tuple[Word, Path] | None:
        """The word whose file, or that of one of its steps, has a hash as pictures carry it (`txt2img.digest`)."""
        for word in self.listing():
            for file in (word.file, *word.steps.values()):
                if hashlib.sha256(file.read_bytes()).hexdigest()[:16] == digest:
                    return word, file
        return None

    def free_name(self, wanted: str) -> str:
        """A name that no word has: the one wanted, or the same with a number."""
        return _free(wanted, {same_name(name) for word in self.listing() for name in word.names})

    def check_name(self, name: str) -> str:
        """A name for a new word, stripped. Raises UserError where it can be none, or is taken."""
        name = " ".join(name.split())
        check_placeholder(name)
        if name == STAR:
            raise UserError(f"{STAR} is what any only word is called; take a name such as <my-cat>")
        if self.free_name(name) != name:
            raise UserError(f"{quoted(name)} is another word's name; take another")
        return name

    # What changes the shelf ------------------------------------------------------------------------------------------

    def new_file(self, name: str, suffix: str = ".pt") -> Path:
        """A path among the files of words that is free, called after a word."""
        stem = file_name(name)
        for n in range(1, 10**6):
            path = self.files / (f"{stem}-{n}{suffix}" if n > 1 else f"{stem}{suffix}")
            if not path.exists():
                return path
        raise AssertionError

    def add(self, data: bytes, name: str, width: int) -> Path:
        """Take a stranger's file of words, called `name` there, as it is: its path here. Raises UserError for what
        holds no words, or none for a model whose token embeddings are so wide."""
        if len(data) > MOST_BYTES:
            raise UserError(f"{name}: larger than {MOST_BYTES >> 20} MB, and a file of words is small")
        from ldm.embedding_files import misfit

        suffix = Path(name).suffix.lower()
        path = self.new_file(Path(name).stem, suffix if suffix in (".pt", ".bin", ".safetensors", ".ckpt") else ".pt")
        with tempfile.TemporaryDirectory() as folder:
            trial = Path(folder, path.name)
            trial.write_bytes(data)
            words = read_words(trial)
            for word, vectors in words.vectors.items():
                if vectors.shape[1] != width:
                    raise misfit(name, word, vectors.shape[1], width)
            for own in filter(None, words.own_names):
                check_placeholder(own)
        write_bytes(path, data)
        return path

    def export(self, words: Sequence[Word], format: str, folder: Path, encoder: object = None) -> list[Path]:
        """Write words into a folder, a file each, in a format of `ldm.embedding_files.FORMATS`, under the names they
        have here: the files."""
        suffix = {"diffusers": ".safetensors", "kohya": ".safetensors"}.get(format, ".pt")
        files = []
        for word in words:
            content = self.named(word)
            path = folder / f"{file_name(word.names[0])}{suffix}"
            write_words(path, content.with_tokens_of(encoder) if encoder else content, format)  # type: ignore[arg-type]
            files.append(path)
        return files

    @staticmethod
    def named(word: Word) -> Words:
        """The content of a word's file under the names it has here."""
        content = read_words(word.file)
        return content.renamed({old: new for old, new in zip(content.vectors, word.names, strict=True)
                                if old != new or not content.named})

    def rename(self, word: Word, name: str) -> None:
        """Call a word otherwise: in its file or, of a run, in all that the run goes on from. Raises UserError for a
        name that is taken, or that cannot be one, and for a file of several words."""
        name = self.check_name(name)
        _check_ours(word)
        if len(word.names) > 1:
            raise UserError(f"{word.name} are several words in one file; rename them before they are merged")
        if word.run is not None:
            from webui.renaming import rename_run

            rename_run(word.run, name)
            return
        content = read_words(word.file)
        (old,) = content.vectors
        write_words(word.file, content.renamed({old: name}))

    def merge(self, words: Sequence[Word]) -> Path:
        """Put several words into one file, under the names they have here: its path. Raises UserError for words that
        cannot be in one file."""
        from merge_embeddings import merge, words_of

        if len(words) < 2:
            raise UserError("choose at least two words to put into one file")
        files = [str(word.file) for word in words]
        contents = [words_of(file) for file in files]
        names = {(i, old): new for i, (word, content) in enumerate(zip(words, contents, strict=True))
                 for old, new in zip(content.vectors, word.names, strict=True)}
        path = self.new_file("-".join(name.strip("<>") for word in words for name in word.names)[:60])
        write_words(path, merge(files, contents, names), PUBLISHED)
        return path

    def delete(self, word: Word) -> None:
        """Remove a word: its file, or all of its run."""
        _check_ours(word)
        if word.run is None:
            word.file.unlink(missing_ok=True)
        else:
            shutil.rmtree(word.run)


def _free(wanted: str, taken: set[str]) -> str:
    name, n = wanted, 2
    while same_name(name) in taken:
        name, n = (f"{wanted[:-1]}-{n}>" if wanted.endswith(">") else f"{wanted}-{n}"), n + 1
    return name


def _check_ours(word: Word) -> None:
    path = (word.run or word.file).resolve()
    if path.is_relative_to(ROOT) and path.name.startswith("example"):
        raise UserError(f"{word.name} is the example that comes with the project, and stays as it is; export it to "
                        "have one of your own")


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _begun(file: Path, run: Path | None) -> str:
    """When a word came to be, as run folders write the time: what is learned further keeps its place."""
    configs = sorted(path.name[:19] for path in run.glob("configs/*-project.yaml")) if run else []
    return configs[0] if configs else time.strftime("%Y-%m-%dT%H-%M-%S", time.localtime(_written(file)))


@functools.lru_cache(MOST_WORDS)
def _read_once(file: Path, *state: int) -> Words:
    return read_words(file)


def file_name(word: str) -> str:
    """What a file of a word is called, without a suffix; "word" for names that say nothing."""
    name = "-".join(re.sub(r"[^\w.+-]+", " ", word).split()).strip(".-")[:60]
    return "word" if not name or name_of_file(f"/x/checkpoints/{name}.pt") == "<x>" else name


def names_of(words: Iterable[Word]) -> list[str]:
    """All names of some words, in order."""
    return [name for word in words for name in word.names]
