"""What an install puts into site-packages: the project's name and what it needs, and not one module."""

import importlib.util
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built in a copy of the project."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    folder = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", "README.md", "LICENSE", "load.py", "setup.py", "train_new.py"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "ldm", folder / "ldm", ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, folder / "dist"], cwd=folder, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / "dist" / done.stdout.split()[-1]) as archive:
        yield {name: archive.read(name).decode() for name in archive.namelist()}


def test_it_holds_no_modules(wheel):
    assert wheel and {name.split("/")[0].rpartition(".")[2] for name in wheel} == {"dist-info"}
    assert not [name for name in wheel if name.endswith((".py", ".pth"))]


def test_it_says_what_the_project_needs(wheel):
    (metadata,) = (text for name, text in wheel.items() if name.endswith("/METADATA"))
    for line in ("Name: textual-inversion-workbench", "Requires-Python: >=3.10"):
        assert line in metadata.splitlines()
    for name in ("torch", "pytorch-lightning", "transformers", "omegaconf", "safetensors"):
        assert f"Requires-Dist: {name}" in metadata
