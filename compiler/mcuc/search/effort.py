"""How much work each --effort stands for."""

from __future__ import annotations

from dataclasses import dataclass

from mcuc.errors import McucError
from mcuc.search.evolution import Plan


@dataclass(frozen=True)
class Effort:
    """supernet_images, final_images: training images shown in all (epochs times images). width: scale of the space's
    channels. tolerance: accuracy given up for speed when choosing (noise of the validation images).
    """

    name: str
    width: float
    supernet_images: int
    final_images: int
    plan: Plan
    shift: float
    tolerance: float


EFFORTS = {
    "quick": Effort("quick", 1.0, 72_000, 250_000, Plan(32, 16, 4), 1 / 28, 0.003),
    "standard": Effort("standard", 1.5, 400_000, 1_000_000, Plan(96, 48, 10), 2 / 28, 0.002),
    "full": Effort("full", 2.0, 1_200_000, 3_000_000, Plan(192, 96, 20), 2 / 28, 0.001),
}


def effort_named(name: str) -> Effort:
    """Raises McucError("unknown-effort")."""
    if name not in EFFORTS:
        raise McucError("unknown-effort", f"no effort {name!r}", try_this=f"one of {', '.join(EFFORTS)}")
    return EFFORTS[name]
