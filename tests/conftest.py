"""What all tests share: the reference figures, the models, the command lines."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before it is read: tests ask no hub

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import load
from ldm.cli import run_command

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/golden/dev"
EMOJI = ROOT / "models/ldm/emoji/model.ckpt"
EMBEDDING = ROOT / "logs/example_green_apple/checkpoints/embeddings.pt"


def pytest_collection_modifyitems(config, items):
    """Tests at full size run where they are asked for, by -m full, and nowhere else."""
    if "full" not in config.option.markexpr:
        full = [item for item in items if item.get_closest_marker("full")]
        items[:] = [item for item in items if item not in full]
        config.hook.pytest_deselected(items=full)


def pytest_sessionfinish(session, exitstatus):
    """Where everything is installed, as in CI (SKIPPED_IS_FAILED=1), a skipped test is a failed one."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("SKIPPED_IS_FAILED") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def in_project(monkeypatch):
    """The command lines are used from the project's folder."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="session")
def golden():
    """The reference figures by name, and the prompts."""
    expected = safetensors.torch.load_file(GOLDEN / "expected.safetensors")
    return SimpleNamespace(expected=expected, **json.loads((GOLDEN / "prompts.json").read_text()))


def golden_model():
    """The small model with random weights that the reference figures were computed with."""
    model = load.load_model_from_config(load.load_config(GOLDEN / "config.yaml"), GOLDEN / "model.ckpt")
    model.embedding_manager.load(GOLDEN / "embeddings.pt")
    return model


@pytest.fixture
def small_model():
    return golden_model()


@pytest.fixture(scope="session")
def shared_small_model():
    """The same for tests that change nothing in it."""
    return golden_model()


@pytest.fixture(scope="session")
def emoji_model():
    """The embedded model; not to be changed."""
    return load.load_model_from_config(load.load_config(EMOJI.parent / "config.yaml"), EMOJI)


@pytest.fixture(scope="session")
def v2_model():
    """The embedded model behind the embedded multilingual transformer and aligner; not to be changed."""
    return load.load_model_from_config(load.model_config(EMOJI, variant="v2"), EMOJI)


@pytest.fixture(scope="session")
def judge():
    """The CLIP that measures the embedded model."""
    from evaluation.measures import JUDGE
    from ldm.judge import CLIPEvaluator
    return CLIPEvaluator(str(JUDGE))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run of two steps, to be looked at or copied."""
    import train_new
    from tests.runs import EXACT, flags, only_run

    logs = tmp_path_factory.mktemp("finished")
    result = run_main(train_new.main, *flags(logs), "-t", *EXACT, "lightning.trainer.max_steps=2")
    assert result.status == 0, result.err
    return only_run(logs)


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> bool:
    """Largest difference at most `tolerance` of the largest expected magnitude, and shapes equal."""
    actual, expected = actual.detach().double(), expected.double()
    return actual.shape == expected.shape and bool(
        (actual - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-12))


def pixels(picture) -> torch.Tensor:
    """A picture, or the file of one, as float [H, W, 3] in 0...255."""
    picture = Image.open(picture) if isinstance(picture, str | Path) else picture
    return torch.from_numpy(np.array(picture.convert("RGB"))).float()


def run_script(*arguments, timeout: int = 300) -> subprocess.CompletedProcess:
    """A command line of this project in a process of its own."""
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True,
                          timeout=timeout)


def run_main(main, *arguments) -> SimpleNamespace:
    """A command line's main in this process: its exit status, stdout and stderr."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run_command(lambda: main([str(a) for a in arguments]))
        except SystemExit as stop:
            status = int(stop.code or 0)
    return SimpleNamespace(status=status, out=out.getvalue(), err=err.getvalue())


def assert_one_line_error(result, *words: str) -> None:
    """Exit status 2 and a last line on stderr that begins with `error:` and holds the words; no traceback."""
    status = result.status if hasattr(result, "status") else result.returncode
    err = result.err if hasattr(result, "err") else result.stderr
    assert status == 2, err
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: "), err
    for word in words:
        assert word in last, f"{word!r} not in {last!r}"
