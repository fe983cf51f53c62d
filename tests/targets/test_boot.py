"""Every board's firmware, as the toolchain links it, starts: on an emulated core with the chip's clock registers
modelled, and, for the boards that QEMU has too, in QEMU."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from mcuc.emulate.cortex_m import CortexM
from mcuc.emulate.peripherals import stuck_wait
from mcuc.errors import McucError
from mcuc.targets import Board, ClockStep, list_boards, load_board
from mcuc.toolchain import build_firmware, find, render_clock_table, render_linker_script

PROGRAM = Path(__file__).with_name("program.c")
BOARDS = {board.name: board for board in list_boards()}


@pytest.fixture(scope="module", params=["zig", "gcc"])
def toolchain(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    return find(name).id


def build(board: Board, toolchain: str, folder: Path) -> Path:
    return build_firmware([PROGRAM], [], board, folder / "firmware.elf", toolchain).elf


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_boots_with_the_clock_set(name: str, toolchain: str, tmp_path: Path) -> None:
    board = BOARDS[name]
    run = CortexM(build(board, toolchain, tmp_path), board.chip).run(audit=True)
    assert (run.exit_code, run.output) == (0, "ready\n")
    wrong = [
        f"{row.comment}: 0x{run.registers.get(row.address, 0):08X}"
        for row in board.chip.expected_final
        if run.registers.get(row.address, 0) & row.mask != row.value
    ]
    assert wrong == []
    assert run.audit is not None and list(run.audit.findings) == []


@pytest.mark.parametrize("name", sorted(n for n, b in BOARDS.items() if b.qemu_machine))
def test_boots_in_qemu(name: str, toolchain: str, tmp_path: Path) -> None:
    qemu = shutil.which("qemu-system-arm")
    if qemu is None:
        pytest.skip("qemu-system-arm is not installed")
    elf = build(BOARDS[name], toolchain, tmp_path)
    command = [qemu, "-M", BOARDS[name].qemu_machine, "-nographic", "-semihosting", "-kernel", str(elf)]
    done = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr


def test_the_worked_example_of_the_documentation_boots(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "adding-a-board.md").read_text(encoding="utf-8")
    chip, board_file = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "f411.toml").write_text(chip)
    (tmp_path / "my-f411.toml").write_text(board_file)
    board = load_board(str(tmp_path / "my-f411.toml"))
    run = CortexM(build(board, "zig", tmp_path), board.chip).run()
    assert run.exit_code == 0
    assert len(board.chip.expected_final) == 4
    for row in board.chip.expected_final:
        assert run.registers[row.address] & row.mask == row.value, row.comment


def test_a_clock_that_never_gets_ready_ends_in_the_fault_handler(tmp_path: Path) -> None:
    """Exit code 99, not a hang: the emulator sees the program end before its counted part."""
    board = load_board("nucleo-l4r5zi")
    dead = msgspec.structs.replace(board.chip, ready=())
    with pytest.raises(McucError) as caught:
        CortexM(build(board, "zig", tmp_path), dead).run(timeout_s=60)
    assert caught.value.code == "emulated-startup" and "exit code 99" in caught.value.found
    first = next(step for step in dead.clock_init if step.op == "wait" and step.value)  # a zero bit stays zero
    assert first.comment in caught.value.where and f"{first.address:#010x}" in caught.value.where
    assert str(tmp_path) not in str(caught.value) and "clock_init" in caught.value.try_this


def test_the_stuck_wait_is_the_one_that_no_ready_row_ends() -> None:
    chip = load_board("nucleo-l4r5zi").chip
    assert stuck_wait(chip) is None
    for left_out in chip.ready:
        found = stuck_wait(msgspec.structs.replace(chip, ready=tuple(r for r in chip.ready if r is not left_out)))
        assert found is not None
        number, step = found
        assert chip.clock_init[number - 1] is step and step.op == "wait"
        assert step.address == left_out.target and step.value & left_out.ready


def test_every_kind_of_clock_step_is_executed(tmp_path: Path) -> None:
    """write, modify, wait and delay on registers of a chip that has no clock initialisation of its own."""
    board = load_board("mps2-an386")
    steps = (
        ClockStep(op="write", address=0x40010000, value=0xA5A5A5A5, comment="all bits"),
        ClockStep(op="modify", address=0x40010000, mask=0xFF00, value=0x1200, comment="one byte"),
        ClockStep(op="wait", address=0x40010000, mask=0xFF, value=0xA5, comment="already so"),
        ClockStep(op="delay", value=3, comment="a moment"),
        ClockStep(op="write", address=0x40010004, value=7, comment="after the delay"),
    )
    chip = msgspec.structs.replace(board.chip, clock_init=steps)
    elf = build(msgspec.structs.replace(board, chip=chip), "zig", tmp_path)
    registers = CortexM(elf, chip).run().registers
    assert (registers[0x40010000], registers[0x40010004]) == (0xA5A512A5, 7)


def test_rendered_texts_name_the_boards_numbers() -> None:
    board = load_board("nucleo-f746zg")
    script = render_linker_script(msgspec.structs.replace(board, reserved_sram=4096), stack_bytes=3000)
    assert "ORIGIN = 0x20000000, LENGTH = 323584" in script and ">= 3000" in script
    table = render_clock_table(board.chip.clock_init)
    assert table.count("{MCUC_CLOCK_") == len(board.chip.clock_init) + 1
