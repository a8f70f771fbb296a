"""Frozen layers compute what plain ones do, forward and back."""

import copy

import pytest
import torch
from torch import nn

from ldm.modules.frozen import FrozenConv2d, FrozenLinear, freeze
from ldm.modules.packing import can_pack, channels_last
from tests.ldm.test_packing import close

pytestmark = pytest.mark.skipif(not can_pack(torch.float32), reason="no oneDNN kernels in this PyTorch")


@pytest.mark.parametrize("layer, sizes", [
    (nn.Linear(24, 40), [(5, 24), (2, 7, 24)]), (nn.Linear(24, 40, bias=False), [(3, 24)]),
    (nn.Conv2d(8, 64, 3, padding=1), [(2, 8, 4, 4), (1, 8, 3, 5), (2, 8, 9, 7)]),
    (nn.Conv2d(8, 64, 3, padding=1, bias=False), [(1, 8, 1, 1)])])
def test_a_frozen_layer_is_the_plain_one_with_its_gradient(layer, sizes):
    plain, frozen = nn.Sequential(layer.requires_grad_(False)), nn.Sequential(copy.deepcopy(layer))
    channels_last(frozen)
    freeze(frozen)
    assert type(frozen[0]) in (FrozenLinear, FrozenConv2d)
    assert list(frozen.state_dict()) == list(plain.state_dict())
    for size in sizes:
        for x in (torch.randn(size), torch.randn(*size[:-2], size[-1], size[-2]).transpose(-1, -2)):
            outputs, gradients = [], []
            for network in (frozen, plain):
                leaf = x.clone().requires_grad_()
                outputs.append(network(leaf))
                (outputs[-1] * torch.arange(outputs[-1].shape[-1])).sum().backward()
                gradients.append(leaf.grad)
            close(*outputs)
            close(*gradients)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(frozen(x), plain(x))
        assert frozen(x).dtype == torch.bfloat16


def test_what_learns_or_is_of_another_shape_is_not_frozen():
    network = nn.Sequential(nn.Linear(4, 4), nn.Conv2d(4, 64, 3, padding=1, stride=2).requires_grad_(False),
                            nn.Conv2d(4, 64, 1).requires_grad_(False))
    freeze(network)
    assert [type(layer) for layer in network] == [nn.Linear, nn.Conv2d, nn.Conv2d]


def test_what_is_to_learn_again_has_gradients_again():
    network = nn.Sequential(nn.Linear(4, 4)).requires_grad_(False)
    freeze(network)
    network.requires_grad_()(torch.ones(1, 4)).sum().backward()
    assert network[0].weight.grad is not None
