"""Samplers are compared by what they draw from the same noise."""

import json

import pytest

from evaluation import sampler_suite


@pytest.mark.slow
def test_each_sampler_is_measured_and_compared_with_the_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sampler_suite.SAMPLERS, "ddim_50", ("ddim", 1))
    sampler_suite.main(["--samplers", "ddim_20", "ddim_50", "--concepts", "flamingo", "--quick",
                        "--json", str(tmp_path / "report.json"), "--out", str(tmp_path),
                        "--override", "lightning.trainer.max_steps=2", "data.params.batch_size=2"])
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) == {f"{part}/{name}/{m}" for part in ("seen", "learned") for m in sampler_suite.MEASURES
                           for name in ("ddim_20", "ddim_50", "ddim_50_minus_ddim_20")}
    assert report["seen/ddim_20/top5"]["value"] > report["seen/ddim_50/top5"]["value"], "a single step draws no thing"
    for part, n in (("seen", 2), ("learned", 1)):
        one, two, difference = (report[f"{part}/{name}/clip_t"] for name in (
            "ddim_20", "ddim_50", "ddim_50_minus_ddim_20"))
        assert one["n"] == n and difference["value"] == pytest.approx(two["value"] - one["value"])
