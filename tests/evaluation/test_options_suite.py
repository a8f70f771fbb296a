"""Options of training are compared with the defaults, concept by concept."""

import json

import pytest

from evaluation import options_suite


@pytest.mark.slow
def test_each_option_is_learned_and_its_difference_reported(tmp_path):
    options_suite.main(["--options", "cosine", "norms", "starts", "auto_stop", "best_step",
                        "--concepts", "beer_mug", "flamingo", "--every", "2",
                        "--json", str(tmp_path / "report.json"), "--out", str(tmp_path), "--ddim_steps", "2", "--quick",
                        "--override", "lightning.trainer.max_steps=2", "data.params.batch_size=2"])
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) == {f"{part}/{m}" for m in options_suite.MEASURES for part in (
        "default", "cosine_minus_default", "norms_minus_default", "starts_minus_default", "auto_stop_minus_default",
        "best_step_minus_default")}
    assert all(r["n"] == 1 for r in report.values()) and report["norms_minus_default/clip_i"]["value"] != 0
    runs = {folder.name: sorted(folder.glob("*")) for folder in tmp_path.iterdir() if folder.is_dir()}
    assert set(runs) == {"runs", "cosine", "norms", "starts", "auto_stop"} and all(len(r) == 1 for r in runs.values())
    assert len(list(runs["starts"][0].glob("seed-*"))) == 2
