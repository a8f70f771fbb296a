"""The network, and the prompt's ways into it."""

import torch

from ldm.modules.attention import CachedContext
from ldm.modules.diffusionmodules.openaimodel import UNetModel


def test_a_pooled_prompt_reaches_every_block():
    """At first it changes nothing; once it does, kept keys and values change nothing."""
    torch.manual_seed(0)
    sizes = {"in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": 1, "context_dim": 16,
             "attention_resolutions": [2], "channel_mult": [1, 2], "num_head_channels": 32}
    plain, pooled = UNetModel(**sizes), UNetModel(**sizes, pooled_context=True)
    with torch.no_grad():
        for p in plain.parameters():  # some projections start at zero
            p += 0.05 * torch.randn_like(p)
    assert pooled.load_state_dict(plain.state_dict(), strict=False).missing_keys == [
        "context_embed.weight", "context_embed.bias"]
    x, t, context = torch.randn(2, 4, 8, 8), torch.tensor([10, 900]), torch.randn(2, 5, 16)
    with torch.no_grad():
        before = plain(x, t, context)
        assert torch.equal(pooled(x, t, context), before)
        pooled.context_embed.weight.normal_()
        after = pooled(x, t, context)
        assert not torch.allclose(after, before, atol=1e-3)
        assert torch.allclose(pooled(x, t, CachedContext(context)), after, atol=1e-5)


def test_a_prompt_draws_the_map_the_network_starts_from():
    torch.manual_seed(0)
    sizes = {"in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": 1, "num_head_channels": 16,
             "attention_resolutions": [2], "channel_mult": [1, 2], "context_dim": 16, "image_size": 8}
    plain, mapped = UNetModel(**sizes).eval(), UNetModel(**sizes, context_map=True).eval()
    for model in (plain, mapped):
        torch.nn.init.normal_(model.out[-1].weight)
    assert all(n.startswith("context_map.") for n in
               mapped.load_state_dict(plain.state_dict(), strict=False).missing_keys)
    context, t = torch.randn(2, 5, 16), torch.tensor([3, 900])
    for side in (8, 16):  # the map is stretched over larger latents
        x = torch.randn(2, 4, side, side)
        with torch.no_grad():
            torch.nn.init.zeros_(mapped.context_map.out.weight)
            assert torch.equal(mapped(x, t, context), plain(x, t, context))  # nothing is drawn at the start
            mapped.context_map.out.weight.normal_()
            after = mapped(x, t, context)
            assert not torch.allclose(after, plain(x, t, context), atol=1e-3)
            assert torch.allclose(mapped(x, t, CachedContext(context)), after, atol=1e-5)
