"""QEMU computes what the emulated core computes, on each core that it has a board for."""

from __future__ import annotations

from pathlib import Path

import pytest
from firmwares import FRAME, HERE, link_for
from test_counts import INPUT, LAYERS

from mcuc.emulate.cortex_m import CortexM, Dump, Poke
from mcuc.emulate.qemu import run_qemu, why_not
from mcuc.errors import McucError
from mcuc.targets import load_board

BOARDS = {"mps2-an385": "cortex-m3", "mps2-an386": "cortex-m4", "mps2-an500": "cortex-m7", "mps2-an505": "cortex-m33"}


def needs_qemu(board: str) -> None:
    reason = why_not(load_board(board))
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize(("name", "core"), BOARDS.items())
def test_the_same_answer(name: str, core: str, tmp_path: Path) -> None:
    needs_qemu(name)
    board, elf = load_board(name), tmp_path / "net.elf"
    assert board.chip.core == core
    link_for(board.chip, [HERE / "firmware/start.S", HERE / "firmware/net.c"], elf)
    given, wanted = [Poke("input", 0, INPUT)], [Dump("output", 0, 64), Dump("input", 1, 3)]
    there = run_qemu(elf, board, given, wanted)
    here = CortexM(elf, board.chip, LAYERS).run(given, wanted, audit=True)
    assert (there.exit_code, there.dumps) == (here.exit_code, here.dumps)
    assert here.audit is not None and here.audit.passed
    assert there.dumps[1] == INPUT[1:4]


def test_output_and_time_limit(tmp_path: Path) -> None:
    needs_qemu("mps2-an386")
    board = load_board("mps2-an386")
    greet = "ldr r1, =text\n movs r0, #4\n bkpt 0xAB\n {then}\n b 2f\n .ltorg\n .balign 4\n"
    greet += 'text: .asciz "hi"\n .balign 4\n2:'
    for name, then in (("ends", "nop"), ("never", "1: b 1b")):
        (tmp_path / f"{name}.S").write_text(FRAME.format(body=greet.format(then=then), after=""))
        link_for(board.chip, [HERE / "firmware/start.S", tmp_path / f"{name}.S"], tmp_path / f"{name}.elf")
    run = run_qemu(tmp_path / "ends.elf", board)
    assert (run.exit_code, run.output) == (0, "hi")
    with pytest.raises(McucError) as caught:
        run_qemu(tmp_path / "never.elf", board, timeout_s=1)
    assert caught.value.code == "qemu-timeout"


def test_a_board_that_qemu_lacks(tmp_path: Path) -> None:
    board = load_board("nucleo-l4r5zi")
    assert board.qemu_machine == ""
    with pytest.raises(McucError, match="has no machine for nucleo-l4r5zi"):
        run_qemu(tmp_path / "none.elf", board)


def test_qemu_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(McucError, match="qemu-system-arm is not installed"):
        run_qemu(tmp_path / "none.elf", load_board("mps2-an386"))
