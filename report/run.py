"""The report of a run: what it learned from, how it went, what came of it, and how to go on, in one HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from PIL import Image

from ldm.cli import command_line
from ldm.errors import UserError
from ldm.files import write_bytes
from ldm.history import CHUNK, PICTURES, QUARTILES, read_history
from ldm.util import version
from load import EMBEDDED_MODEL, VARIANTS, load_config
from report.charts import Chart, Point, Series, chart, smoothed, spread
from report.page import inline, render

FILE = "report.html"
MOST_FRAMES = 24  # steps whose pictures are shown
GRIDS = {"samples_scaled": "with guidance", "samples": "without guidance"}


def write_report(run: str | Path) -> Path:
    """Write FILE into a run folder: its path. Raises UserError for a folder that is no run's."""
    run = Path(run)
    write_bytes(run / FILE, render("run.html", **gather(run)).encode())
    return run / FILE


def gather(run: Path) -> dict[str, Any]:
    """What the template shows."""
    config, lightning = stored_configs(run)
    history = read_history(run)
    words = list(OmegaConf.select(config, "model.params.personalization_config.params.placeholder_strings") or ["*"])
    frames = list(read_frames(run))
    summary, pictures = training_pictures(run)
    return {
        "run": run.name, "words": words, "version": version(), "summary": summary, "pictures": pictures,
        "facts": list(facts(run, config, lightning, history)), "commands": list(commands(run, config, words)),
        "frames": frames, "final": frames[-1] if frames else None, "charts": charts(history),
        "nearest": nearest_words(history), "ranking": ranking(run), "history": bool(history),
        "settings": {"The run": flat(config.get("run")), "The model": flat(config.get("model")),
                     "The data": flat(config.get("data")), "The trainer": flat(lightning.get("lightning"))},
    }


def stored_configs(run: Path) -> tuple[DictConfig, DictConfig]:
    """The configs that the last part of a run was made from. Raises UserError where there are none."""
    found = [sorted(run.glob(f"configs/*-{kind}.yaml")) for kind in ("project", "lightning")]
    if not all(found):
        raise UserError(f"{run}: no run folder, since it has no configs/; give one such as logs/RUN")
    project, lightning = (load_config(files[-1]) for files in found)
    return project, lightning


def variant_of(config: DictConfig) -> str | None:
    """The variant whose targets a config names."""
    def names(part: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
        return all(names(part.get(k) or {}, v) if isinstance(v, Mapping) else part.get(k) == v
                   for k, v in wanted.items())

    return next((name for name, wanted in VARIANTS.items() if names(config, wanted)), None)


def steps_learned(run: Path, history: Sequence[Mapping[str, Any]]) -> int | None:
    """How many steps a run has learned for."""
    saved = [int(text) for path in (run / "checkpoints").glob("embeddings_gs-*.pt")
             if (text := path.stem.rpartition("-")[2]).isdecimal()]
    return max([*saved, *(line["step"] for line in history[-1:])], default=None)


def facts(run: Path, config: DictConfig, lightning: DictConfig, history: Sequence[Mapping[str, Any]]
          ) -> Iterator[tuple[str, str]]:
    """(what, value) of what is to be known first."""
    words = OmegaConf.select(config, "model.params.personalization_config.params") or {}
    yield "started from", ", ".join(map(str, words.get("initializer_words") or ["the config's word"]))
    most = OmegaConf.select(lightning, "lightning.trainer.max_steps")
    if (steps := steps_learned(run, history)) is not None:
        yield "steps", f"{steps:,}" + f" of at most {most:,}" * (isinstance(most, int) and most > steps)
    last: Mapping[str, Any] = next((line["words"] for line in reversed(history) if line.get("words")), {})
    for name, word in last.items():
        if word["distance"] is not None:
            yield f"{name} moved", f"{word['distance']:.2f} from its start; it is {word['norm']:.2f} long"
    yield "pictures", str(OmegaConf.select(config, "data.params.train.params.data_root") or "")
    yield "batch", str(OmegaConf.select(config, "data.params.batch_size") or "")
    yield "rate", f"{config.model.get('base_learning_rate', '')}" + (
        ", times the batch" if OmegaConf.select(config, "run.scale_lr") else "")
    yield "seed", str(OmegaConf.select(config, "run.seed"))
    yield "model", str(OmegaConf.select(config, "run.actual_resume")) + (
        f", {variant}" if (variant := variant_of(config)) else "")


def commands(run: Path, config: DictConfig, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(what for, command line) of what to do next."""
    variant, model = variant_of(config), str(OmegaConf.select(config, "run.actual_resume"))
    script, learn = (f"{name}{f'_{variant}' if variant else ''}.py" for name in ("txt2img", "train_new"))
    flags = [] if Path(model).resolve() == EMBEDDED_MODEL.resolve() else ["--ckpt_path", model]
    best = run / "checkpoints" / "embeddings_best.pt"
    file = best if best.is_file() else best.with_name("embeddings.pt")
    yield "Draw with the word", command_line("python", script, "--embedding_path", file, *flags, "--prompt",
                                             f"a photo of a {words[0]}")
    data = OmegaConf.select(config, "data.params.train.params.data_root")
    yield "See it beside its pictures", command_line(
        "python", "-m", "check.check_learned", file, "--data_root", data,
        *(["--variant", variant] if variant else []), *flags)
    yield "Go on learning", command_line("python", learn, "-t", "--resume", run, "--stop", "off",
                                         "lightning.trainer.max_steps=NUMBER")
    yield "See its curves", command_line("tensorboard", "--logdir", run)
    yield "Look inside", command_line("python", "-m", "check.check_embedding", file, *flags)
    yield "Take it to another program", command_line(
        "python", "-m", "check.check_embedding", file, *flags, "--convert", "my-word.safetensors")


def next_commands(run: Path) -> tuple[str, str]:
    """The two commands to try when a word is learned: draw with it, and see it beside its pictures."""
    config, _ = stored_configs(run)
    words = list(OmegaConf.select(config, "model.params.personalization_config.params.placeholder_strings") or ["*"])
    (_, draw), (_, look), *_ = commands(run, config, words)
    return draw, look


# Pictures ------------------------------------------------------------------------------------------------------------

def training_pictures(run: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """(what is said of them, the pictures) as the model sees them."""
    opened = open_picture(run / PICTURES)
    if opened is None:
        return [], []
    sheet, known = opened[0], read_json(opened[1].get(CHUNK))
    left, found = 0, []
    for entry in known.get("pictures", []):
        width, height = entry["size"]
        found.append(picture(sheet.crop((left, 0, left + width, height)), f"{entry['name']}, shown with the words "
                             f"“{entry['caption']}”", entry["name"]))
        left += width
    return known.get("summary", []), sorted(found, key=lambda shown: shown["caption"])


def read_frames(run: Path) -> Iterator[dict[str, Any]]:
    """The pictures of each step that has some: previews, grids."""
    previews = {step_of(path): path for path in (run / "images/previews").glob("gs-*.png")}
    grids = {name: {step_of(path): path for path in (run / "images/train").glob(f"{name}_gs-*.png")} for name in GRIDS}
    steps = sorted(step for step in {*previews, *(s for paths in grids.values() for s in paths)} if step >= 0)
    for step, _ in spread([(step, 0.0) for step in steps], MOST_FRAMES):
        shown = list(read_previews(previews.get(step), step))
        for name, how in GRIDS.items():
            if opened := open_picture(grids[name].get(step)):
                shown.append(picture(opened[0], f"pictures of the word {how}, step {step:,}", how) | {"wide": True})
        if shown:
            yield {"step": step, "pictures": shown}


def read_previews(path: Path | None, step: int) -> Iterator[dict[str, Any]]:
    """The previews of a step, one for each prompt."""
    if (opened := open_picture(path)) is None:
        return
    row, made = opened[0], read_json(opened[1].get("previews"))
    prompts = made.get("prompts") or [""]
    width = row.width // len(prompts)
    for i, prompt in enumerate(prompts):
        yield picture(row.crop((i * width, 0, (i + 1) * width, row.height)), f"“{prompt}”, step {step:,}", prompt)


def step_of(path: Path) -> int:
    """The step in the name of a picture; -1 where there is none."""
    text = path.stem.rpartition("gs-")[2]
    return int(text) if text.isdecimal() else -1


def picture(image: Image.Image, alt: str, caption: str) -> dict[str, Any]:
    """A picture as the template shows it."""
    return {"source": inline(image), "width": image.width, "height": image.height, "alt": alt, "caption": caption,
            "wide": False}


def open_picture(path: Path | None) -> tuple[Image.Image, dict[str, Any]] | None:
    """A PNG and what its text chunks say; None where it is not there or cannot be read."""
    if path is None:
        return None
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            return image.convert("RGB"), {str(key): value for key, value in image.info.items()}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def read_json(text: Any) -> dict[str, Any]:
    """A dictionary from its text; an empty one where it is none."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# Numbers -------------------------------------------------------------------------------------------------------------

def charts(history: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The loss, the loss in each quartile of the timesteps, and of each word norm and distance."""
    losses: list[Point] = [(line["step"], line["loss"]) for line in history if line.get("loss") is not None]
    quartiles = []
    for n in range(QUARTILES):
        points = [(line["step"], line["quartiles"][n]) for line in history
                  if line.get("quartiles") and line["quartiles"][n] is not None]
        which = ("least noise", "less noise", "more noise", "most noise")[n]
        quartiles.append(Series(f"quartile {n + 1}, {which}", smoothed(points, 0.1)))
    found = [chart("Loss", "Of each step, faint, and smoothed. It depends on the timesteps that chance has drawn, and "
                   "need not fall much: the pictures are what counts.",
                   [Series("of each step", losses, faint=True), Series("smoothed", smoothed(losses))], zero=True),
             chart("Loss by timestep", "Smoothed, of pictures with little noise, in the first quartile of the "
                   "timesteps, to those that are almost noise, in the fourth.", quartiles, zero=True)]
    tracks: dict[str, dict[str, list[Point]]] = {"norm": {}, "distance": {}}
    for line in history:
        for name, word in (line.get("words") or {}).items():
            for kind, track in tracks.items():
                if word.get(kind) is not None:
                    track.setdefault(name, []).append((line["step"], word[kind]))
    for kind, title, about in (
            ("norm", "Length of the vector", "Its norm. A word much longer than others drowns the rest of a prompt."),
            ("distance", "Distance from the start", "How far the vector has come from the word it started from.")):
        curves = [Series(name, points) for name, points in tracks[kind].items()]
        found.append(chart(title, about, curves, zero=kind == "distance"))
    return [one for one in found if one]


def nearest_words(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[tuple[str, list[tuple[str, str]]]]]]:
    """(word, rows of (step, [(token, cosine)])) of the tokens that each word's first vector was nearest to."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for line in history:
        for name, word in (line.get("words") or {}).items():
            if word.get("nearest"):
                found.setdefault(name, []).append((line["step"], word["nearest"][0]))
    tables = []
    for name, rows in found.items():
        kept = {step for step, _ in spread([(step, 0.0) for step, _ in rows], 10)}
        tables.append((name, [(f"{step:,}", [(token, f"{cosine:.2f}") for token, cosine in tokens])
                              for step, tokens in rows if step in kept]))
    return tables


def ranking(run: Path) -> dict[str, Any] | None:
    """How the saved steps were ranked, with a chart; None where they were not."""
    file = run / "ranking.json"
    table = read_json(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else {}
    rows = table.get("steps") or []
    if not rows:
        return None
    curves = [Series(name, [(row["step"], row[name]) for row in rows]) for name in ("fidelity", "editability")]
    return {"best": table.get("best"), "judge": table.get("judge"), "rows": [
        [f"{row['step']:,}", *(f"{row[k]:.3f}" for k in ("fidelity", "editability", "score", "error"))]
        for row in rows], "chart": chart("Fidelity and editability", "Of the saved steps, as the judge sees them: like "
                                         "the training pictures, and true to the rest of the prompt.", curves)}


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """(key.path, value) of a config."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if isinstance(value, dict) and value:
        return [pair for key, below in value.items() for pair in flat(below, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [pair for i, item in enumerate(value) for pair in flat(item, f"{prefix}.{i}")]
    return [(prefix, json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value)] if prefix else []
