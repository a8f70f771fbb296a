"""Several starts of a run: the best is kept, each is a run that can go on."""

import pytest
import torch
from omegaconf import OmegaConf

import train_new
import train_new_v1
from ldm.embedding_files import read_embeddings
from ldm.starts import keep_best
from tests.conftest import assert_one_line_error, run_main
from tests.runs import EXACT, flags, learned, only_run


def made(tmp_path, losses, stop=None):
    """keep_best with starts that leave their seed in two files, and have these losses."""
    def learn(seed, folder):
        if seed == stop:
            raise SystemExit(130)
        folder = folder or tmp_path / "run"
        (folder / "checkpoints").mkdir(parents=True)
        for name in ("note", "checkpoints/word"):
            (folder / name).write_text(str(seed))
        return losses[seed], folder
    keep_best(list(losses), learn)


@pytest.mark.parametrize("losses, best", [({5: 1.0, 6: 2.0, 7: 3.0}, 5), ({5: 2.0, 6: 1.0, 7: 3.0}, 6),
                                          ({5: 2.0, 6: 3.0, 7: 1.0}, 7), ({5: 1.0, 6: 1.0}, 5)])
def test_the_run_folder_is_the_best_starts_and_the_others_have_their_own(tmp_path, losses, best, capsys):
    made(tmp_path, losses)
    folders = {best: tmp_path / "run"} | {seed: tmp_path / f"run/seed-{seed}" for seed in losses if seed != best}
    for seed, folder in folders.items():
        assert (folder / "note").read_text() == (folder / "checkpoints/word").read_text() == str(seed)
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"note", "checkpoints"} | {
        f"seed-{seed}" for seed in losses if seed != best}
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(losses) and [line for line in said if line.endswith("the best")] == [
        line for line in said if line.startswith(f"seed {best}:")]


def test_after_an_interruption_nothing_is_moved(tmp_path, capsys):
    with pytest.raises(SystemExit):
        made(tmp_path, {5: 2.0, 6: 1.0, 7: 3.0}, stop=7)
    assert (tmp_path / "run/note").read_text() == "5" and (tmp_path / "run/seed-6/note").read_text() == "6"
    assert "2 of 3 starts are learned, and none is chosen" in capsys.readouterr().err


def test_starts_and_a_run_that_goes_on_exclude_each_other(tmp_path):
    assert_one_line_error(run_main(train_new.main, "-t", "--resume", tmp_path, "--seeds", "2"), "--seeds 2")
    assert_one_line_error(run_main(train_new.main, *flags(tmp_path / "logs"), "--seeds", "0"), "--seeds")


@pytest.mark.slow
def test_starts_are_runs_with_their_seeds_and_the_best_goes_on_exactly(tmp_path):
    more = ("-t", *EXACT, "lightning.trainer.max_steps=3", "model.base_learning_rate=0.05")
    result = run_main(train_new.main, *flags(tmp_path / "three"), *more, "--seeds", "3", "--seed", "4")
    assert result.status == 0, result.err
    assert result.err.count("learned at step 3\n") == 3, "without a folder, which may be moved"
    run = only_run(tmp_path / "three")
    losses = {int(line.split()[1][:-1]): float(line.split()[3]) for line in result.err.splitlines()
              if line.startswith("seed ")}
    best = min(losses, key=losses.get)
    assert set(losses) == {4, 5, 6} and len(set(losses.values())) == 3
    folders = {best: run} | {seed: run / f"seed-{seed}" for seed in losses if seed != best}
    for seed, folder in folders.items():
        config = OmegaConf.load(next(folder.glob("configs/*-project.yaml")))
        assert config.run.seed == config.data.params.train.params.seed == seed
        alone = run_main(train_new.main, *flags(tmp_path / f"alone{seed}"), *more, "--seed", seed)
        assert alone.status == 0 and torch.equal(learned(folder), learned(only_run(tmp_path / f"alone{seed}")))
    for logs in (run, only_run(tmp_path / f"alone{best}")):
        assert run_main(train_new.main, "-t", "--resume", logs, "lightning.trainer.max_steps=5").status == 0
    assert torch.equal(learned(run), learned(only_run(tmp_path / f"alone{best}")))


@pytest.mark.slow
@pytest.mark.parametrize("main", [train_new.main, train_new_v1.main], ids=["base", "v1"])
def test_kept_norms_are_those_of_words_at_every_step_and_after_going_on(tmp_path, main, emoji_model):
    usual = float(emoji_model.cond_stage_model.token_embeddings.weight.norm(dim=1).median())
    more = ("-t", *EXACT, "model.params.preserve_embedding_norm=true", "model.base_learning_rate=0.05")
    for name, steps in (("whole", 4), ("part", 2)):
        result = run_main(main, *flags(tmp_path / name), *more, f"lightning.trainer.max_steps={steps}")
        assert result.status == 0, result.err
    whole, part = only_run(tmp_path / "whole"), only_run(tmp_path / "part")
    for step in range(1, 5):
        vectors = read_embeddings(whole / f"checkpoints/embeddings_gs-{step}.pt")["*"]
        assert vectors.norm(dim=1).tolist() == pytest.approx([usual], rel=1e-5)
    assert run_main(main, "-t", "--resume", part, "lightning.trainer.max_steps=4").status == 0
    assert torch.equal(learned(part), learned(whole))
