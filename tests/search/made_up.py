"""Costs and accuracies of candidates that take neither a compiler nor training; light, as other processes import it."""

from __future__ import annotations

from collections.abc import Callable

from mcuc.search.pareto import Constraints, Cost
from mcuc.search.spaces.vit_lowrank import VitCandidate, VitSpace, dense_shapes


def formula(space: VitSpace, limits: Constraints) -> Callable[[VitCandidate], Cost]:
    """A cost that takes no compiler: bytes of weights, and a millisecond for 50,000 MACs of dense layers."""

    def cost(c: VitCandidate) -> Cost:
        weights = sum(ins * outs for b in c.blocks for ins, outs in dense_shapes(c, b).values())
        return Cost(c.tokens * c.embed * 3, weights, weights * c.tokens / 5e4)

    return cost


def made_up_accuracy(space: VitSpace, limits: Constraints) -> Callable[[VitCandidate], float]:
    return lambda c: sum(c.key.encode()) % 997 / 997
