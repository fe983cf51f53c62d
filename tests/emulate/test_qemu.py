"""QEMU computes what the emulated core computes, on each core that it has a board for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from firmwares import FRAME, HERE, link_for
from test_counts import INPUT, LAYERS

import mcuc
import small_models
from mcuc.emit.model import INPUT_FILE, NO_ROWS
from mcuc.emulate.cortex_m import CortexM, Dump, Poke
from mcuc.emulate.qemu import run_qemu, why_not
from mcuc.errors import McucError
from mcuc.targets import load_board
from mcuc.verify import reference

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


@pytest.mark.parametrize("name", BOARDS)
def test_an_input_by_rows_comes_from_a_file_and_gives_the_same_answer(name: str, tmp_path: Path) -> None:
    needs_qemu(name)
    board, model = load_board(name), tmp_path / "net.tflite"
    model.write_bytes(small_models.exported(small_models.tiny_graph(side=32)))
    done = mcuc.compile(model, board=name, rows_in=True, out=tmp_path / "out")
    rows = np.random.default_rng(5).integers(-128, 128, done.graph.tensors[done.graph.inputs[0]].shape, np.int8)
    result = [Dump("mcuc_arena", done.plan.tensors[n], done.graph.tensors[n].bytes) for n in done.graph.outputs]
    there = run_qemu(done.firmware.elf, board, dumps=result, file=(INPUT_FILE, rows.tobytes()))
    expected = reference.run(done.graph, {done.graph.inputs[0]: rows})[done.graph.outputs[0]]
    assert (there.exit_code, there.dumps) == (0, (expected.tobytes(),))
    assert run_qemu(done.firmware.elf, board).exit_code == NO_ROWS


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
