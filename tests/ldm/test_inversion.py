"""What a training step and a checkpoint hold."""

import pytest
import torch

from ldm.errors import UserError
from ldm.inversion import TextualInversion


def test_checkpoints_hold_what_is_learned(small_model):
    inversion = TextualInversion(small_model)
    checkpoint = {"state_dict": inversion.state_dict()}
    inversion.on_save_checkpoint(checkpoint)
    assert list(checkpoint["state_dict"]) == ["embedding_manager.string_to_param_dict.*"]
    kept = checkpoint["state_dict"]["embedding_manager.string_to_param_dict.*"].clone()
    checkpoint["state_dict"] = {n: v + 1 for n, v in checkpoint["state_dict"].items()}
    inversion.on_load_checkpoint(checkpoint)
    inversion.load_state_dict(checkpoint["state_dict"], strict=False)
    assert torch.equal(small_model.embedding_manager.string_to_param_dict["*"], kept + 1)


def test_a_loss_that_is_not_finite_stops(small_model):
    model = small_model.train()
    with torch.no_grad():
        model.embedding_manager.string_to_param_dict["*"].fill_(float("nan"))
    with pytest.raises(UserError, match="not finite at step 0; lower model.base_learning_rate"):
        TextualInversion(model).training_step({"image": torch.rand(1, 16, 16, 3), "caption": ["*"], "key": ["a"]}, 0)
