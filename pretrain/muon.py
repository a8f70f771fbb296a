"""Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon): momentum whose update is an orthogonal matrix."""

import torch

# Coefficients of the quintic iteration, as published: they pull singular values to about 1 in five rounds.
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonalise(matrices: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """Nearest (semi-)orthogonal matrices of [n, rows, columns], roughly: singular values end between 0.7 and 1.2.

    A round is x -> (A + B g + C g^2) x with g = x x^T. All of them are polynomials in the first g, so only that small
    matrix goes through the rounds; the product of the polynomials meets x once, at the end.
    """
    x = matrices.float()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    gram = x @ x.mT
    identity = product = torch.eye(gram.shape[1], device=x.device).expand_as(gram)
    for _ in range(rounds):
        polynomial = A * identity + B * gram + C * gram @ gram
        product = polynomial @ product
        gram = polynomial @ gram @ polynomial
    x = product @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for weights of two or more dimensions (all but the first are one).

    The update is scaled to the root mean square of an AdamW update (0.2; Liu et al., arXiv 2502.16982, section 2.2),
    so that one learning rate serves both.
    """

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(state["momentum"], group["momentum"]).flatten(1)
                by_shape.setdefault(tuple(update.shape), []).append((p, update))
            for (rows, columns), pairs in by_shape.items():
                steps = orthogonalise(torch.stack([update for _, update in pairs])) * (0.2 * max(rows, columns) ** 0.5)
                for (p, _), step in zip(pairs, steps, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(step.view_as(p), alpha=-group["lr"])


def muon_and_adam(module: torch.nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the module's matrices and kernels, AdamW for its embeddings, gains and biases."""
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, torch.nn.Embedding)}
    matrices = [p for p in module.parameters() if p.ndim > 1 and id(p) not in embeddings]
    rest = [p for p in module.parameters() if p.ndim < 2 or id(p) in embeddings]
    return [Muon(matrices, lr), torch.optim.AdamW(rest, lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)]
