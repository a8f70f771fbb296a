"""Exponential moving average of weights."""

import torch
from torch import nn


class LitEma(nn.Module):
    """Shadow weights of a module, in buffers named like its parameters without the dots.

    The decay grows with the number of updates, min(decay, (1 + n) / (10 + n)), so that early averages follow quickly.
    """

    decay: torch.Tensor        # []
    num_updates: torch.Tensor  # int64 []

    def __init__(self, model: nn.Module, decay: float = 0.9999):
        super().__init__()
        self.register_buffer("decay", torch.tensor(decay))
        self.register_buffer("num_updates", torch.tensor(0, dtype=torch.int64))
        for name, parameter in model.named_parameters():
            self.register_buffer(name.replace(".", ""), parameter.detach().clone())

    def _pairs(self, model: nn.Module) -> list[tuple[torch.Tensor, nn.Parameter]]:
        return [(getattr(self, name.replace(".", "")), p) for name, p in model.named_parameters()]

    @torch.no_grad()
    def forward(self, model: nn.Module) -> None:
        """Move the shadow weights toward the module's."""
        self.num_updates += 1
        decay = min(float(self.decay), (1 + int(self.num_updates)) / (10 + int(self.num_updates)))
        shadows, parameters = zip(*self._pairs(model), strict=True)
        torch._foreach_lerp_(list(shadows), [p.detach() for p in parameters], 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Put the shadow weights into the module."""
        for shadow, parameter in self._pairs(model):
            parameter.copy_(shadow)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange shadow weights and the module's; a second call undoes the first."""
        for shadow, parameter in self._pairs(model):
            kept = parameter.detach().clone()
            parameter.copy_(shadow)
            shadow.copy_(kept)
