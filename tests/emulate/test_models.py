"""A real model's firmware: counts equal to the independent counter's, the stack bound holds, the audit passes."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from mcuc import passes
from mcuc.emit.model import emit
from mcuc.emulate.cortex_m import CortexM, Poke
from mcuc.emulate.peripherals import Registers
from mcuc.emulate.stack import bound_of
from mcuc.image import build_image
from mcuc.importers import load
from mcuc.request import Request
from mcuc.schedule.explore import explore
from mcuc.schedule.fit import Room, fit
from mcuc.targets import load_board

BOARDS = ("nucleo-g0b1re", "nucleo-f103rb", "nucleo-l4r5zi", "nucleo-f746zg", "nucleo-u575zi-q")


@pytest.mark.parametrize("name", BOARDS)
def test_keyword_model(name: str, shared_data: Path, cmemu: ModuleType, tmp_path: Path) -> None:
    request, board = Request(board=name), load_board(name)
    graph = load(shared_data / "models/kws_dscnn_int8.tflite", request.profile)
    graph = passes.check_supported(passes.optimize(graph))
    fitted = fit(explore(graph, board.chip, request.optimize).candidates, lambda _: Room(board.sram_bytes))
    assert fitted is not None
    graph, schedule, plan = fitted.graph, fitted.schedule, fitted.plan
    emitted = emit(graph, schedule, plan, "kws", "kws", board.chip.arena_align, 2048)
    elf = build_image(emitted, board, request, tmp_path).elf

    emulator = CortexM(elf, board.chip, emitted.symbols)
    arena = emulator.image.symbols["mcuc_arena"]
    given = bytes(k * 97 % 251 for k in range(arena.size))
    run = emulator.run([Poke("mcuc_arena", 0, given)], audit=True)
    assert run.exit_code == 0
    assert run.audit is not None and run.audit.findings == ()
    assert sum(layer.instructions for layer in run.layers) == run.instructions
    assert all(layer.instructions > 0 for layer in run.layers)
    bound = bound_of(emulator.image, board.chip, "kws_run")
    assert bound.unbounded == ()
    assert bound.bytes is not None and run.stack_bytes <= bound.bytes <= run.stack_bytes + 128
    for row in board.chip.expected_final:  # the startup got through its clock initialisation
        assert run.registers[row.address] & row.mask == row.value, row.comment

    theirs = cmemu.Emu(str(elf), board.chip.core, echo=False)
    clocks = Registers(board.chip, lambda _: None)
    clocks.pages = [page for page in clocks.pages if page < 0xE0000000]
    clocks.map(theirs.mu)
    theirs.mu.mem_write(arena.address, given)
    theirs.run(120)
    (region,) = theirs.report()["regions"]
    assert run.instructions == region["instructions"]
    assert dict(run.mix) == region["mix"]
