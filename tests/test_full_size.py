"""Models at full size, with random weights: minutes and gigabytes; make test-full runs them."""

import pytest
from PIL import Image

from benchmarks.stable_diffusion import draw, learn, write_random_folder
from ldm.embedding_files import read_embeddings
from ldm.parameters import picture_parameters

pytestmark = pytest.mark.full


def test_stable_diffusion_learns_a_step_and_draws_a_picture(tmp_path):
    folder = tmp_path / "model"
    write_random_folder(folder)
    step = learn(folder, tmp_path / "logs", batch=1)
    (word,) = tmp_path.glob("logs/*/checkpoints/embeddings.pt")
    assert read_embeddings(word)["*"].shape == (1, 768)
    picture = draw(folder, tmp_path / "out")
    (file,) = (tmp_path / "out/samples").iterdir()
    assert Image.open(file).size == (512, 512)
    assert picture_parameters(file)[2]["CFG scale"] == "7.5"
    for run in (step, picture):
        print(f"{run.seconds:.0f} s, {run.busy:.0f} s of a core, {run.memory:.1f} GB")
        assert run.memory < 12, run.output
