"""The RAM regions of a compilation: which may hold buffers, how much of each is free, what is linked where.

Where no region is named there is one arena in the board's linked RAM, and nothing here matters. Else every named region
holds one arena; static data and the stack of the firmware lie in the last linked region, beside an arena if it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcuc.emit.model import Emitted
from mcuc.errors import McucError
from mcuc.plan import Plan
from mcuc.plan import regions as planned
from mcuc.targets import Board, Region
from mcuc.toolchain.firmware import DEFAULT_STACK_BYTES

STATIC_ROOM = 256  # bytes of static data that the test firmware may have besides four a layer for the layers' hashes
ALIGN = 32  # of every region's start and of every arena in it, bytes


def chosen(board: Board, names: Sequence[str]) -> tuple[Region, ...]:
    """The regions of those names, in the order of `Board.data_regions`; "all" stands for every one inside the chip.

    Raises McucError("unknown-region") for a name that is none of them, with those that are.
    """
    known = board.data_regions
    unknown = [n or "(nothing)" for n in names if n != "all" and n not in {r.name for r in known}]
    if unknown:
        inside = ", ".join(f"{r.name} ({r.size / 1024:g} KB{', external' if r.external else ''})" for r in known)
        raise McucError(
            "unknown-region",
            f"{board.chip.name} has no RAM region for data named {', '.join(map(repr, unknown))}",
            where=f"--regions, {board.name}",
            try_this=f"one or more of {inside}; or all",
        )
    return tuple(r for r in known if r.name in names or ("all" in names and not r.external))


def most(board: Board, regions: Sequence[Region]) -> int:
    """Bytes that arenas, static data and stack may take together."""
    if not regions:
        return board.sram_bytes
    held = {r.name: board.usable_bytes(r) for r in (*regions, board.home)}
    return sum(held.values())


def room(board: Board, regions: Sequence[Region], beside: int, layers: int) -> tuple[planned.Region, ...]:
    """What the planner may fill. beside: bytes of static data and stack as far as they are known; layers: how many the
    model has."""
    taken = max(DEFAULT_STACK_BYTES, beside) + STATIC_ROOM + 4 * layers
    found = []
    for r in regions:
        free = board.usable_bytes(r) - (taken if r.name == board.home.name else 0)
        free = max(0, free - free % ALIGN)
        found.append(planned.Region(r.name, free, 1.0 + r.distance, r.dma, r.external))
    return tuple(found)


def holds(rooms: Sequence[planned.Region], plan: Plan) -> bool:
    """Whether every arena of the plan fits its region."""
    free = {r.name: r.size for r in rooms}
    return all(a.bytes <= free[a.name] for a in plan.arenas)


def notes(board: Board, plan: Plan) -> tuple[str, ...]:
    """What the report says of the regions in use."""
    found = []
    used = [board.chip.region(a.name) for a in plan.arenas]
    if used and not any(r.dma for r in used):
        found.append(f"DMA reaches none of {', '.join(r.name for r in used)}: the core must copy inputs and outputs")
    for r in used:
        if r.external:
            found.append(
                f"{r.name} is outside the chip: your firmware must initialise it before the first inference, "
                "the test firmware does not; the cycles are those of a memory without wait states"
            )
    return tuple(found)


def sections(emitted: Emitted) -> Mapping[str, str]:
    """Section of the test firmware -> RAM region, for the linker; empty where no region is named."""
    return {f".{a.symbol}": a.region for a in emitted.arenas}
