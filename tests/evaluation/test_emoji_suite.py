"""The report card: its arithmetic, and a small one made with real training."""

import json

import pytest
from PIL import Image

from evaluation import emoji_suite, evaluate, gallery
from ldm.errors import UserError
from tests.conftest import ROOT, assert_one_line_error, run_main


@pytest.mark.slow
def test_a_quick_report_card_and_what_is_made_of_the_words_it_learned(tmp_path):
    """Two words are learned, in a fifth of the steps that are the default; then a gallery and an evaluation of one."""
    quick = ["--override", "lightning.trainer.max_steps=60", "data.params.batch_size=4",
             "model.base_learning_rate=0.003"]
    emoji_suite.main(["--quick", "--json", str(tmp_path / "report.json"), "--out", str(tmp_path), "--ddim_steps", "10",
                      *quick])
    report = json.loads((tmp_path / "report.json").read_text())
    parts = {"seen": ["top1", "top5", "background", "both"],
             "heldout": ["top1", "top5", "clip_i", "background", "both"],
             "initword": ["top1", "top5", "clip_i", "background", "both"]}
    assert {f"{part}/{name}" for part, names in parts.items() for name in names} <= set(report)
    assert all(r["low"] <= r["value"] <= r["high"] and r["n"] > 0 for r in report.values())
    value = {name: r["value"] for name, r in report.items()}
    assert value["seen/top5"] > 0.6 and value["seen/background"] > 0.9 and value["ceiling/seen/top1"] > 0.9
    assert value["heldout/clip_i"] > value["initword/clip_i"] + 0.3 and value["heldout/background"] > 0.6
    sheets, runs = sorted(tmp_path.glob("*.png")), sorted(tmp_path.glob("runs/*"))
    assert len(sheets) == len(runs) == 2

    name, out = sheets[0].stem, tmp_path / "looked at"
    gallery.main(["--concepts", name, "--out", str(tmp_path), "--picture", str(out / "gallery.png"),
                  *quick])
    assert sorted(tmp_path.glob("runs/*")) == runs, "it learned again what was there"
    assert Image.open(out / "gallery.png").size == (132 * (3 + 5), 46 + 132)
    word = next(tmp_path.glob(f"runs/*_{name}/checkpoints/embeddings.pt"))
    evaluate.main(["--embedding_path", str(word), "--data_root", str(ROOT / "dataset" / name), "--n_samples", "1",
                   "--ddim_steps", "8", "--out", str(out)])
    report = json.loads((out / "report.json").read_text())
    assert 0 < report["fidelity"]["low"] <= report["fidelity"]["value"] < 1 and report["editability"]["n"] > 1
    assert (out / "sheet.png").is_file()


def test_unknown_concepts_are_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="zeppelin: not among the held-out"):
        emoji_suite.main(["--concepts", "zeppelin"])
    with pytest.raises(UserError, match="no folder here"):
        emoji_suite.main(["--data_root", str(tmp_path), "--parts", "heldout"])


def test_typed_prompts_are_drawn_and_their_readings_printed(tmp_path):
    result = run_main(gallery.main, "--typed", "*랑 우주비행사", "--ddim_steps", "2",
                      "--picture", tmp_path / "typed.png")
    assert result.status == 0 and "| *랑 우주비행사 | a *; not understood: 우주비행사 |" in result.out, result.err
    assert Image.open(tmp_path / "typed.png").size == (128, 128)
    assert_one_line_error(run_main(gallery.main, "--typed", "x", "--word", "none.pt"), "none.pt")
