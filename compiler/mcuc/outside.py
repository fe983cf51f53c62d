"""Weights in a flash outside the chip: when they go there, and what is said of it.

They go there as one, only where weights and code together are more than the chip's own flash. Code, vectors, start-up,
initial values and the constants of the code stay inside, so that the core runs before the controller of the flash does.
"""

from __future__ import annotations

from mcuc.ir import Graph
from mcuc.schedule import Schedule
from mcuc.schedule.remedies import CODE_ROOM
from mcuc.targets import Board, list_boards, weights_outside
from mcuc.toolchain import Sizes


def settled(board: Board, graph: Graph) -> Board:
    """The board with weights outside the chip where they alone are more than the chip's flash. Whether weights and code
    fit together only the linker knows: see choice.built_or_refused."""
    weights = sum(t.bytes for t in graph.tensors.values() if t.data is not None)
    return (weights_outside(board) if weights > board.flash_bytes else None) or board


def larger_boards(board: Board, schedule: Schedule, over: int, sram: int) -> list[str]:
    """The board with the least flash that holds what is `over` bytes more than this one's: weights, or code with what
    of them lies inside. sram: bytes that it must have."""
    weights = sum(layer.table_bytes for layer in schedule.layers)
    outside = board.chip.external_flash
    if outside is not None and weights > outside.size:  # that one was too small
        code = CODE_ROOM
    elif board.chip.weights_in:
        code = board.flash_bytes + over
    else:
        code = max(0, board.flash_bytes + over - weights)
    enough = [
        (b.all_flash_bytes, b.name)
        for b in list_boards()
        if b.name != board.name and b.holds(weights, code) and b.sram_bytes >= sram
    ]
    return [f"--board {name}, which has {size:,} bytes of flash" for size, name in sorted(enough)[:1]]


def refused(board: Board, schedule: Schedule) -> str:
    """For a refusal: the flash inside and outside the chip, and what the weights take; "" where none is outside."""
    outside = board.chip.external_flash
    if outside is None:
        return ""
    weights = sum(layer.table_bytes for layer in schedule.layers)
    return (
        f" The chip has {board.flash_bytes:,} bytes of flash for code, {outside.name} has {outside.size:,} for "
        f"weights, which take about {weights:,}."
    )


def notes(sizes: Sizes, board: Board) -> tuple[str, ...]:
    """What the report says of weights outside the chip."""
    region = board.chip.weights_region
    if region.read is None:
        return ()
    return (
        f"flash: {sizes.weights:,} bytes of weights lie in {region.name}, outside the chip ({region.base:#010x}), "
        f"{sizes.code:,} bytes of code in {board.chip.flash_region.name}; your application must put the controller of "
        f"{region.name} into memory-mapped mode before the first run, the test firmware does not",
        f"cycles: {region.read.cycles:g} are charged for every {region.read.bytes} bytes of weights that are read "
        f"from {region.name} past the cache, worked out from datasheets and not measured ({region.read.source})",
    )
