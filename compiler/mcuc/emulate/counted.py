"""Cycles from counts alone, and the constants that it shares with the estimate from blocks (cycles.py).

    cycles = pace * zero_wait + refetch * taken + fill * lines

zero_wait: by the published timings of the core, in memory that never waits (cycles.py has the rules for traces). taken:
branches taken and other transfers. lines: of flash that no cache held, data and code. The constants of a core were
fitted on some programs of known silicon time and judged by others (benchmarks/cycle_model.py names them,
docs/cycle-model.md has the errors); what a line costs is the chip's own (chip.flash.fill_cycles). Evidence class of the
result: estimated.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcuc.targets import Chip


@dataclass(frozen=True)
class Counts:
    """Of one inference. zero_wait: cycles; taken: transfers; lines: read from flash past every cache."""

    zero_wait: float
    taken: int
    lines: int


@dataclass(frozen=True)
class Constants:
    """pace: of what the published timings leave out or count twice, a factor; refetch: cycles beyond them of a taken
    transfer behind flash with wait states; band:
    fraction by which an estimate may be off, twice the worst error of a program not fitted on, at least 5 %."""

    pace: float
    refetch: float
    band: float


CONSTANTS = {
    # Two wait states and a prefetch buffer: what follows a taken branch comes from the flash.
    "cortex-m0plus": Constants(1.0, 1.75, 0.05),
    "cortex-m4": Constants(1.0, 3.04, 0.07),
    # Estimated as a Cortex-M4, but pairs of 16-bit instructions issue together.
    "cortex-m33": Constants(0.941, 0.0, 0.07),
    "cortex-m7": Constants(0.984, 0.0, 0.15),
}


def cycles_of(counts: Counts, chip: Chip, constants: Constants | None = None) -> float:
    """The estimate for a core and its chip's flash. constants: others than the core's own. Raises KeyError for a core
    without constants."""
    c = constants or CONSTANTS[chip.core]
    return c.pace * counts.zero_wait + c.refetch * counts.taken + chip.flash.fill_cycles * counts.lines


def refetch(chip: Chip) -> float:
    """Cycles that a taken transfer waits for the flash; 0 where that does not wait or the core has no constants."""
    found = CONSTANTS.get(chip.core) if chip.flash.wait_states else None
    return 0.0 if found is None else found.refetch
