"""Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon): momentum whose update is an orthogonal matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.optim.optimizer import ParamsT

# Coefficients of the quintic iteration, as published: they pull singular values to about 1 in five rounds.
A, B, C = 3.4445, -4.7750, 2.0315


def whitening(x: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """Matrices [n, rows, rows] whose product with x [n, rows, columns], rows <= columns and Frobenius norm 1, is
    orthogonal, roughly: singular values end between 0.7 and 1.2.

    A round is x -> (A + B g + C g^2) x with g = x x^T. All of them are polynomials in the first g, so only that small
    matrix goes through the rounds, and x need not.
    """
    gram = x @ x.mT
    identity = product = torch.eye(gram.shape[1], device=x.device).expand_as(gram)
    for _ in range(rounds):
        polynomial = A * identity + B * gram + C * gram @ gram
        product = polynomial @ product
        gram = polynomial @ gram @ polynomial
    return product


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for weights of two or more dimensions (all but the first are one).

    The update is scaled to the root mean square of an AdamW update (0.2; Liu et al., arXiv 2502.16982, section 2.2),
    so that one learning rate serves both. Momentum changes slowly, so what whitens it serves for `refresh` steps.
    """

    def __init__(self, params: ParamsT, lr: float, momentum: float = 0.95, weight_decay: float = 0.01,
                 refresh: int = 4):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": 0})
        self.refresh = refresh  # a run saved after a multiple of these steps goes on as one that was not stopped
        self.whitenings: dict[tuple[int, int], torch.Tensor] = {}

    @torch.no_grad()
    def step(  # type: ignore[override]  # without torch's overloads for a closure and for none
            self, closure: Callable[[], float] | None = None) -> float | None:
        """One update; closure, if given, computes loss and gradients first, as for any optimizer of PyTorch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        steps = self.param_groups[0].setdefault("steps", 0)
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[torch.nn.Parameter, torch.Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(state["momentum"], group["momentum"]).flatten(1)
                rows, columns = update.shape
                by_shape.setdefault((rows, columns), []).append((p, update))
            for (rows, columns), pairs in by_shape.items():
                x = torch.stack([update for _, update in pairs]).float()
                x = x.mT if rows > columns else x
                x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
                kept = self.whitenings.get((rows, columns))
                if steps < 50 or steps % self.refresh == 0 or kept is None:
                    kept = self.whitenings[rows, columns] = whitening(x)
                x = kept @ x
                x = x * (x.shape[1] ** 0.5 / x.norm(dim=(1, 2), keepdim=True)).clamp(max=1.0)  # should it have changed
                x = x * (0.2 * max(rows, columns) ** 0.5)
                for (p, _), step in zip(pairs, x.mT if rows > columns else x, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(step.reshape(p.shape), alpha=-group["lr"])
        self.param_groups[0]["steps"] = steps + 1
        return loss


def muon_and_adam(module: torch.nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the module's matrices and kernels, AdamW for its embeddings, gains and biases."""
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, torch.nn.Embedding)}
    matrices = [p for p in module.parameters() if p.ndim > 1 and id(p) not in embeddings]
    rest = [p for p in module.parameters() if p.ndim < 2 or id(p) in embeddings]
    return [Muon(matrices, lr), torch.optim.AdamW(rest, lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)]
