"""What the files of a run say of the word's making, also when the run was stopped, went on, or started from a file."""

import pytest
import torch

import train_new
from ldm.embedding_files import read_words
from ldm.provenance import weights_identity
from tests.conftest import EMOJI, run_main
from tests.runs import EXACT, flags, only_run

NOISE = "model.params.personalization_config.params.initializer_words=null"


def train(*arguments):
    result = run_main(train_new.main, "-t", *arguments)
    assert result.status == 0, result.err


def provenance(run, step):
    """What the file of a step and the one of now say."""
    known = read_words(run / f"checkpoints/embeddings_gs-{step}.pt").provenance["*"]
    now = read_words(run / "checkpoints/embeddings.pt").provenance["*"]
    assert now == known and torch.equal(now.start, known.start)
    return known


@pytest.mark.slow
def test_a_run_says_what_its_word_was_made_from(tmp_path, emoji_model):
    train(*flags(tmp_path), *EXACT, "lightning.trainer.max_steps=2")
    run, encoder = only_run(tmp_path), emoji_model.cond_stage_model
    known = provenance(run, 2)
    assert (known.text_encoder, known.model, known.init_word) == (weights_identity(encoder), EMOJI.name, "bird")
    assert torch.equal(known.start, encoder.token_embeddings.weight[encoder.tknz_fn.ids("bird")])
    assert len(known.pictures) == len(set(known.pictures)) == 5 and {len(p) for p in known.pictures} == {64}
    assert known.rate and known.version
    first = read_words(run / "checkpoints/embeddings_gs-1.pt").provenance["*"]
    assert first == known.at(1) and torch.equal(first.start, known.start)
    assert set(torch.load(run / "checkpoints/embeddings.pt", weights_only=False)) == {
        "string_to_token", "string_to_param", "provenance"}

    file = run / "checkpoints/embeddings.pt"
    more = flags(tmp_path / "more", embedding_manager_ckpt=file, init_word=None)
    train(*more, *EXACT, "lightning.trainer.max_steps=1")
    more = provenance(only_run(tmp_path / "more"), 1)
    assert more.init_word is None and torch.equal(more.start, read_words(file).vectors["*"])


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_where_it_started(tmp_path):
    """From noise, which another seed would draw otherwise."""
    train(*flags(tmp_path, init_word=None), *EXACT, NOISE, "lightning.trainer.max_steps=1")
    run = only_run(tmp_path)
    before = provenance(run, 1)
    train("--resume", run, "--seed", 7, "model.base_learning_rate=0.02", "lightning.trainer.max_steps=2")
    after = provenance(run, 2)
    assert torch.equal(after.start, before.start) and after.init_word is None
    assert after.rate == 0.02 and (after.step, after.pictures) == (2, before.pictures)
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    torch.save({k: v for k, v in state.items() if k != "start"}, run / "checkpoints/last.ckpt")  # of an earlier version
    train("--resume", run, "lightning.trainer.max_steps=3")
    assert provenance(run, 3).step == 3
