"""Packed layers compute what plain ones do, and a model that only draws draws the same."""

import copy

import pytest
import torch
from torch import nn

from ldm.generate import draw_only, sample_prompt
from ldm.modules import packing
from ldm.modules.ema import LitEma
from load import load_config, load_model_from_config
from tests.conftest import EMOJI


@pytest.fixture
def drawing_model():
    """The embedded model, to be changed."""
    return load_model_from_config(load_config(EMOJI.parent / "config.yaml"), EMOJI)


pytestmark = pytest.mark.skipif(not packing.can_pack(torch.float32), reason="no oneDNN kernels in this PyTorch")


def test_layers_held_in_half_are_what_autocast_makes_of_them(drawing_model):
    x, t, context = torch.randn(2, 4, 16, 16), torch.tensor([5, 900]), torch.randn(2, 77, 192)
    network = drawing_model.model
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cast_at_every_call = network(x, t, context)
        packing.hold(network, torch.bfloat16)
        assert torch.equal(network(x, t, context), cast_at_every_call)
    assert network.diffusion_model.out[0].weight.dtype == torch.float32
    drawn = sample_prompt(drawing_model, "a red apple", [1], steps=2)  # whatever the precision asked for
    assert torch.isfinite(drawn).all()


def close(a, b, relative=1e-5):
    assert a.shape == b.shape and (a - b).abs().max() <= relative * b.abs().max()


@pytest.mark.parametrize("layer, sizes", [
    (nn.Linear(24, 40), [(5, 24), (2, 7, 24), (1, 24)]), (nn.Linear(24, 40, bias=False), [(3, 24)]),
    (nn.Conv2d(8, 16, 3, padding=1), [(2, 8, 9, 7), (1, 8, 4, 4)]), (nn.Conv2d(8, 16, 1), [(2, 8, 5, 5)]),
    (nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), [(1, 8, 8, 8)]),
    (nn.Conv2d(8, 16, 3, groups=2, dilation=2), [(1, 8, 8, 8)])])
def test_a_packed_layer_is_the_plain_one_for_inputs_of_any_size(layer, sizes):
    packed = nn.Sequential(copy.deepcopy(layer))
    packing.pack(packed)
    assert isinstance(packed[0], packing.Packed)
    with torch.no_grad():
        for size in (*sizes, sizes[0]):
            x = torch.randn(size)
            close(packed(x), layer(x))
            if len(size) == 4:
                close(packed(x.contiguous(memory_format=torch.channels_last)), layer(x))


def test_what_cannot_be_packed_stays_as_it_is():
    network = nn.ModuleDict({"same": nn.Conv2d(4, 4, 3, padding="same"), "ring": nn.Conv2d(4, 4, 3, padding=1,
                             padding_mode="circular"), "to_k": nn.Linear(4, 4), "norm": nn.LayerNorm(4)})
    before = dict(network.items())
    packing.pack(network, skip=("to_k",))
    assert dict(network.items()) == before
    assert not packing.can_pack(torch.float16)


@pytest.mark.parametrize("precision, largest", [("full", 1e-4), ("bf16", 0.15)])
def test_a_model_that_only_draws_draws_the_same(drawing_model, precision, largest):
    model = drawing_model
    plain = sample_prompt(model, "a red apple", [1, 2], steps=4)
    draw_only(model, precision)
    packs = packing.can_pack(torch.bfloat16 if precision == "bf16" else torch.float32)  # not everywhere
    assert isinstance(model.model.diffusion_model.out[2], packing.Packed) == packs
    for _ in range(2):
        assert (sample_prompt(model, "a red apple", [1, 2], steps=4, precision=precision) - plain).abs().max() < largest


def test_averaged_weights_are_the_ones_that_draw(drawing_model):
    model = drawing_model
    model.model_ema = LitEma(model.model)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.mul_(0.5)
    averaged = sample_prompt(model, "a red apple", [1], steps=2)
    draw_only(model)
    assert model.model_ema is None and (sample_prompt(model, "a red apple", [1], steps=2) - averaged).abs().max() < 1e-4


def test_what_is_paged_out_comes_back(tmp_path):
    values = torch.arange(1_000_000, dtype=torch.float32)
    values.numpy().tofile(tmp_path / "file")
    mapped = torch.from_file(str(tmp_path / "file"), shared=False, size=len(values))
    for tensor in (values.clone(), mapped, mapped[3:70_000], torch.ones(3), torch.empty(0)):
        before = tensor.clone()
        packing.page_out(tensor)
        assert torch.equal(tensor, before)
