"""AdamW (Loshchilov and Hutter 2019) and Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, overload

import numpy as np
import torch

from mcuc.errors import McucError
from mcuc.ir import Array

NAMES = ("adamw", "lion")


class Lion(torch.optim.Optimizer):
    """The sign of an interpolation between momentum and gradient, with decoupled weight decay.

    c = b1 m + (1 - b1) g;  p = p (1 - rate decay) - rate sign(c);  m = b2 m + (1 - b2) g. Rates are 3 to 10 times
    smaller than AdamW's and decays as many times larger, as its authors advise.
    """

    def __init__(self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
                 weight_decay: float = 0.0) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step on the parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            gradients = [p.grad for p in weights]
            for p in weights:
                if not self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            momenta = [self.state[p]["momentum"] for p in weights]
            first, second = group["betas"]
            signs = torch._foreach_lerp(momenta, gradients, 1 - first)
            torch._foreach_sign_(signs)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, signs, alpha=-group["lr"])
            torch._foreach_lerp_(momenta, gradients, 1 - second)
        return loss


def optimizer_for(name: str, weights: Mapping[str, torch.Tensor], rate: float, decay: float) -> torch.optim.Optimizer:
    """Weight decay on matrices only, not on biases, norms, tokens and positions. Raises McucError for another name."""
    matrices = [v for k, v in weights.items() if decays(k, v)]
    others = [v for k, v in weights.items() if not decays(k, v)]
    groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": decay},
                                    {"params": others, "weight_decay": 0.0}]  # fmt: skip
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=rate, foreach=True)
    if name == "lion":
        return Lion(groups, lr=rate)
    raise McucError("unknown-optimizer", f"no optimiser {name!r}", where="a recipe",
                    try_this=f"one of {', '.join(NAMES)}")  # fmt: skip


def decays(name: str, value: torch.Tensor) -> bool:
    """Whether weight decay applies."""
    return value.ndim > 1 and not name.startswith(("token", "position"))


def state_arrays(optimizer: torch.optim.Optimizer, weights: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    """What the optimiser remembers of each weight, as arrays "NAME/KEY"."""
    return {f"{name}/{key}": np.ascontiguousarray(value.detach().cpu().numpy())
            for name, weight in weights.items() for key, value in optimizer.state[weight].items()}  # fmt: skip


def restore_state(optimizer: torch.optim.Optimizer, weights: Mapping[str, torch.Tensor],
                  arrays: Mapping[str, Array]) -> None:  # fmt: skip
    """The reverse of state_arrays."""
    for joined, array in arrays.items():
        name, key = joined.rsplit("/", 1)
        weight, value = weights[name], torch.from_numpy(np.array(array))
        if value.shape == weight.shape:  # counts of steps stay on the CPU, as the optimiser makes them
            value = torch.empty_like(weight, requires_grad=False).copy_(value)
        optimizer.state[weight][key] = value
