"""Grids of pictures and previews: when they are written, what they hold, and that training does not notice."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import make_log_new
import train_new
from ldm.data.personalized import PersonalizedBase
from ldm.data.pictures import to_image
from ldm.generate import sample_prompt
from load import instantiate_from_config
from make_log_new import ImageLogger
from tests.conftest import ROOT, assert_one_line_error, run_main
from tests.runs import EXACT, flags, only_run


class Module(torch.nn.Module):
    """Something with pictures to show, as Lightning's module has it."""

    @property
    def model(self):
        return self

    def log_images(self, batch, N):
        assert not self.training
        return {"inputs": batch[:N]}


class Trainer:
    is_global_zero = True
    loggers: list = []

    def __init__(self, folder):
        self.default_root_dir, self.global_step = folder, 0


def logged_steps(logger, trainer, steps):
    module, batch = Module().train(), torch.zeros(3, 3, 8, 8)
    for step in range(steps):
        trainer.global_step = step
        logger.on_train_batch_start(trainer, module, batch, step)
        trainer.global_step = step + 1
        logger.on_train_batch_end(trainer, module, None, batch, step)
        assert module.training
    logger.on_train_end(trainer, module)
    return sorted(int(p.stem[-6:]) for p in (trainer.default_root_dir / "images" / "train").glob("*.png"))


def test_at_the_start_every_n_steps_and_at_the_end(tmp_path):
    assert logged_steps(ImageLogger(batch_frequency=4, preview_prompts=[]), Trainer(tmp_path), 10) == [0, 4, 8, 10]


def test_once_a_step_and_early_steps_on_demand(tmp_path):
    logger = ImageLogger(batch_frequency=8, increase_log_steps=True, preview_prompts=[])
    assert logged_steps(logger, Trainer(tmp_path), 8) == [0, 1, 2, 4, 8]


def test_disabled(tmp_path):
    assert logged_steps(ImageLogger(disabled=True), Trainer(tmp_path), 5) == []


# Previews ------------------------------------------------------------------------------------------------------------

QUICK = {"ddim_steps": 1}


@pytest.fixture
def drawn(tmp_path, emoji_model):
    """drawn(logger, step): what a step's previews of the embedded model are."""
    data = PersonalizedBase(ROOT / "dataset/flamingo", size=64)
    trainer = SimpleNamespace(is_global_zero=True, loggers=[], default_root_dir=tmp_path, global_step=0,
                              train_dataloader=SimpleNamespace(dataset=data))

    def draw(logger, step):
        trainer.global_step = step
        logger.write_previews(trainer, emoji_model, tmp_path / "images/previews")
        with Image.open(tmp_path / f"images/previews/gs-{step:06}.png") as picture:
            return np.asarray(picture)

    return draw


def strip(folder):
    with Image.open(folder / "images/previews/strip.png") as picture:
        return np.asarray(picture)


def test_previews_are_comparable(drawn, emoji_model, tmp_path):
    """The same prompts from the same noise: with the same word the same pictures, whatever training drew meanwhile."""
    logger, word = ImageLogger(log_images_kwargs=QUICK), emoji_model.embedding_manager.string_to_param_dict["*"]
    first = drawn(logger, 0)
    torch.rand(7)
    assert np.array_equal(drawn(logger, 3), first)
    prompts = ["a photo of a *", "a * on a blue background", "a * and a red apple"]
    expected = sample_prompt(emoji_model, prompts, [emoji_model.seed] * 3, "dpm_solver", 1)
    assert np.array_equal(first, np.asarray(to_image(torch.cat(list(expected), dim=2))))
    kept = word.detach().clone()
    with torch.no_grad():
        word.add_(torch.randn_like(word))
    changed = drawn(logger, 4)
    with torch.no_grad():
        word.copy_(kept)
    assert not np.array_equal(changed, first)


def test_the_strip_grows_by_a_row_a_step_under_the_pictures(drawn, tmp_path):
    logger, heights = ImageLogger(log_images_kwargs=QUICK), []
    for step in (0, 5, 10):
        drawn(logger, step)
        heights.append(len(strip(tmp_path)))
    assert heights == [46 + 132 * (2 + n) for n in range(3)] and strip(tmp_path).shape[1] == 4 * 132
    assert len({strip(tmp_path)[46 + 132 * r : 174 + 132 * r, 132:].tobytes() for r in range(4)}) == 2, "pictures, rows"


def test_a_strip_has_what_was_drawn_in_the_same_way_before(drawn, tmp_path):
    for step in (0, 4, 8):
        drawn(ImageLogger(log_images_kwargs=QUICK), step)
    drawn(ImageLogger(log_images_kwargs=QUICK, preview_prompts=["two {}"]), 6)
    assert len(strip(tmp_path)) == 46 + 132 * 2, "other prompts begin a strip of their own"
    drawn(ImageLogger(log_images_kwargs=QUICK), 6)
    assert len(strip(tmp_path)) == 46 + 132 * 4, "steps 0, 4 and 6 of a run that goes on from there"


def test_a_strip_does_not_grow_for_ever(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(make_log_new, "MOST_ROWS", 3)
    logger = ImageLogger(log_images_kwargs=QUICK)
    for step in range(5):
        drawn(logger, step)
    assert len(strip(tmp_path)) == 46 + 132 * 4 and len(list((tmp_path / "images/previews").glob("gs-*"))) == 5


def test_prompts_of_ones_own_take_the_place_of_the_edits():
    assert ImageLogger(preview_prompts=["two {}", "a *"]).preview_prompts == ["a photo of a {}", "two {}", "a *"]
    assert len(ImageLogger().preview_prompts) == 3
    assert ImageLogger(preview_prompts=[]).preview_prompts == []
    assert ImageLogger(log_images_kwargs={"sample": False}).preview_prompts == []


def test_published_configs_get_previews():
    published = {"target": "main.ImageLogger", "params": {"batch_frequency": 500, "max_images": 8,
                                                          "increase_log_steps": False}}
    assert len(instantiate_from_config(published).preview_prompts) == 3


def test_previews_of_a_run_are_those_that_the_flag_names(tmp_path):
    result = run_main(train_new.main, *flags(tmp_path), "-t", *EXACT[:2], "lightning.trainer.max_steps=2",
                      "lightning.callbacks.image_logger.params.batch_frequency=1",
                      "lightning.callbacks.image_logger.params.log_images_kwargs.ddim_steps=1",
                      "--preview_prompt", "two {}", "a cat")
    assert result.status == 0 and "'a cat' does not contain *" in result.err and "'two *'" not in result.err
    folder = only_run(tmp_path)
    with Image.open(folder / "images/previews/gs-000002.png") as row:
        assert row.size == (3 * 128, 128) and '["a photo of a *", "two *", "a cat"]' in row.info["previews"]
    assert len(strip(folder)) == 46 + 132 * 4
    assert "two {}" in next(folder.glob("configs/*-lightning.yaml")).read_text()


def test_prompts_that_nobody_draws_are_refused(tmp_path):
    (tmp_path / "own.yaml").write_text(
        (ROOT / "configs/emoji/finetune.yaml").read_text().replace("make_log_new.ImageLogger", "torch.nn.Identity")
        .replace("  callbacks:", "  callbacks: {}\n  unused:"))
    result = run_main(train_new.main, *flags(tmp_path / "logs", base=tmp_path / "own.yaml"), "--preview_prompt", "a *")
    assert_one_line_error(result, "--preview_prompt", "image logger")
