"""The counts are exact: equal to hand counts and to an independent counter, whatever the core."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from firmwares import CORES, Build, chip_of

from mcuc.emulate import counter, hook
from mcuc.emulate.cortex_m import CortexM, Dump, EmulatedRun, Poke

LAYERS = ("layer_dense", "layer_requantize", "layer_argmax")
INPUT = bytes((37 * i + 11) % 256 for i in range(64))
IO: dict[str, Any] = {"pokes": [Poke("input", 0, INPUT)], "dumps": [Dump("output", 0, 64)]}


def net(build_net: Build, core: str) -> CortexM:
    return CortexM(build_net(core), chip_of(core), LAYERS)


@pytest.mark.parametrize("core", CORES)
def test_a_counted_loop(core: str, build_asm: Build) -> None:
    body = """
        movs r4, #10
        str r0, [r6]
    1:  ldr r1, [r7]
        str r1, [r7, #4]
        muls r1, r0, r1
        push {r1, r2}
        pop {r1, r2}
        subs r4, #1
        bne 1b
        nop
        str r0, [r6, #4]
        nop
    """
    run = CortexM(build_asm(core, body), chip_of(core)).run()
    assert run.instructions == 71
    assert dict(run.mix) == {
        "alu": 10,
        "mul": 10,
        "load": 10,
        "load_multi": 10,
        "store": 10,
        "store_multi": 10,
        "branch_cond": 10,
        "other": 1,
        "branch_cond_taken": 9,
        "branch_cond_not_taken": 1,
        "load_multi_regs": 20,
        "store_multi_regs": 20,
    }
    assert run.stack_bytes == 8
    assert run.functions == {"main": 71}


@pytest.mark.parametrize(("between", "expected"), [("", 0), ("nop\n", 1), ("b 1f\n1:\n", 1)])
def test_what_lies_between_the_markers(between: str, expected: int, build_asm: Build) -> None:
    run = CortexM(build_asm("cortex-m4", f"str r0, [r6]\n{between}str r0, [r6, #4]\n"), chip_of("cortex-m4")).run()
    assert run.instructions == expected


@pytest.mark.parametrize("core", CORES)
def test_counted_parts_add_up_and_what_is_between_them_does_not_count(core: str, build_asm: Build) -> None:
    part = "str r0, [r6]\nb {n}f\n{n}: push {{r0, r1}}\npop {{r0, r1}}\nstr r0, [r6, #4]\n"
    between = "b 9f\n9: nop\nsub sp, #64\nstr r0, [sp]\nadd sp, #64\nb 8f\n8:\n"
    body = part.format(n=1) + between + part.format(n=2) + "b 7f\n7:\n" + part.format(n=3)
    run = CortexM(build_asm(core, body), chip_of(core)).run()
    assert (run.instructions, run.stack_bytes, run.functions) == (9, 64, {"main": 9})


@pytest.mark.parametrize("core", CORES)
def test_a_file_is_read_by_semihosting_from_where_the_last_read_ended(core: str, build_asm: Build) -> None:
    """Eight bytes of nine, then the rest: the second call says that seven are missing."""
    body = """
        ldr r5, =block
        movs r4, #2
    1:  movs r0, #1
        mov r1, r5
        bkpt 0xAB
        str r0, [r5]
        movs r0, #6
        mov r1, r5
        bkpt 0xAB
        str r0, [r7, #32]
        subs r4, #1
        bne 2f
        b 3f
    2:  ldr r1, [r5, #4]
        adds r1, #8
        str r1, [r5, #4]
        movs r0, #6
        mov r1, r5
        bkpt 0xAB
        str r0, [r7, #36]
        b 3f
        .ltorg
    3:  ldr r6, =0xE0001F00
        str r0, [r6]
        b 4f
    4:  str r0, [r6, #4]
    """
    after = '.section .data, "aw"\n.balign 4\nblock: .word 0, scratch, 8\n.text\n'
    core_run = CortexM(build_asm(core, body, after), chip_of(core))
    (found,) = core_run.run(dumps=[Dump("scratch", 0, 40)], file=b"123456789").dumps
    assert found[:9] == b"123456789" and found[9:16] == b"\xa5" * 7
    assert (found[32], found[36]) == (0, 7)
    assert core_run.run(dumps=[Dump("scratch", 0, 40)]).dumps[0][32] == 8  # no file: all of them are missing


@pytest.mark.parametrize("core", CORES[1:])
def test_skipped_conditional_instructions_count(core: str, build_asm: Build) -> None:
    body = """
        movs r4, #6
        str r0, [r6]
    1:  tst r4, #1
        ittee eq
        ldreq r1, [r7]
        addeq r2, #1
        subne r2, #1
        strne r2, [r7]
        subs r4, #1
        bne 1b
        str r0, [r6, #4]
    """
    run = CortexM(build_asm(core, body), chip_of(core)).run()
    assert run.instructions == 6 * 8
    assert (run.mix["load"], run.mix["store"], run.mix["it"]) == (6, 6, 6)


@pytest.mark.parametrize("core", CORES)
def test_equal_to_the_independent_counter(core: str, build_net: Build, cmemu: ModuleType) -> None:
    emulator = net(build_net, core)
    run = emulator.run(**IO)
    theirs = cmemu.run_elf(str(build_net(core)), core, echo=False, poke=[("input", INPUT)])
    region = theirs["regions"][0]
    assert theirs["error"] is None
    assert run.instructions == region["instructions"]
    assert dict(run.mix) == region["mix"]
    where = emulator.image.symbols  # functions by address: one may have several names
    assert {where[f].address: n for f, n in run.functions.items()} == {
        where[f].address: n for f, n in region["functions"].items()
    }
    assert run.exit_code == theirs["exit_code"]


@pytest.mark.parametrize("core", CORES)
def test_layers_add_up(core: str, build_net: Build) -> None:
    run = net(build_net, core).run(**IO)
    assert [layer.symbol for layer in run.layers] == ["", *LAYERS]
    assert sum(layer.instructions for layer in run.layers) == run.instructions
    mix: Counter[str] = Counter()
    for layer in run.layers:
        mix.update(layer.mix)
    assert {k: v for k, v in mix.items() if v} == {k: v for k, v in run.mix.items() if v}
    assert abs(sum(layer.cycles for layer in run.layers) - run.cycles) <= 2  # each is rounded
    assert all(layer.instructions > 64 for layer in run.layers[1:])
    assert 0 < run.layers[0].instructions < 40


def test_a_layer_owns_its_helpers_and_what_follows(build_asm: Build) -> None:
    body = """
        str r0, [r6]
        bl first
        nop
        nop
        bl second
        bl shared
        str r0, [r6, #4]
    """
    after = """
        .thumb_func
        .type shared,%function
    shared: nop
        bx lr
        .size shared, . - shared
        .thumb_func
        .type first,%function
    first:  subs r4, #1
        push {lr}
        bl shared
        pop {pc}
        .size first, . - first
        .thumb_func
        .type second,%function
    second: movs r4, #3
    2:  subs r4, #1
        bne 2b
        bx lr
        .size second, . - second
    """
    run = CortexM(build_asm("cortex-m0plus", body, after), chip_of("cortex-m0plus"), ("first", "second")).run()
    assert [layer.instructions for layer in run.layers] == [1, 6 + 3, 8 + 3]
    assert run.functions == {"main": 5, "shared": 4, "first": 4, "second": 8}


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m7"])
def test_runs_repeat(core: str, build_net: Build) -> None:
    emulator = net(build_net, core)
    first = emulator.run(**IO)
    other = emulator.run(pokes=[Poke("input", 3, b"\x01\x02")], dumps=[Dump("output", 0, 64)])
    assert other.dumps != first.dumps
    assert emulator.run(**IO) == first
    assert net(build_net, core).run(**IO) == first


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_the_python_counter_counts_the_same(core: str, build_net: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = net(build_net, core).run(**IO)
    assert isinstance(counter.make_counter({}), counter.CompiledCounter)
    monkeypatch.setattr(counter, "hook_library", lambda: None)
    assert net(build_net, core).run(**IO) == expected


def test_many_blocks(build_asm: Build) -> None:
    """More blocks than the table starts with: 3,000 short blocks, in two rounds, in two layers."""
    hops = "".join(f"cmp r4, #{i % 200}\n beq {i + 1000}f\n nop\n {i + 1000}:\n" for i in range(3000))
    after = f"""
        .thumb_func
        .type hops,%function
    hops: {hops} bx lr
        .size hops, . - hops
        .thumb_func
        .type again,%function
    again: push {{lr}}
        bl hops
        pop {{pc}}
        .size again, . - again
    """
    body = "movs r4, #7\n str r0, [r6]\n bl again\n bl hops\n bl again\n str r0, [r6, #4]\n"
    run = CortexM(build_asm("cortex-m3", body, after), chip_of("cortex-m3"), ("again",)).run()
    once = 3000 * 3 - 15 + 1
    assert run.instructions == 3 * once + 2 * 3 + 3 - 0
    assert [layer.instructions for layer in run.layers] == [1, run.instructions - 1]
    assert run.mix["branch_cond_taken"] == 3 * 15


def test_the_hook_is_cached_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    hook.hook_library.cache_clear()
    try:
        assert hook.hook_library() is not None
        (library,) = (tmp_path / "mcuc").glob("hook-*.so")
        stamp = library.stat().st_mtime_ns
        hook.hook_library.cache_clear()
        assert hook.hook_library() is not None
        assert library.stat().st_mtime_ns == stamp
    finally:
        hook.hook_library.cache_clear()


def test_flat_run_is_frozen(build_net: Build) -> None:
    run = net(build_net, "cortex-m3").run(**IO)
    assert isinstance(run, EmulatedRun)
    with pytest.raises(AttributeError):
        run.cycles = 0  # type: ignore[misc]
