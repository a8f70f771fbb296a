"""Options of training are compared with the defaults, concept by concept."""

import json

import pytest

from evaluation import options_suite
from evaluation.paired import MEASURES
from ldm.errors import UserError


@pytest.mark.slow
def test_each_option_is_learned_and_its_difference_reported(tmp_path):
    options_suite.main(["--options", "cosine", "norms", "starts", "auto_stop", "best_step",
                        "--concepts", "beer_mug", "flamingo", "--every", "2",
                        "--json", str(tmp_path / "report.json"), "--out", str(tmp_path), "--ddim_steps", "2", "--quick",
                        "--override", "lightning.trainer.max_steps=2", "data.params.batch_size=2"])
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) == {f"{part}/{m}" for m in MEASURES for part in (
        "default", "cosine_minus_default", "norms_minus_default", "starts_minus_default", "auto_stop_minus_default",
        "best_step_minus_default")}
    assert all(r["n"] == 1 for r in report.values()) and report["norms_minus_default/clip_i"]["value"] != 0
    runs = {folder.name: sorted(folder.glob("*")) for folder in tmp_path.iterdir() if folder.is_dir()}
    assert set(runs) == {"runs", "cosine", "norms", "starts", "auto_stop"} and all(len(r) == 1 for r in runs.values())
    assert len(list(runs["starts"][0].glob("seed-*"))) == 2


def test_what_was_measured_is_not_measured_again_and_counts(tmp_path, capsys):
    means = {"top1": 0.5, "top5": 1.0, "clip_i": 0.4, "background": 1.0, "both": 0.5}
    values = {"bagel": {"default": means, "cosine": means | {"top1": 0.75}},
              "flamingo": {"default": means | {"top1": 0.25}, "cosine": means | {"top1": 1.0}, "norms": means},
              "ram": {"default": means}}
    kept = tmp_path / "values.json"
    kept.write_text(json.dumps(values))
    options_suite.main(["--options", "cosine", "--concepts", "bagel", "flamingo", "--values", str(kept),
                        "--json", str(tmp_path / "report.json"), "--out", str(tmp_path / "words")])
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["cosine_minus_default/top1"]["value"] == pytest.approx(0.5)
    assert report["cosine_minus_default/top1"]["n"] == 2 and report["default/top1"]["n"] == 3
    assert not any(metric.startswith("norms") for metric in report)
    assert json.loads(kept.read_text()) == values and not (tmp_path / "words").exists()
    assert "cosine_minus_default/top1" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["[]", '{"bagel": {"default": {"top1": 1}}}', "{", '{"bagel": 3}'])
def test_other_files_of_values_are_refused_before_anything_is_learned(tmp_path, content):
    (tmp_path / "values.json").write_text(content)
    with pytest.raises(UserError, match="not what this command writes"):
        options_suite.main(["--values", str(tmp_path / "values.json"), "--out", str(tmp_path)])
