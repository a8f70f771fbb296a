"""Modules with shapes and without weights."""

import torch

import load
from ldm.modules.meta import without_weights
from tests.conftest import GOLDEN


def block() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(),
                               torch.nn.Linear(8, 4), torch.nn.Embedding(5, 4), torch.nn.MultiheadAttention(4, 2))


def test_within_it_parameters_have_shapes_alone():
    with without_weights():
        bare = block()
    for (name, p), (_, real) in zip(bare.named_parameters(), block().named_parameters(), strict=True):
        assert p.is_meta and p.shape == real.shape and p.requires_grad == real.requires_grad, name
    assert not any(p.is_meta for p in block().parameters()), "outside of it all is as before"


def test_nothing_is_initialised():
    """Not even a random number is drawn, and what is built before and after draws its own."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with without_weights():
        block()
    assert torch.equal(torch.rand(3), expected)
    kept = torch.ones(4, device="cpu")
    with without_weights():
        assert torch.nn.init.uniform_(kept) is kept and torch.nn.init.normal_(tensor=kept) is kept
    assert torch.equal(kept, torch.ones(4))


def test_weights_that_are_loaded_then_make_it_the_module_it_would_have_been():
    torch.manual_seed(0)
    real = block().eval()
    with without_weights():
        bare = block().eval()
    bare.load_state_dict(real.state_dict(), assign=True)
    for (name, p), (_, q) in zip(bare.named_parameters(), real.named_parameters(), strict=True):
        assert isinstance(p, torch.nn.Parameter) and torch.equal(p, q), name
    x = torch.randn(2, 3, 3, 3)
    assert torch.equal(bare[:4](x), real[:4](x))


def test_a_whole_model_is_on_meta_but_for_its_schedule():
    model = load.meta_model(load.load_config(GOLDEN / "config.yaml"), None)
    assert all(p.is_meta for p in model.parameters())
    assert not any(b.is_meta for b in (model.betas, model.alphas_cumprod, model.logvar, model.lvlb_weights))
    loaded = load.load_model_from_config(load.load_config(GOLDEN / "config.yaml"), GOLDEN / "model.ckpt")
    assert not any(t.is_meta for t in [*loaded.parameters(), *loaded.buffers()])
