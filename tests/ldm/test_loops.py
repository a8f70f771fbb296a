"""Going on from any step: what a training loop does then is what one does that was not stopped."""

import copy
import logging

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ldm.data.data_module import PositionSampler
from ldm.inversion import fit_loop_state


class Steps(pl.LightningModule):
    """Trains one number, and records what happens: positions, steps, epochs, validation, steps as loggers see them."""

    def __init__(self, limits):
        super().__init__()
        self.number, self.happened, self.size = torch.nn.Parameter(torch.zeros(1)), [], limits["size"]
        self.kept, self.limits = {}, limits

    def record(self, what, batch):
        loop = self.trainer.fit_loop.epoch_loop
        self.happened.append((what, batch.tolist(), self.global_step, self.current_epoch, loop._batches_that_stepped))

    def training_step(self, batch, batch_idx):
        self.record("train", batch)
        return (self.number * (1 + batch.float().sum())).sum()

    def validation_step(self, batch, batch_idx):
        self.record("validate", batch)

    def train_dataloader(self):
        return DataLoader(range(10**6), 1, sampler=PositionSampler(self.trainer, self.size, 1))

    def val_dataloader(self):
        return DataLoader([0, 1], 1)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.1)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        last = batch_idx + 1 == self.trainer.num_training_batches
        if last or (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0:
            state = copy.deepcopy(self.trainer._checkpoint_connector.dump_checkpoint())
            self.kept[self.global_step] = state, len(self.happened)

    def on_load_checkpoint(self, checkpoint):
        batches = PositionSampler(self.trainer, self.size, 1).batches
        limit = self.trainer.limit_train_batches
        checkpoint["loops"]["fit_loop"] = fit_loop_state(
            checkpoint["global_step"], min(batches, limit) if isinstance(limit, int) else batches,
            self.trainer.accumulate_grad_batches, self.trainer.max_steps != -1)


def fit(limits, folder, checkpoint=None):
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    more = {} if limits["part"] is None else {"limit_train_batches": limits["part"]}
    module = Steps(limits)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                         enable_model_summary=False, num_sanity_val_steps=0, max_steps=limits["steps"],
                         max_epochs=limits["epochs"], accumulate_grad_batches=limits["accumulation"],
                         limit_val_batches=limits["validation"], val_check_interval=limits["interval"], **more)
    path = None
    if checkpoint is not None:
        path = folder / "state.ckpt"
        torch.save(checkpoint, path)
    trainer.fit(module, ckpt_path=path, weights_only=True)
    return module


@pytest.mark.filterwarnings("ignore:.*dataloader is not resumable.*", "ignore:.*LeafSpec.*")
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data(), size=st.integers(1, 7), accumulation=st.integers(1, 3), validation=st.booleans(),
       part=st.none() | st.integers(1, 5), by_epoch=st.booleans(), interval=st.sampled_from([1.0, 0.5]))
def test_what_happens_after_any_step_is_what_happens_without_a_stop(tmp_path_factory, data, size, accumulation,
                                                                    validation, part, by_epoch, interval):
    limits = {"size": size * accumulation, "accumulation": accumulation, "validation": 2 * validation, "part": part,
              "steps": -1 if by_epoch else 11, "epochs": 3 if by_epoch else None, "interval": interval}
    whole = fit(limits, None)
    step = data.draw(st.sampled_from(sorted(whole.kept)))
    checkpoint, before = whole.kept[step]
    resumed = fit(limits, tmp_path_factory.mktemp("state"), checkpoint)
    expected = whole.happened[before:]
    while expected and expected[0][0] == "validate":  # of the epoch, or part of one, that ended with that step
        expected = expected[1:]
    assert resumed.happened == expected
    assert torch.equal(resumed.number, whole.number)
