"""The static stack bound holds, and where there is none it says why."""

from __future__ import annotations

import pytest
from firmwares import CORES, Build, chip_of
from test_counts import INPUT, LAYERS

from mcuc.emulate.cortex_m import CortexM, Poke
from mcuc.emulate.stack import bound_of, stack_bound
from mcuc.errors import McucError


@pytest.mark.parametrize("core", CORES)
def test_the_bound_is_tight_over_the_measured_mark(core: str, build_net: Build) -> None:
    emulator = CortexM(build_net(core), chip_of(core), LAYERS)
    run = emulator.run([Poke("input", 0, INPUT)])
    bound = bound_of(emulator.image, chip_of(core), "net_run")
    assert bound.unbounded == ()
    assert bound.bytes is not None
    assert run.stack_bytes <= bound.bytes <= run.stack_bytes + 64
    assert bound.path[0] == "net_run"


BODY = "str r0, [r6]\n bl outer\n str r0, [r6, #4]\n"


def functions(**bodies: str) -> str:
    return "".join(
        f"    .thumb_func\n    .type {n},%function\n    .balign 2\n{n}:\n    {b}\n    .ltorg\n    .size {n}, . - {n}\n"
        for n, b in bodies.items()
    )


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        ({"outer": "bx lr"}, 0),
        ({"outer": "push {r4, lr}\n sub sp, #24\n add sp, #24\n pop {r4, pc}"}, 32),
        ({"outer": "push {r4, lr}\n bl inner\n pop {r4, pc}", "inner": "push {r0-r3}\n add sp, #16\n bx lr"}, 24),
        ({"outer": "push {r4, lr}\n bl inner\n bl inner\n pop {r4, pc}", "inner": "push {r0}\n pop {r0}\n bx lr"}, 12),
        # a tail call happens with the frame gone
        ({"outer": "push {r4, lr}\n pop {r4}\n pop {r0}\n mov lr, r0\n b inner",
          "inner": "push {r0-r3}\n add sp, #16\n bx lr"}, 16),
        # a large frame of Thumb-1 comes from a literal
        ({"outer": "push {r4, lr}\n ldr r4, =-1032\n add sp, r4\n ldr r4, =1032\n add sp, r4\n pop {r4, pc}"}, 1040),
        # a loop back to a function's first instruction is no call
        ({"outer": "subs r0, #1\n bpl outer\n bx lr"}, 0),
        # a frame pointer
        ({"outer": "push {r4, r7, lr}\n add r7, sp, #4\n sub sp, #40\n subs r4, r7, #4\n mov sp, r4\n"
          " pop {r4, r7, pc}"}, 52),
        # a far jump inside a large function of Armv6-M is a BL that nobody returns from
        ({"outer": "push {r4, lr}\n sub sp, #8\n bl 2f\n .space 8\n 1: add sp, #8\n pop {r4, pc}\n 2: bl 1b"}, 16),
        # both sides of a branch
        ({"outer": "push {lr}\n cmp r0, #0\n beq 1f\n sub sp, #8\n bl inner\n add sp, #8\n 1: bl inner\n pop {pc}",
          "inner": "push {r0}\n pop {r0}\n bx lr"}, 16),
    ],
)  # fmt: skip
def test_bound_of_known_frames(bodies: dict[str, str], expected: int, build_asm: Build) -> None:
    elf = build_asm("cortex-m0plus", BODY, functions(**bodies))
    bound = stack_bound(elf, chip_of("cortex-m0plus"), "outer")
    assert (bound.bytes, bound.unbounded) == (expected, ())
    assert CortexM(elf, chip_of("cortex-m0plus")).run().stack_bytes <= expected


def test_a_conditional_return_pops_on_one_path_only(build_asm: Build) -> None:
    body = "push {r4, r5, r6, lr}\n cmp r0, #0\n it ne\n popne {r4, r5, r6, pc}\n bl leaf\n pop {r4, r5, r6, pc}"
    elf = build_asm("cortex-m4", "nop\n", functions(outer=body, leaf="push {r0-r3}\n pop {r0-r3}\n bx lr"))
    bound = stack_bound(elf, chip_of("cortex-m4"), "outer")
    assert (bound.bytes, bound.unbounded) == (32, ())


def test_wide_instructions(build_asm: Build) -> None:
    body = """push.w {r4-r9, lr}
        vpush {d8-d9}
        sub.w sp, sp, #1024
        str r0, [sp, #-8]!
        mov r4, sp
        bfc r4, #0, #5
        mov sp, r4
        tbb [pc, r0]
    1:  .byte (2f - 1b) / 2, (3f - 1b) / 2, (4f - 1b) / 2
        .balign 2
    2:  bl leaf
    3:  nop
    4:  add.w sp, sp, #1056
        vpop {d8-d9}
        pop.w {r4-r9, pc}"""
    elf = build_asm("cortex-m4", "nop\n", functions(outer=body, leaf="push {r0, r1}\n pop {r0, r1}\n bx lr"))
    bound = stack_bound(elf, chip_of("cortex-m4"), "outer")
    assert bound.unbounded == ()
    assert (bound.bytes, bound.path) == (28 + 16 + 1024 + 8 + 28 + 8, ("outer", "leaf"))


@pytest.mark.parametrize(
    ("bodies", "why"),
    [
        ({"outer": "push {lr}\n bl outer\n pop {pc}"}, "outer calls itself"),
        ({"outer": "push {lr}\n bl two\n pop {pc}", "two": "push {lr}\n bl outer\n pop {pc}"}, "outer calls itself"),
        ({"outer": "push {lr}\n blx r1\n pop {pc}"}, "indirect call (blx r1)"),
        ({"outer": "bx r2"}, "indirect call (bx r2)"),
        ({"outer": "push {lr}\n mov sp, r3\n pop {pc}"}, "the stack pointer is computed"),
        ({"outer": "pop {r0}\n bx lr"}, "more is popped than was pushed"),
        ({"outer": "1: push {r0}\n cmp r0, r1\n bne 1b\n bx lr"}, "the stack differs between paths"),
    ],
)
def test_unbounded_says_why_and_where(bodies: dict[str, str], why: str, build_asm: Build) -> None:
    bound = stack_bound(build_asm("cortex-m0plus", "nop\n", functions(**bodies)), chip_of("cortex-m0plus"), "outer")
    assert bound.bytes is None
    assert why in bound.unbounded[0]


def test_no_such_function(build_asm: Build) -> None:
    with pytest.raises(McucError, match="no function nowhere"):
        stack_bound(build_asm("cortex-m0plus", "nop\n"), chip_of("cortex-m0plus"), "nowhere")
