"""The word to start from, found by itself."""

import json

import pytest
import torch
from omegaconf import OmegaConf

import train_new
from check import check_initword
from ldm import initial_word
from ldm.data.personalized import PersonalizedBase
from ldm.data.pictures import save_image, to_images
from ldm.generate import sample_prompt
from ldm.initial_word import NOUNS, Trial, candidates, find_words
from tests.conftest import EMBEDDING, EMOJI, ROOT, assert_one_line_error, run_main
from tests.runs import EXACT, flags, only_run

FEW = ["apple", "banana", "train", "tiger", "house", "umbrella", "guitar", "penguin", "moon", "key", "fish", "book"]
PUBLISHED = "configs/latent-diffusion/txt2img-1p4B-finetune.yaml"


@pytest.fixture
def few(monkeypatch):
    """Twelve words to choose from instead of 652."""
    monkeypatch.setattr(initial_word, "candidates", lambda embedder: list(FEW))
    monkeypatch.setattr(initial_word, "FINALISTS", 3)
    monkeypatch.setattr(initial_word, "ROUNDS", ((1.0, 1), (0.5, 4), (0.25, 8)))


@pytest.fixture(scope="module")
def bananas(tmp_path_factory, emoji_model):
    """What the model itself draws as a banana."""
    folder = tmp_path_factory.mktemp("bananas")
    for i, picture in enumerate(to_images(sample_prompt(emoji_model, "a banana", [0, 1, 2], "dpm_solver", 8))):
        save_image(picture, folder / f"{i}.png")
    return folder


def test_words_to_choose_from_are_nouns_of_one_piece_that_were_trained(emoji_model):
    words = candidates(emoji_model.cond_stage_model)
    assert len(words) == len(set(words)) > 600 and {"fruit", "bird", "banana", "house"} <= set(words)
    concepts = json.loads((ROOT / "models/clip/emoji/concepts.json").read_text(encoding="utf-8"))
    trained = {word for c in concepts if not c["held_out"] for word in f"{c['name']} {c['kind']}".lower().split()}
    assert set(words) <= trained and {"flamingo", "leopard", "sailboat", "bagel"}.isdisjoint(words)


def test_published_models_have_common_nouns(small_model):
    assert small_model.cond_stage_model.tokenizer_name == "bert-base-uncased"
    words = candidates(small_model.cond_stage_model)
    assert len(words) == len((ROOT / "ldm/data" / NOUNS).read_text().split()) > 500 and "sculpture" in words


def test_a_word_is_tried_as_if_it_stood_in_the_caption(emoji_model, bananas):
    trial = Trial(emoji_model, PersonalizedBase(bananas, size=64, flip_p=0.0), "*", 5)
    words = ["apple", "banana"]
    ids = torch.tensor([emoji_model.cond_stage_model.tknz_fn.ids(word)[0] for word in words])
    losses = trial.losses(ids, range(1, 5))
    dataset = PersonalizedBase(bananas, size=64, flip_p=0.0)
    for w, word in enumerate(words):
        for d in range(1, 5):
            item = dataset[d]
            z = emoji_model.get_first_stage_encoding(emoji_model.encode_first_stage(
                item["image"].permute(2, 0, 1)[None]).mode())
            with torch.no_grad():
                expected, _ = emoji_model.p_losses(
                    z, emoji_model.get_learned_conditioning([item["caption"].replace("*", word)]), trial.t[d : d + 1],
                    trial.noise[d : d + 1])
            assert float(losses[w, d - 1]) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.usefixtures("few")
def test_what_the_model_drew_as_a_word_is_that_word(emoji_model, bananas):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    found = find_words(emoji_model, PersonalizedBase(bananas, size=64, flip_p=0.0), "*")
    assert torch.equal(torch.rand(2), expected), "chance goes on as if nothing had happened"
    assert found[0][0] == "banana" and [loss for _, loss in found] == sorted(loss for _, loss in found)
    assert len(found) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("variant", [None, "v1", "v2"])
def test_a_run_starts_from_the_word_that_the_check_names(tmp_path, bananas, variant):
    base = f"configs/emoji/finetune{'-' + variant if variant else ''}.yaml"
    more = ("--variant", variant) if variant else ()
    result = run_main(check_initword.main, "--data_root", bananas, *more)
    assert result.status == 0, result.err
    first = result.out.splitlines()[2].split()[0]
    result = run_main(train_new.main, *flags(tmp_path / "a", base=base, data_root=bananas, init_word="auto"), "-t",
                      *EXACT, *more, "lightning.trainer.max_steps=2")
    assert result.status == 0, result.err
    assert first == "banana" and f"1 vector from {first!r} = {first}" in result.err
    run = only_run(tmp_path / "a")
    (project,) = run.glob("configs/*-project.yaml")
    assert list(OmegaConf.load(project).model.params.personalization_config.params.initializer_words) == [first]
    named = run_main(train_new.main, *flags(tmp_path / "b", base=base, data_root=bananas, init_word=first), "-t",
                     *EXACT, *more, "lightning.trainer.max_steps=2")
    assert named.status == 0
    states = [torch.load(r / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
              for r in (run, only_run(tmp_path / "b"))]
    assert states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    again = run_main(train_new.main, "-t", "--resume", run, "--init_word", "auto", "lightning.trainer.max_steps=3")
    assert again.status == 0 and "tells most" not in again.err, "the word was found when the run began"


def test_what_cannot_be_found_is_one_line(tmp_path):
    result = run_main(train_new.main, *flags(tmp_path / "logs", init_word="auto", embedding_manager_ckpt=EMBEDDING))
    assert_one_line_error(result, "--init_word auto", "--embedding_manager_ckpt")
    assert_one_line_error(run_main(check_initword.main), "--data_root")
    assert_one_line_error(run_main(check_initword.main, "cat", "--data_root", "dataset/bagel"), "--data_root")
    assert_one_line_error(run_main(check_initword.main, "--data_root", "dataset/none"), "dataset/none")
    assert_one_line_error(run_main(check_initword.main, "--data_root", "dataset/bagel", "--base",
                                   EMOJI.parent / "config.yaml"), "data.params.train")
