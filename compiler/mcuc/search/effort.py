"""How much work each --effort stands for."""

from __future__ import annotations

from dataclasses import dataclass

from mcuc.errors import McucError
from mcuc.search.evolution import Plan


@dataclass(frozen=True)
class Effort:
    """supernet_work, final_work, tuning_work: training images shown times Space.work of their networks, which
    bounds the time for any data and any winner; tuning is the training with quantization behind the final one.
    width: scale of the space's channels. tolerance: accuracy given up for speed when choosing, in standard errors of
    the validation accuracy.
    """

    name: str
    width: float
    supernet_work: float
    final_work: float
    tuning_work: float
    plan: Plan
    shift: float
    tolerance: float


EFFORTS = {
    "quick": Effort("quick", 1.0, 3.0e11, 4.2e11, 0.5e11, Plan(32, 16, 4), 1 / 28, 1.0),
    "standard": Effort("standard", 1.5, 3e12, 8e12, 1e12, Plan(96, 48, 10), 2 / 28, 0.25),
    "full": Effort("full", 2.0, 1.6e13, 5e13, 5e12, Plan(192, 96, 20), 2 / 28, 0.0),
}


def effort_named(name: str) -> Effort:
    """Raises McucError("unknown-effort")."""
    if name not in EFFORTS:
        raise McucError("unknown-effort", f"no effort {name!r}", "--effort", try_this=f"one of {', '.join(EFFORTS)}")
    return EFFORTS[name]
