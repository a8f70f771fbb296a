"""v1 is compared with the base, concept by concept."""

import json

import pytest

from evaluation import v1_suite
from evaluation.paired import MEASURES


@pytest.mark.slow
def test_v1_and_base_learn_the_same_concepts_and_what_v1_adds_is_reported(tmp_path):
    v1_suite.main(["--concepts", "beer_mug", "--json", str(tmp_path / "report.json"),
                   "--values", str(tmp_path / "values.json"), "--out", str(tmp_path), "--ddim_steps", "2", "--quick",
                   "--override", "lightning.trainer.max_steps=2", "data.params.batch_size=2"])
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) == {*(f"{part}/{m}" for m in MEASURES for part in ("base", "v1_minus_base")),
                           "v1/ordinary", "v1/ordinary_other_noise",
                           "v1/gate_alone", "v1/gate_company", "v1/gate_sizes"}
    assert all(r["n"] == 1 for r in report.values())
    assert report["v1/ordinary"]["value"] == pytest.approx(1, abs=1e-6)
    assert report["v1/ordinary_other_noise"]["value"] < 0.99
    values = json.loads((tmp_path / "values.json").read_text())
    assert set(values["beer_mug"]) == {"base", "v1"}
