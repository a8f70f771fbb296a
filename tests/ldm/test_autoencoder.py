"""The autoencoder: pixels that go into channels first."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ldm.generate import pixel_stride
from ldm.models.autoencoder import AutoencoderKL
from load import load_config
from tests.conftest import EMOJI

PLAIN = {"double_z": True, "z_channels": 4, "resolution": 64, "in_channels": 3, "out_ch": 3, "ch": 32,
         "ch_mult": [1, 2, 4], "num_res_blocks": 1, "attn_resolutions": [], "norm_groups": 8}


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_patches_shrink_pictures_and_grow_again(patch):
    model = AutoencoderKL({**PLAIN, "ch": 8, "patch": patch}, 4)
    x = torch.randn(2, 3, 32, 64)
    assert model.downsampling == 4 * patch
    z = model.encode(x).mode()
    assert z.shape == (2, 4, 8 // patch, 16 // patch)
    assert model.decode(z).shape == x.shape


def test_without_patches_nothing_is_otherwise():
    torch.manual_seed(0)
    plain = AutoencoderKL(PLAIN, 4)
    torch.manual_seed(0)
    same = AutoencoderKL({**PLAIN, "patch": 1}, 4)
    x = torch.randn(1, 3, 16, 16)
    assert plain.state_dict().keys() == same.state_dict().keys()
    assert torch.equal(plain(x, sample_posterior=False)[0], same(x, sample_posterior=False)[0])


def test_a_patch_is_a_square_of_pixels():
    """The first convolution sees the pixels of a square as channels: what it makes of one depends on no other."""
    model = AutoencoderKL({**PLAIN, "ch": 8, "patch": 2}, 4)
    seen = []
    model.encoder.conv_in.register_forward_hook(lambda module, given, made: seen.append(given[0]))
    x = torch.zeros(1, 3, 16, 16)
    x[0, :, 4:6, 8:10] = 1
    model.encode(x)
    assert seen[0].shape == (1, 12, 8, 8) and (seen[0][0, :, 2, 4] == 1).all() and seen[0].sum() == 12


def test_patches_keep_a_picture_of_twice_the_side_as_cheap():
    def flops(**changes):
        model = AutoencoderKL({**PLAIN, **changes}, changes.get("z_channels", 4))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, 3, changes.get("resolution", 64), changes.get("resolution", 64)))
        return counter.get_total_flops()

    assert flops(resolution=128, z_channels=8, patch=2) < 1.05 * flops()


def test_what_sizes_must_be_a_multiple_of_counts_the_patch():
    model = load_config(EMOJI.parent / "config.yaml").model
    assert pixel_stride(model) == 32
    model.params.first_stage_config.params.ddconfig.patch = 1
    assert pixel_stride(model) == 16
