"""The cycle estimate follows the published timings, block by block."""

from __future__ import annotations

from types import ModuleType

import msgspec
import pytest
from firmwares import CORES, Build, chip_of
from test_counts import INPUT, LAYERS

from mcuc.emulate.cortex_m import CortexM, Poke
from mcuc.emulate.counted import CONSTANTS
from mcuc.emulate.cycles import BAND, OWN_BAND, stream_cycles
from mcuc.targets import Chip, load_chip

LOOP = """
    movs r4, #100
    str r0, [r6]
1:  {body}
    subs r4, #1
    bne 1b
    str r0, [r6, #4]
"""


def without_waits(chip: Chip) -> Chip:
    """The chip with a flash that never waits: the published timings alone."""
    return msgspec.structs.replace(
        chip, flash=msgspec.structs.replace(chip.flash, wait_states=0, fill_cycles=0.0))


def per_round(build_asm: Build, core: str, body: str, waits: bool = False) -> float:
    """Cycles of a round of the loop without its own subs and bne, the last round's branch apart."""
    chip = chip_of(core) if waits else without_waits(chip_of(core))
    with_body, empty = (CortexM(build_asm(core, LOOP.format(body=b)), chip).run().cycles for b in (body, "nop"))
    return (with_body - empty) / 100 + 1


@pytest.mark.parametrize(
    ("core", "body", "expected"),
    [
        (
            "cortex-m0plus",
            "ldr r1, [r7]\n str r1, [r7]\n muls r1, r0, r1\n push {r1, r2}\n pop {r1, r2}",
            2 + 2 + 1 + 3 + 3,
        ),
        ("cortex-m0plus", "bl 2f\n b 3f\n 2: bx lr\n 3:", 3 + 2 + 2),
        ("cortex-m3", "ldr r1, [r7]\n ldr r2, [r7, #4]\n ldr r3, [r7, #8]", 4),
        ("cortex-m4", "ldr r1, [r7]\n ldr r2, [r7, #4]\n ldr r3, [r7, #8]\n ldr r5, [r7, #12]", 5),
        ("cortex-m4", "smlad r1, r2, r3, r1\n smlad r1, r2, r3, r1\n sxtb16 r2, r3", 3),
        ("cortex-m4", "ldrd r1, r2, [r7]\n stm r7, {r1, r2}", 3 + 3),
        ("cortex-m4", "adds r1, r7, #4\n ldr r2, [r1]", 1 + 1 + 2),
        ("cortex-m4", "vmul.f32 s0, s1, s2\n vmla.f32 s0, s1, s2\n vdiv.f32 s0, s1, s2", 1 + 3 + 14),
        ("cortex-m33", "b 2f\n 2:", 3),
        ("cortex-m4", "b 2f\n 2:", 3),
        ("cortex-m7", "smlad r1, r2, r3, r1\n smlad r1, r2, r3, r1\n smlad r1, r2, r3, r1\n smlad r1, r2, r3, r1", 4),
    ],
)
def test_known_timings(core: str, body: str, expected: int, build_asm: Build) -> None:
    assert abs(per_round(build_asm, core, body) - expected) <= (0.5 if core == "cortex-m7" else 0.05)


def test_two_at_a_time_on_the_m7(build_asm: Build) -> None:
    pair = "adds r1, r2, #1\n ldr r3, [r7]\n" * 8
    chain = "adds r1, r1, #1\n" * 16
    assert per_round(build_asm, "cortex-m7", pair) < 9.1
    assert per_round(build_asm, "cortex-m7", chain) > 14.9


@pytest.mark.parametrize("core", CORES)
def test_near_the_independent_estimate(core: str, build_net: Build, cmemu: ModuleType) -> None:
    run = CortexM(build_net(core), without_waits(chip_of(core)), LAYERS).run([Poke("input", 0, INPUT)])
    region = cmemu.run_elf(str(build_net(core)), core, echo=False, poke=[("input", INPUT)])["regions"][0]
    theirs = region[{"cortex-m0plus": "cycles_m0plus_est", "cortex-m7": "cycles_m7_est"}.get(core, "cycles_m4_est")]
    assert run.cycles == pytest.approx(theirs, rel=0.12)
    assert run.cycles_band == BAND


@pytest.mark.parametrize(("core", "published"), [("cortex-m0plus", 2), ("cortex-m4", 3), ("cortex-m33", 3)])
def test_behind_flash_that_waits_a_taken_branch_costs_what_was_fitted(
    core: str, published: int, build_asm: Build
) -> None:
    c = CONSTANTS[core]
    found = per_round(build_asm, core, "b 2f\n 2:", waits=True)
    assert found == pytest.approx((published + c.refetch) * c.pace, abs=0.08)


@pytest.mark.parametrize("core", CORES)
def test_the_band_is_that_of_the_core_where_silicon_was_seen(core: str, build_asm: Build) -> None:
    run = CortexM(build_asm(core, LOOP.format(body="nop")), chip_of(core)).run()
    expected = max(OWN_BAND, CONSTANTS[core].band) if core in CONSTANTS else BAND
    assert run.cycles_band == expected


@pytest.mark.parametrize(
    ("chip", "measured"), [("stm32f746", 0.234), ("stm32h7a3ziq", 0.293), ("stm32l4r5", 0.503), ("stm32u575", 0.432)]
)
def test_streaming_weights_from_flash(chip: str, measured: float) -> None:
    assert stream_cycles(load_chip(chip), 264192) / 264192 == pytest.approx(measured, rel=0.1)
    assert stream_cycles(load_chip(chip), 0) == 0
