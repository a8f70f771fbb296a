"""Saved steps in the order of what they can do."""

import json
import shutil

import pytest
import torch
from PIL import Image

import load
import train_new
from ldm.data.chart import curves
from ldm.data.personalized import PersonalizedBase
from ldm.errors import UserError
from ldm.modules.embedding_manager import EmbeddingManager
from ldm.ranking import EDITS, Measured, StepRanking, best_of, rank_all, saved_steps, set_judge, spread
from tests.conftest import EMBEDDING, EMOJI, ROOT, assert_one_line_error, run_main
from tests.runs import EXACT, flags

JUDGE = "models/clip/emoji"


def test_steps_are_numbers_and_those_that_are_ranked_end_with_the_last(tmp_path):
    for name in ("embeddings_gs-5.pt", "embeddings_gs-100.pt", "embeddings_gs-20.pt", "embeddings.pt",
                 "embeddings_gs-x.pt", "embeddings_best.pt"):
        (tmp_path / name).touch()
    assert list(saved_steps(tmp_path)) == [5, 20, 100]
    assert spread([5, 20, 100], 6) == [5, 20, 100] and spread([5, 20, 100], 1) == [100]
    assert spread(list(range(50, 650, 50)), 6) == [100, 200, 300, 400, 500, 600]
    assert all(len(set(spread(list(range(n)), m))) == min(n, m) for n in range(1, 20) for m in range(1, 20))


def test_the_best_step_is_good_at_both_whatever_their_scales():
    rows = [(100, [0.1, 0.3], [0.31, 0.29]), (200, [0.4, 0.6], [0.3, 0.28]), (300, [0.41, 0.61], [0.16, 0.14])]
    for scale in (1, 0.1, 3):
        ranked = rank_all([Measured(step, [f * scale for f in fidelity], edits) for step, fidelity, edits in rows])
        assert best_of(ranked).step == 200 and ranked[1].score > max(ranked[0].score, ranked[2].score)
        assert ranked[2].error == 0
    assert best_of(rank_all([Measured(1, [-0.1], [-0.2])])).score == 0, "nothing to divide by"


def test_what_a_few_pictures_cannot_tell_is_left_to_the_last_step():
    surely = rank_all([Measured(100, [0.50, 0.60, 0.40], [0.3, 0.2]), Measured(200, [0.45, 0.55, 0.35], [0.3, 0.2])])
    perhaps = rank_all([Measured(100, [0.90, 0.40, 0.20], [0.3, 0.2]), Measured(200, [0.45, 0.55, 0.35], [0.3, 0.2])])
    assert surely[0].score > surely[1].score and best_of(surely).step == 100
    assert perhaps[0].score > perhaps[1].score and best_of(perhaps).step == 200
    assert best_of(rank_all([Measured(100, [0.5], [0.2]), Measured(200, [0.5], [0.2])])).step == 200


@pytest.fixture(scope="module")
def model():
    return load.load_model_from_config(load.load_config(EMOJI.parent / "config.yaml"), EMOJI)


@pytest.fixture
def run(tmp_path, model):
    """A run that learned the green apple, then lost it."""
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(EMBEDDING, tmp_path / "checkpoints/embeddings_gs-1.pt")
    for name in ("embeddings_gs-2.pt", "embeddings.pt"):
        EmbeddingManager(model.cond_stage_model, ["*"], ["train"]).save(tmp_path / "checkpoints" / name)
    return tmp_path


def test_saved_steps_are_ranked_by_what_they_draw(run, model, capsys):
    model.embedding_manager.load(run / "checkpoints/embeddings.pt")
    before = model.embedding_manager.string_to_param_dict["*"].detach().clone()
    ranking = StepRanking(JUDGE, ["a {} on a blue background"], pictures=2, sampling_steps=6)
    ranked = ranking.rank(model, PersonalizedBase(ROOT / "dataset/green_apple", size=64, flip_p=0.0), run)
    assert [row.step for row in ranked] == [1, 2] and ranked[0].fidelity > ranked[1].fidelity + 0.2
    assert (run / "checkpoints/embeddings_best.pt").read_bytes() == EMBEDDING.read_bytes()
    assert torch.equal(model.embedding_manager.string_to_param_dict["*"], before) and not model.training
    table = json.loads((run / "ranking.json").read_text())
    assert table["best"] == 1 and [row["step"] for row in table["steps"]] == [1, 2] and table["judge"] == JUDGE
    assert Image.open(run / "ranking.png").size == (480, 300)
    said = capsys.readouterr().err
    assert "best" in said.splitlines()[2] and "embeddings_best.pt is step 1" in said


@pytest.mark.parametrize("judge, edits, words", [
    ("configs/emoji", None, ["CLIP 'configs/emoji'"]), (JUDGE, "[a photo of a cat]", ["a photo of a cat", "{}"])])
def test_what_cannot_rank_is_said_before_anything_is_learned(tmp_path, judge, edits, words):
    more = [f"lightning.callbacks.ranking.params.edits={edits}"] if edits else []
    result = run_main(train_new.main, *flags(tmp_path / "logs", judge=judge), "-t", *EXACT, *more)
    assert_one_line_error(result, *words)
    assert not (tmp_path / "logs").exists()


def test_configs_with_a_judge_and_without():
    config = load.load_config("configs/latent-diffusion/txt2img-1p4B-finetune.yaml")
    set_judge(config, "off")
    assert "ranking" not in config.lightning.callbacks
    set_judge(config, "openai/clip-vit-base-patch32")
    checked = load.check_config(config, ["lightning"]).lightning.callbacks.ranking
    assert checked.params.judge == "openai/clip-vit-base-patch32" and not checked.params.disabled
    assert load.instantiate_from_config(checked).edits == list(EDITS)
    config = load.load_config("configs/emoji/finetune.yaml")
    set_judge(config, "off")
    assert config.lightning.callbacks.ranking.params.disabled and config.lightning.callbacks.ranking.params.edits


def test_edits_have_a_place_for_the_word():
    with pytest.raises(UserError, match="no {} in it"):
        StepRanking(JUDGE, ["a cat"]).check()


def test_curves_of_one_step_and_of_values_that_do_not_change():
    for steps, values in (([5], [0.5]), ([1, 2, 9], [0.3] * 3), ([1, 2, 9], [-0.1, 0.2, 0.1])):
        picture = curves(steps, {"one": values, "two": values, "three": values}, steps[0])
        assert picture.size == (480, 450) and len(set(picture.convert("L").tobytes())) > 2
