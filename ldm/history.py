"""The history of a run, as its folder keeps it: a line for each step, and the pictures that it learns from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = "history.jsonl"             # in the run folder: a line for each step
PICTURES = "images/pictures.png"   # beside each other, what the model sees of the training pictures
CHUNK = "pictures"                 # text in it: {"summary": what is said of them, "pictures": [{name, caption, size}]}
QUARTILES = 4                      # of the timesteps


def read_history(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a run folder's FILE, in the order of steps; none where there is none, and without those that are
    not what is written there."""
    path = Path(folder, FILE)
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
        except ValueError:
            continue
    return sorted(lines, key=lambda line: int(line["step"]))
