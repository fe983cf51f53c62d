"""Two networks over the same samples: what one has right and the other wrong, with an interval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

from mcuc.ir import Array

Z = 1.959964  # 95 % of a normal distribution


@dataclass(frozen=True)
class Paired:
    """Counts of samples: right in both, only in the first (negative flips), only in the second, in neither.

    low, high: 95 % interval of second minus first, as fractions of the samples.
    """

    both: int
    lost: int
    gained: int
    neither: int
    low: float
    high: float

    @property
    def samples(self) -> int:
        return self.both + self.lost + self.gained + self.neither

    @property
    def first(self) -> float:
        """Accuracy of the first."""
        return (self.both + self.lost) / self.samples

    @property
    def second(self) -> float:
        """Accuracy of the second."""
        return (self.both + self.gained) / self.samples

    def as_dict(self) -> dict[str, Any]:
        """For a results file."""
        return {
            **asdict(self),
            "samples": self.samples,
            "float": round(self.first, 5),
            "int8": round(self.second, 5),
            "low": round(self.low, 5),
            "high": round(self.high, 5),
        }


def paired(first: Array, second: Array) -> Paired:
    """From whether each sample was right, booleans [n] of both.

    The interval is that of Agresti and Min 2005 ("Simple improved confidence intervals for comparing matched
    proportions"): Wald's, half a sample added to each of the four counts. Raises ValueError without samples.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} samples")
    both, lost = int((first & second).sum()), int((first & ~second).sum())
    gained, neither = int((~first & second).sum()), int((~first & ~second).sum())
    n, b, c = len(first) + 2.0, lost + 0.5, gained + 0.5
    middle, half = (c - b) / n, Z * sqrt(b + c - (b - c) ** 2 / n) / n
    return Paired(both, lost, gained, neither, max(-1.0, middle - half), min(1.0, middle + half))
