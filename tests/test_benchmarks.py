"""The benchmarks run, and count and compare what they say."""

import json

import pytest
import torch

from benchmarks import profile, sides, speed
from ldm.errors import UserError
from tests.conftest import assert_one_line_error, run_main
from tests.models import ldm_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model as diffusers writes it."""
    place = tmp_path_factory.mktemp("model") / "ldm"
    ldm_pipeline().save_pretrained(place)
    return place


@pytest.mark.parametrize("key", sides.ROWS)
@pytest.mark.parametrize("precision", ["full", "bf16"])
def test_both_sides_compute_the_same(folder, key, precision):
    ours, theirs = (side(folder, precision) for side in (sides.Ours, sides.Theirs))
    inputs = ours.inputs()
    assert all(torch.equal(a, b) for a, b in zip(inputs, theirs.inputs(), strict=True))
    runs = [sides.ROWS[key].prepare(side, inputs) for side in (ours, theirs)]
    first, again = ([run() for run in runs] for _ in range(2))
    assert first[0].shape == first[1].shape and first[0].norm() > 0
    assert speed.difference(*first) < speed.TOLERANCES[precision]
    assert all(torch.allclose(a, b) for a, b in zip(first, again, strict=True)), "gradients do not add up"


def test_operations_are_counted(folder):
    flops = sides.count_flops(folder)
    assert set(flops) == set(sides.ROWS)
    assert flops["learn"] == flops["unet"] + flops["text"]
    assert 3.9 * flops["draw"] < flops["draw4"] <= 4 * flops["draw"]
    layer = 2 * 4 * 77 * (4 * 32 * 512 + 2 * 32 * 128)  # products with weights, of a text encoder's layer
    attention = 2 * 4 * 8 * 2 * 77 * 77 * 64
    assert flops["text"] == 2 * (2 * layer + 3 * attention), "of two layers; back through attention is twice as much"


def test_a_report_has_time_memory_and_operations_of_both(folder, tmp_path):
    arguments = ["--folder", folder, "--rounds", 1, "--json", tmp_path / "report.json"]
    result = run_main(speed.main, *arguments, "--rows", "text")
    assert result.status == 0, result.err
    result = run_main(speed.main, *arguments, "--rows", "load")
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["rows"]) == {"text", "load"}, "what was there stays"
    for row in report["rows"].values():
        for name in (sides.Ours.name, sides.Theirs.name):
            assert len(row["seconds"][name]) == 1 and row["seconds"][name][0] > 0 and 0.1 < row["memory"][name] < 8
    header, *_, last = result.out.strip().splitlines()
    assert "GFLOP/s" in header and torch.__version__ in header and last.startswith("| load all of it |")


def test_sides_that_differ_are_no_comparison(folder, monkeypatch):
    monkeypatch.setattr(sides.Theirs, "decode", lambda self, inputs: lambda: torch.ones(1, 3, 64, 64))
    with pytest.raises(UserError, match="the two differ by"):
        speed.time_row(sides.ROWS["decode"], folder, "full", 1)


def test_a_model_that_is_not_there_is_said(tmp_path):
    assert_one_line_error(run_main(speed.main, "--model", tmp_path / "no.ckpt"), "no.ckpt")


def test_a_profile_says_where_the_time_goes(folder):
    result = run_main(profile.main, "unet", "--folder", folder)
    assert result.status == 0, result.err
    lines = result.out.strip().splitlines()[2:]
    kinds = {kind: next(line for line in lines if line.startswith(kind)) for kind, _ in profile.KINDS[:4:2]}
    shares = [int(line.rsplit(maxsplit=1)[1].rstrip("%")) for line in lines]
    assert len(kinds) == 2 and 90 < sum(shares) < 110
