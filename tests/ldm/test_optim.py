"""The optimizer the embedded model is trained with."""

import torch

from ldm.optim import muon_and_adam, whitening


def test_updates_are_nearly_orthogonal():
    torch.manual_seed(0)
    for shape in ((3, 40, 90), (2, 40, 120), (1, 4, 576)):
        x = torch.randn(shape)
        x /= x.norm(dim=(1, 2), keepdim=True)
        values = torch.linalg.svdvals(whitening(x) @ x)
        assert values.shape[1] == shape[1] and values.min() > 0.6 and values.max() < 1.3


def test_every_parameter_is_trained_once_and_the_loss_goes_down():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(10, 8), torch.nn.Unflatten(1, (8, 1, 1)), torch.nn.Conv2d(8, 6, 1),
                                torch.nn.GroupNorm(2, 6), torch.nn.Flatten(), torch.nn.Linear(6, 4))
    muon, adam = muon_and_adam(model, lr=0.01)
    matrices, rest = ([p for group in o.param_groups for p in group["params"]] for o in (muon, adam))
    assert {id(p) for p in matrices} == {id(model[2].weight), id(model[5].weight)}
    assert len({id(p) for p in matrices + rest}) == len(list(model.parameters())) == len(matrices + rest)
    ids, target = torch.arange(10), torch.randn(10, 4)
    losses = []
    for _ in range(100):
        loss = (model(ids) - target).square().mean()
        loss.backward()
        for optimizer in (muon, adam):
            optimizer.step()
            optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
