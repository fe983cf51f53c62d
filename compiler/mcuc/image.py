"""The test firmware of a schedule: built for the board, with what it takes of SRAM beside the arena."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from mcuc import ram
from mcuc.emit.model import Emitted
from mcuc.emulate import host
from mcuc.emulate.counted import refetch
from mcuc.emulate.image import load_image
from mcuc.emulate.stack import StackBound, bound_of
from mcuc.errors import McucError
from mcuc.request import Request
from mcuc.targets import Board
from mcuc.toolchain import Firmware, build_firmware
from mcuc.toolchain.firmware import DEFAULT_STACK_BYTES

STARTUP_STACK = 128  # bytes of stack that reset handler and main hold while the model runs
SPARE_RAM = 1 << 26  # bytes added to a board to link what it cannot hold, which is measured and thrown away

Keep = Callable[[int], Sequence[str]]  # bytes left of the chip's flash -> tables that lie there (inside.py)


@dataclass(frozen=True, eq=False)
class Image:
    """firmware: None where the board cannot hold it; beside: bytes of static data and of the stack (what a link leaves
    for it where it has no static bound; without a firmware with STARTUP_STACK)."""

    firmware: Firmware | None
    stack: StackBound
    beside: int


def linked(
    emitted: Emitted,
    arena: int,
    board: Board,
    request: Request,
    folder: Path,
    weights_in_ram: bool = False,
    code_within: int = 0,
    keep_inside: Keep | None = None,
) -> Image:
    """The firmware of a schedule whose arenas take `arena` bytes. weights_in_ram: copied there at start; code_within:
    the code too, if with it arena, static data and stack are at most so many bytes, or instead of the weights;
    keep_inside: as build_firmware takes it.

    Where the usual room for the stack is not left, the stack's static bound decides whether the board holds it.
    Raises McucError where it cannot be built.
    """
    build = partial(build_image, emitted, request=request, keep_inside=keep_inside)
    choices = [weights_in_ram] if code_within else []
    if weights_in_ram and code_within and refetch(board.chip):
        choices.append(False)  # a branch that waits costs more than a weight that does
    for weights in choices:
        try:
            firmware = build(board, folder=folder, weights_in_ram=weights, code_in_ram=True)
            found = _measured(firmware, emitted, board)
            if arena + found.beside <= code_within:
                return found
        except McucError as error:
            if error.code != "over-sram":
                raise
    try:
        return _measured(build(board, folder=folder, weights_in_ram=weights_in_ram), emitted, board)
    except McucError as error:
        if error.code != "over-sram" or request.regions:
            raise
    larger = msgspec.structs.replace(board, reserved_sram=board.reserved_sram - SPARE_RAM)
    spare = build(larger, folder=folder / "spare", weights_in_ram=weights_in_ram)
    found = _measured(spare, emitted, board)
    stack = DEFAULT_STACK_BYTES if found.stack.bytes is None else found.stack.bytes + STARTUP_STACK
    try:
        firmware = build(board, folder=folder, weights_in_ram=weights_in_ram, stack_bytes=stack)
    except McucError as error:
        if error.code != "over-sram":
            raise
        beside = found.beside + (0 if found.stack.bytes is None else STARTUP_STACK)
        return Image(None, found.stack, max(beside, board.sram_bytes - arena + 1))
    return _measured(firmware, emitted, board)


def _measured(firmware: Firmware, emitted: Emitted, board: Board) -> Image:
    image = load_image(firmware.elf)
    bounds = [bound_of(image, board.chip, function) for function in emitted.entries]
    unbounded = [b for b in bounds if b.bytes is None]
    stack = unbounded[0] if unbounded else max(bounds, key=lambda b: b.bytes or 0)
    taken = DEFAULT_STACK_BYTES if stack.bytes is None else stack.bytes
    return Image(firmware, stack, firmware.sizes.data + firmware.sizes.bss + taken)


def build_image(
    emitted: Emitted,
    board: Board,
    request: Request,
    folder: Path,
    trace: bool = False,
    weights_in_ram: bool = False,
    stack_bytes: int = DEFAULT_STACK_BYTES,
    code_in_ram: bool = False,
    keep_inside: Keep | None = None,
) -> Firmware:
    """The test firmware of the model for the board. trace: with a hash of every layer's output; weights_in_ram,
    code_in_ram: copied there at start; stack_bytes: what the link must leave for the stack; keep_inside: as
    build_firmware takes it."""
    sources = host.write_sources(emitted, folder)
    main = folder / f"{emitted.name}_harness.c"
    main.write_text(emitted.harness, encoding="utf-8")
    defines = {"MCUC_WEIGHTS_IN_RAM" if weights_in_ram else "MCUC_WEIGHTS_SECTION": "1"}
    defines |= {"MCUC_TRACE": "1"} if trace else {}
    if board.chip.weights_in and board.chip.caches.dcache_bytes:
        defines["MCUC_WEIGHTS_ALIGN"] = str(board.chip.caches.line_bytes)
    return build_firmware(
        sources,
        [folder],
        board,
        folder / "firmware.elf",
        request.toolchain,
        request.optimize,
        defines,
        harness_sources=[main],
        stack_bytes=stack_bytes,
        arenas=ram.sections(emitted),
        code_in_ram=code_in_ram,
        keep_inside=keep_inside,
    )
