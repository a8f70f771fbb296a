"""The icon sets that the wide world is drawn from, as packages of the npm registry, with their licences."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldm.errors import UserError


@dataclass(frozen=True)
class IconSet:
    """One package, pinned to a version."""

    name: str
    version: str
    sha256: str                   # of the package as `npm pack` fetches it
    licence: str
    style: tuple[str, ...]        # phrases that say how the set draws, {} for the thing
    art: str                      # the same as a thing: "in the style of flat art"
    emoji: bool = False           # its icons are emoji; the others have only names
    chars: str = ""               # the set whose package has the code points of its icons; "" means names say them
    suffix: str = ""              # only icons with this ending, which is no part of their name
    categories: tuple[str, ...] = ()  # only icons of these; () means all
    monochrome: bool = False      # drawn in one colour, any

    @property
    def package(self) -> str:
        """As npm calls it, with the version."""
        return f"@iconify-json/{self.name}@{self.version}"

    @property
    def file(self) -> str:
        """What `npm pack` calls the file."""
        return f"iconify-json-{self.name}-{self.version}.tgz"


SETS = (
    IconSet("fluent-emoji-flat", "1.2.6",
            "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
            "MIT", ("flat {}",), "flat art", emoji=True, chars="fluent-emoji-flat"),
    IconSet("fluent-emoji", "1.2.7",
            "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
            "MIT", ("glossy {}", "shiny {}"), "glossy art", emoji=True, chars="fluent-emoji-flat"),
    IconSet("noto-v1", "1.2.5",
            "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
            "Apache-2.0", ("old style {}",), "old art", emoji=True),
    IconSet("fxemoji", "1.2.2",
            "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
            "Apache-2.0", ("simple {}",), "simple art", emoji=True),
    IconSet("emojione", "1.2.3",
            "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
            "CC-BY-4.0", ("soft {}",), "soft art", emoji=True),
    IconSet("streamline-emojis", "1.2.4",
            "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc",
            "CC-BY-4.0", ("cartoon {}", "outlined {}"), "cartoons", emoji=True),
    IconSet("twemoji", "1.2.5",
            "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
            "CC-BY-4.0", ("bold flat {}",), "bold art", emoji=True, chars="twemoji"),
    IconSet("flat-color-icons", "1.2.3",
            "d8878a9b0f02d749bc8671eb7d47882eb711185cbcefbb365cbfb488773c4786",
            "MIT", ("clip art {}",), "clip art"),
    IconSet("icon-park", "1.2.4",
            "c1a25212a31602aca93c3fa6f6b3288e89b9d7811afc132dfd78506e9d586b6f",
            "Apache-2.0", ("line art {}",), "line art", categories=(
        "Animals", "Baby", "Build", "Clothes", "Energy", "Foods", "Game", "Hardware", "Health", "Industry", "Life",
        "Makeups", "Measurement", "Music", "Office", "Safe", "Sports", "Travel", "Weather")),
    IconSet("game-icons", "1.2.4",
            "f5758efb34d91c4f50b941f355f16ee73938625e5996fabc25171288404460a4",
            "CC-BY-3.0", ("silhouette of {}",), "silhouettes", monochrome=True),
    IconSet("ph", "1.2.2",
            "e3a582a047d9829fc7e8842c660d8065e598d1b68bb58cb68e75a1f1e5a614cc",
            "MIT", ("pictogram of {}",), "pictograms", suffix="-duotone", monochrome=True),
)
BY_NAME = {s.name: s for s in SETS}


def fetch(icon_set: IconSet, folder: Path) -> Path:
    """The set's package in the folder, fetched by npm unless it is there. Raises UserError where npm or the package
    cannot be had, or the file is not the one whose hash is written here."""
    path = folder / icon_set.file
    if not path.is_file():
        if not (npm := shutil.which("npm")):
            raise UserError(f"npm is not installed, which fetches {icon_set.package}; install Node.js, or give a "
                            "folder that has the packages (--packages)")
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([npm, "pack", "--silent", "--pack-destination", str(folder), icon_set.package],
                              capture_output=True, text=True)
        if done.returncode or not path.is_file():
            raise UserError(f"npm pack {icon_set.package}: {' '.join(done.stderr.split())[:200] or 'no file came'}")
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != icon_set.sha256:
        raise UserError(f"{path}: its SHA-256 is {found[:16]}..., not {icon_set.sha256[:16]}... as pretrain/sets.py "
                        "has it; delete the file, and it is fetched anew")
    return path


def read_package(path: Path, name: str) -> dict[str, Any]:
    """A JSON file of a package: icons, metadata, chars; {} where it has none of the name."""
    with tarfile.open(path) as package:
        try:
            file = package.extractfile(f"package/{name}.json")
        except KeyError:
            return {}
        return json.load(file) if file else {}


def svg(icons: dict[str, Any], name: str) -> str:
    """An icon as an SVG document, in black where it leaves the colour open."""
    icon = icons["icons"][name]
    box = [icon.get(key, icons.get(key, default)) for key, default in (
        ("left", 0), ("top", 0), ("width", 16), ("height", 16))]
    body = icon["body"].replace("currentColor", "#000")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{" ".join(map(str, box))}" width="{box[2]}" height="{box[3]}">{body}</svg>')
