"""Grids of pictures: when they are written, what they hold, and that training does not notice."""

import torch

from make_log_new import ImageLogger


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
    assert logged_steps(ImageLogger(batch_frequency=4), Trainer(tmp_path), 10) == [0, 4, 8, 10]


def test_once_a_step_and_early_steps_on_demand(tmp_path):
    logger = ImageLogger(batch_frequency=8, increase_log_steps=True)
    assert logged_steps(logger, Trainer(tmp_path), 8) == [0, 1, 2, 4, 8]


def test_disabled(tmp_path):
    assert logged_steps(ImageLogger(disabled=True), Trainer(tmp_path), 5) == []
