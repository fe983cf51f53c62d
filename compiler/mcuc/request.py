"""What the user asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mcuc.toolchain import Optimize

DEFAULT_BOARD = "nucleo-f746zg"
Tune = Literal["off", "fast", "full"]


@dataclass(frozen=True)
class Request:
    """What the user asks for. budget, flash: bytes, None for all that the board has; name: C prefix; profile: None
    for the file format's own; seed: of the random verification inputs; least: the schedule with the smallest arena
    instead of the first that fits; latency_ms: of one inference as estimated, None for no limit; rows_in: the input
    arrives by rows and is never held whole; regions: RAM regions that the arenas may lie in, () for one arena in the
    linked RAM; tune: which layers' kernels are chosen by measurement (latency/tuning.py); argmax: the output is the
    index of the largest value."""

    board: str = DEFAULT_BOARD
    budget: int | None = None
    flash: int | None = None
    optimize: Optimize = "balanced"
    toolchain: str = "auto"
    profile: str | None = None
    name: str | None = None
    seed: int = 0
    least: bool = False
    latency_ms: float | None = None
    rows_in: bool = False
    regions: tuple[str, ...] = ()
    tune: Tune = "off"
    argmax: bool = False
