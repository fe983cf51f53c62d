"""Weights in a flash outside the chip: when they go there, and what is said of it.

They go there only where weights and code together are more than the chip's own flash, and no --flash keeps them out.
Code, vectors, start-up, initial values and the constants of the code stay inside, so that the core runs before the
controller of the flash does; what room is left there takes the tables that save the most cycles (inside.py).
"""

from __future__ import annotations

from mcuc.emulate.image import load_image
from mcuc.errors import McucError
from mcuc.ir import Graph, Tensor
from mcuc.schedule import Schedule
from mcuc.schedule.remedies import CODE_ROOM
from mcuc.targets import Board, list_boards, weights_outside
from mcuc.toolchain import Firmware, Sizes


def settled(board: Board, graph: Graph, flash: int | None) -> Board:
    """The board with weights outside the chip where they alone are more than the chip's flash. Whether weights and code
    fit together only the linker knows: see choice.built_or_refused. flash: bytes allowed in all (--flash), None for all
    that the board has.

    Raises McucError("over-flash") where the weights alone are more than is allowed.
    """
    weights = sum(t.bytes for t in graph.tensors.values() if t.data is not None)
    packed = sum(_packed(t) for t in graph.tensors.values())
    if flash is not None and packed > flash:
        raise McucError(
            "over-flash",
            f"the model has {packed:,} bytes of weights, --flash allows {flash:,} for weights and code together",
            where=f"{graph.name} on {board.name}",
            try_this="; ".join([*without_limit(board, flash), "a larger --flash", "a smaller model"]),
        )
    return (moved(board, flash) if weights > board.flash_bytes else None) or board


def _packed(tensor: Tensor) -> int:
    """Bytes that a constant takes at least: weights that fit four bits may lie two in a byte."""
    if tensor.data is None:
        return 0
    small = tensor.dtype.bytes == 1 and tensor.data.size and tensor.data.min() >= -8 and tensor.data.max() <= 7
    return tensor.bytes // 2 if small else tensor.bytes


def images(firmware: Firmware, board: Board) -> tuple[tuple[str, bytes], ...]:
    """Where weights lie outside the chip: the bytes of each flash from its first address on, as a file for a programmer
    that writes one at a time. Gaps are as erased flash."""
    chip = board.chip
    if not chip.weights_in:
        return ()
    found, segments = [], load_image(firmware.elf).segments
    for region in (chip.flash_region, chip.weights_region):
        parts = [s for s in segments if s.data and region.base <= s.load < region.end]
        content = bytearray(b"\xff" * max((s.load + len(s.data) - region.base for s in parts), default=0))
        for s in parts:
            content[s.load - region.base : s.load - region.base + len(s.data)] = s.data
        found.append((f"firmware_{region.name}.bin", bytes(content)))
    return tuple(found)


def moved(board: Board, flash: int | None) -> Board | None:
    """The board with weights outside the chip; None where it has no flash there, they are there already, or no more
    flash is allowed than the chip's own."""
    return None if flash is not None and flash <= board.flash_bytes else weights_outside(board)


def without_limit(board: Board, flash: int | None) -> list[str]:
    """The remedy of weights outside the chip, where --flash keeps them in."""
    outside = board.chip.external_flash
    if outside is None or flash is None or flash > board.flash_bytes:
        return []
    has = f"{board.name} has {outside.size:,} bytes in {outside.name}"
    return [f"without --flash, which keeps weights on the chip: {has}"]


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
    own, read, near = board.chip.flash_region.name, region.read, sizes.weights_inside
    kept = f" and {near:,} bytes of weights, those that save the most cycles there," if near else ""
    after = f", {read.next_cycles:g} where they follow those read last," if read.next_cycles else ""
    return (
        f"flash: {sizes.weights - near:,} bytes of weights lie in {region.name}, outside the chip "
        f"({region.base:#010x}), {sizes.code:,} bytes of code{kept} in {own}; your application must put the controller "
        f"of {region.name} into memory-mapped mode before the first run, the test firmware does not; "
        f"firmware.elf holds both parts, firmware_{own}.bin and firmware_{region.name}.bin each of them",
        f"cycles: {read.cycles:g} are charged for every {read.bytes} bytes of weights{after} that are read "
        f"from {region.name} past the cache, worked out from datasheets and not measured ({read.source})",
    )
