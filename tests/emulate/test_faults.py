"""What goes wrong on the emulated core is an error that says what, in which layer and in which function."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from firmwares import CORES, Build, chip_of

from mcuc.emulate.cortex_m import CortexM, Dump, Poke
from mcuc.errors import McucError
from mcuc.targets import ReadTiming, Region

BODY = "str r0, [r6]\n bl before\n bl faulty\n str r0, [r6, #4]\n"
AFTER = """
    .thumb_func
    .type before,%function
before: bx lr
    .size before, . - before
    .thumb_func
    .type faulty,%function
faulty: push {{r4, lr}}
    {body}
    pop {{r4, pc}}
    .ltorg
    .size faulty, . - faulty
    .thumb_func
    .type table,%function
table: bx lr
    .size table, . - table
"""


def failing(build_asm: Build, core: str, body: str, timeout_s: float = 5) -> McucError:
    elf = build_asm(core, BODY, AFTER.format(body=body))
    emulator = CortexM(elf, chip_of(core), ("before", "faulty"))
    with pytest.raises(McucError) as caught:
        emulator.run(timeout_s=timeout_s)
    with pytest.raises(McucError) as again:
        emulator.run(timeout_s=timeout_s)
    assert again.value.found == caught.value.found
    return caught.value


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("ldr r1, =0x60000000\n ldr r2, [r1]", r"read of 4 bytes where there is no memory, address 0x60000000"),
        ("ldr r1, =0x9000000e\n strb r2, [r1]", r"write of 1 bytes where there is no memory, address 0x9000000e"),
        ("ldr r1, =table - 1\n strb r2, [r1]", r"write of 1 bytes to flash, address 0x080.*"),
        ("ldr r1, =0x70000001\n blx r1", r"jump to where there is no memory, address 0x70000000"),
        ("udf #3", r"undefined instruction.*"),
    ],
)
def test_a_fault_names_layer_and_function(core: str, body: str, found: str, build_asm: Build) -> None:
    error = failing(build_asm, core, body)
    assert error.code == "emulated-fault"
    assert re.fullmatch(found, error.found), error.found
    assert "layer faulty" in error.where
    if "blx" not in body:
        assert re.search(r"function faulty, pc 0x080\w+", error.where), error.where


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("ldr r1, =0x90000010\n strb r2, [r1]", r"write of 1 bytes to flash, address 0x90000010"),
        ("ldr r1, =0x90000011\n blx r1", r"jump to flash outside the chip, address 0x90000010"),
        ("ldr r1, =0x90800000\n ldr r2, [r1]", r"read of 4 bytes where there is no memory, address 0x90800000"),
    ],
)
def test_flash_outside_the_chip_is_read_only_and_for_data(body: str, found: str, build_asm: Build) -> None:
    """What can be read there is there: the first load of each program does not fault."""
    text = AFTER.format(body=f"ldr r1, =0x90000000\n ldr r2, [r1]\n {body}")
    elf = build_asm("cortex-m7", BODY, text)
    flash = Region("qspi", "flash", 0x90000000, 0x800000, True, "s", external=True, read=ReadTiming(32, 300, "s"))
    chip = chip_of("cortex-m7")
    emulator = CortexM(elf, msgspec.structs.replace(chip, regions=(*chip.regions, flash)), ("before", "faulty"))
    with pytest.raises(McucError) as caught:
        emulator.run(timeout_s=5)
    assert caught.value.code == "emulated-fault" and re.fullmatch(found, caught.value.found), caught.value.found
    assert "layer faulty" in caught.value.where


def test_arm_state_is_a_fault(build_asm: Build) -> None:
    assert "ARM state" in failing(build_asm, "cortex-m4", "ldr r1, =table - 1\n bx r1").found


def test_an_endless_loop_ends_at_the_time_limit(build_asm: Build) -> None:
    error = failing(build_asm, "cortex-m4", "1: nop\n b 1b", timeout_s=0.2)
    assert (error.code, error.found) == ("emulated-timeout", "the firmware did not end within 0.2 s")
    assert "layer faulty, function faulty" in error.where


def test_stack_overflow(build_asm: Build) -> None:
    error = failing(build_asm, "cortex-m0plus", "mov r4, sp\n ldr r1, =0x3F00\n subs r1, r4, r1\n mov sp, r1\n"
                    " ldr r1, =scratch + 256\n str r1, [r1]\n mov sp, r4")  # fmt: skip
    assert error.code == "emulated-stack"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("nop\n", "never began"),
        ("str r0, [r6]\n", "never ended"),
        ("str r0, [r6]\n b 1f\n 1: str r0, [r6]\n", "begins inside another"),
        ("str r0, [r6, #4]\n", "without a beginning"),
        ("str r0, [r6]\n str r0, [r6]\n str r0, [r6, #4]\n", "2 instructions of one block"),
    ],
)
def test_markers_must_pair(body: str, found: str, build_asm: Build) -> None:
    with pytest.raises(McucError, match=found) as caught:
        CortexM(build_asm("cortex-m3", body), chip_of("cortex-m3")).run()
    assert caught.value.code == "emulated-marks"


def test_exit_code_and_output(build_asm: Build) -> None:
    body = """
        str r0, [r6]
        ldr r1, =text
        movs r0, #4
        bkpt 0xAB
        adds r1, #1
        movs r0, #3
        bkpt 0xAB
        str r0, [r6, #4]
        movs r0, #42
        pop {r4-r7,pc}
        .ltorg
        .balign 4
    text: .asciz "hello"
        .balign 4
    """
    run = CortexM(build_asm("cortex-m0plus", body), chip_of("cortex-m0plus")).run()
    assert (run.exit_code, run.output, run.instructions) == (42, "helloe", 6)


def test_pokes_and_dumps_stay_inside_their_symbol(build_asm: Build) -> None:
    elf = build_asm("cortex-m4", "str r0, [r6]\n ldr r1, [r7, #4]\n str r1, [r7, #8]\n str r0, [r6, #4]\n")
    emulator = CortexM(elf, chip_of("cortex-m4"))
    run = emulator.run([Poke("scratch", 4, b"\x01\x02\x03\x04")], [Dump("scratch", 7, 3)])
    assert run.dumps == (b"\x04\x01\x02",)
    assert emulator.run(dumps=[Dump("scratch", 8, 4)]).dumps == (b"\xa5" * 4,)  # nothing is left of the run before
    for pokes, dumps, code in (
        ([Poke("scratch", 250, bytes(7))], [], "emulated-out-of-symbol"),
        ([Poke("nowhere", 0, b"")], [], "emulated-no-symbol"),
        ([Poke("reset", 0, b"\x00")], [], "emulated-memory"),
        ([], [Dump("scratch", -1, 1)], "emulated-out-of-symbol"),
    ):
        with pytest.raises(McucError) as caught:
            emulator.run(pokes, dumps)
        assert caught.value.code == code


def test_bad_firmware(tmp_path: Path, build_asm: Build) -> None:
    (tmp_path / "empty.elf").write_bytes(b"")
    (tmp_path / "text.elf").write_bytes(b"no firmware at all" * 20)
    good = build_asm("cortex-m4", "str r0, [r6]\n str r0, [r6, #4]\n")
    (tmp_path / "cut.elf").write_bytes(good.read_bytes()[:200])
    for name in ("empty", "text", "cut", "absent"):
        with pytest.raises(McucError) as caught:
            CortexM(tmp_path / f"{name}.elf", chip_of("cortex-m4"))
        assert caught.value.code == "emulated-bad-elf"
    with pytest.raises(McucError) as caught:
        CortexM(good, chip_of("cortex-m4"), ("no_such_layer",))
    assert caught.value.code == "emulated-no-symbol"


def test_memory_that_the_chip_lacks(build_asm: Build) -> None:
    from mcuc.targets import load_chip

    with pytest.raises(McucError) as caught:
        CortexM(build_asm("cortex-m4", "nop\n"), load_chip("mps2-an386"))
    assert caught.value.code == "emulated-memory"


@pytest.mark.parametrize("core", CORES)
def test_ready_bits_follow_enable_bits(core: str, build_asm: Build) -> None:
    """Each enable bit of the chip's model is set, its ready bit waited for, and cleared where it has a ready bit."""
    chip = chip_of(core)
    assert chip.ready
    body, expected = "str r0, [r6]\n", {}
    for row in chip.ready:
        body += f"""
        ldr r1, ={row.register:#x}
        ldr r2, [r1]
        ldr r3, ={row.enable:#x}
        orrs r2, r3
        str r2, [r1]
        ldr r1, ={row.target:#x}
        ldr r3, ={row.ready:#x}
    1:  ldr r2, [r1]
        ands r2, r3
        cmp r2, r3
        bne 1b
        """
        expected[row.target] = expected.get(row.target, 0) | row.ready
    first = chip.ready[0]
    body += f"""
        str r0, [r6, #4]
        ldr r1, ={first.register:#x}
        ldr r2, [r1]
        ldr r3, ={first.enable:#x}
        bics r2, r3
        str r2, [r1]
        ldr r1, ={first.target:#x}
        ldr r3, [r1]
        ldr r1, =scratch
        str r3, [r1]
    """
    run = CortexM(build_asm(core, body), chip).run(dumps=[Dump("scratch", 0, 4)])
    expected[first.target] &= ~first.ready
    for address, bits in expected.items():
        assert run.registers[address] & bits == bits
    assert int.from_bytes(run.dumps[0], "little") & first.ready == 0
