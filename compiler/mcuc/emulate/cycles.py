"""Cycles from executed blocks: published instruction timings, no pipeline state across blocks.

Evidence class "estimated". The rules hold for memory without wait states; behind flash that waits, a taken transfer
costs more and the whole has a pace (counted.py: constants fitted on programs of known silicon time), and weights that
are read from flash are stream_cycles. Sources: Arm Cortex-M0+ TRM DDI 0484 table 3-1; Cortex-M4 TRM 100166 table 3-1
with the fine rules measured on STM32F407 by jnk0le (github.com/jnk0le/random); for the Cortex-M7, of which Arm
publishes no table, the same author's measurements on STM32H743 and quinapalus.com/cm7cycles.html. The Cortex-M33 has no
table either: it is charged as a Cortex-M4. Caches and branch prediction are taken as perfect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mcuc.emulate.counted import CONSTANTS
from mcuc.emulate.instructions import Instruction
from mcuc.targets import Chip

BAND = 0.25  # fraction, of cores and memories (every flash outside a chip) that no program of known silicon time shows
OWN_BAND = 0.10  # at least, behind flash: which lines of weights a cache holds is counted, not traced
Cost = Callable[[Sequence[Instruction]], tuple[float, float]]

_MISS = 2  # cycles that a flash line costs besides its wait states: bus and line fill
_DIVIDE = 7  # 2 to 12 by operand, Cortex-M3 to M33: the middle
_BRANCHES = ("branch", "call", "return")
_COMPUTES = ("alu", "mul", "dsp_mac", "dsp_other", "div")


@dataclass(frozen=True)
class InOrder:
    """A single-issue core. refill: cycles to refill the pipeline after a taken branch. address_stall: cycles that an
    access waits when the instruction right before it computed its address. chained: a load right behind a load costs 1.
    """

    refill: float
    address_stall: int
    chained: bool
    thumb1: bool = False


MODELS: dict[str, InOrder] = {
    "cortex-m0plus": InOrder(refill=1, address_stall=0, chained=False, thumb1=True),
    "cortex-m3": InOrder(refill=2, address_stall=1, chained=True),
    "cortex-m4": InOrder(refill=2, address_stall=1, chained=True),
    "cortex-m33": InOrder(refill=2, address_stall=1, chained=True),
}


def cost_model(chip: Chip, in_flash: bool = True) -> Cost:
    """The cost function of a chip's core: instructions of a block -> (cycles when its last branch falls through, more
    when taken). in_flash: where the block lies, behind waits; else in RAM, from where no transfer refetches."""
    fitted = CONSTANTS.get(chip.core) if chip.flash.wait_states else None
    pace = 1.0 if fitted is None else fitted.pace
    if chip.core == "cortex-m7":
        return lambda block: (pace * dual_issue(block)[0], 0.0)
    model = MODELS[chip.core]
    if fitted is not None and in_flash:
        model = replace(model, refill=model.refill + fitted.refetch)

    def cost(block: Sequence[Instruction]) -> tuple[float, float]:
        cycles, taken = in_order(model, block)
        return pace * cycles, pace * taken

    return cost


def band(chip: Chip) -> float:
    """By which fraction an estimate for the chip may be off."""
    fitted = CONSTANTS.get(chip.core) if chip.flash.fill_cycles and not chip.weights_in else None
    return BAND if fitted is None else max(OWN_BAND, fitted.band)


def stream_cycles(chip: Chip, weight_bytes: int) -> float:
    """Cycles that reading so many bytes of flash once, in order, adds to the cycles of a zero-wait memory.

    A line costs what was measured of the chip (chip.flash.fill_cycles), else its wait states and two cycles; without a
    data cache, for each 16 bytes of the accelerator's line. The rule is within a quarter of what was measured: with
    weights in flash and in RAM the same dense network differed by 0.234 cycles a byte on STM32F746, 0.293 on STM32H7A3,
    0.503 on STM32L4R5 and 0.432 on STM32U575 (MLPerf Tiny v1.2, Bosch HALE, anomaly detection). Weights that a kernel
    reads again are charged again unless a cache holds them (latency/flash.py). Of
    weights outside the chip the board says what a read costs (Region.read).
    """
    if chip.weights_region.read is not None:
        return weight_bytes * chip.weights_region.read.cycles / chip.weights_region.read.bytes
    if not chip.flash.wait_states:
        return 0.0
    if chip.flash.fill_cycles:
        line = chip.caches.line_bytes or chip.flash.accelerator.line_bytes or chip.flash.read_bytes
        return weight_bytes * chip.flash.fill_cycles / line
    miss = chip.flash.wait_states + _MISS
    if chip.caches.dcache_bytes:
        return weight_bytes * miss / chip.caches.line_bytes
    line = max(chip.flash.read_bytes, chip.flash.accelerator.line_bytes)
    return weight_bytes * miss / min(line, 16)


def in_order(core: InOrder, block: Sequence[Instruction]) -> tuple[float, float]:
    """Cycles of a block on a single-issue core."""
    cycles, taken = 0.0, 0.0
    before: Instruction | None = None
    for i in block:
        cycles += _single(core, i, before)
        if i.cls == "branch_cond" or (i.conditional and (i.to_pc or i.cls in _BRANCHES)):
            taken = core.refill
        elif i.to_pc or i.cls in _BRANCHES:
            cycles += core.refill
        before = i
    return cycles, taken


def _single(core: InOrder, i: Instruction, before: Instruction | None) -> int:
    stall = 0
    if i.base and before is not None and before.cls in _COMPUTES and before.writes & i.base:
        stall = core.address_stall
    # A single load lets the next access overlap with it, unless that one needs the loaded value as its address.
    follows = core.chained and before is not None and before.cls in ("load", "fp_load") and before.words == 1
    overlaps = follows and before is not None and before.loads not in i.base
    if i.cls == "load":
        return stall + (1 if overlaps else 2)
    if i.cls == "store":
        if core.thumb1:
            return 2
        return stall + (1 if overlaps or not i.indexed else 2)  # the write buffer hides the store itself
    if i.cls in ("fp_load", "fp_store"):
        return stall + (1 if overlaps and i.words == 1 else 1 + i.words)
    if i.cls in ("load_multi", "store_multi"):
        return stall + 1 + i.words + (1 if core.thumb1 and i.to_pc else 0)
    if i.cls == "div":
        return _DIVIDE
    if i.cls == "fp":
        return _floating(i)
    if i.cls == "call" and core.thumb1 and i.name == "bl":
        return 2
    if i.name in ("tbb", "tbh"):
        return 2
    if i.cls == "other":
        barrier = i.name in ("isb", "dsb", "dmb", "msr", "mrs")
        return 3 if barrier and core.thumb1 else {"isb": 4, "msr": 2, "mrs": 2}.get(i.name, 1)
    return 1


def _floating(i: Instruction) -> int:
    if i.name in ("vdiv", "vsqrt"):
        return 14
    return 3 if i.name.startswith(("vmla", "vmls", "vfma", "vfms", "vnml", "vfnm")) else 1


_UNIT = {
    "mul": "multiply",
    "dsp_mac": "multiply",
    "dsp_other": "simd",
    "store": "store",
    "store_multi": "all",
    "load_multi": "all",
    "fp_store": "store",
    "fp": "float",
    "fp_load": "load",
    "branch_cond": "branch",
    "branch": "branch",
    "call": "branch",
    "return": "branch",
    "div": "all",
    "it": "alu",
    "other": "all",
}
_PORTS = {"load": 1, "store": 1, "multiply": 1, "simd": 1, "float": 1, "branch": 1, "alu": 2, "all": 1}


def dual_issue(block: Sequence[Instruction]) -> tuple[float, float]:
    """Cycles of a block on a Cortex-M7: two instructions a cycle in order, one per unit (two for ALU), each waiting for
    its operands; a correctly predicted branch costs its slot only."""
    now, slots = 0, 0
    used: dict[str, int] = {}
    ready: dict[int, int] = {}
    summed: dict[int, int] = {}  # when a register may be accumulated to: multiply chains run one a cycle
    flags = 0
    for i in block:
        unit = _UNIT.get(i.cls, "load" if i.cls == "load" else "alu")
        at = max([now, *(summed.get(r, 0) if r == i.accumulator else ready.get(r, 0) for r in i.reads)])
        if i.reads_flags and i.cls != "branch_cond":
            at = max(at, flags)
        full = slots >= 2 or used.get("all") or (unit == "all" and slots) or used.get(unit, 0) >= _PORTS[unit]
        if at > now or full:
            now, slots, used = max(at, now + 1) if full else at, 0, {}
        slots += 1
        used[unit] = used.get(unit, 0) + 1
        latency, hold = 1, 0
        if i.cls in ("load_multi", "store_multi", "fp_load", "fp_store"):
            hold = (i.words + 1) // 2 - 1
            latency = 2 + hold
        elif i.cls in ("load", "mul", "dsp_mac"):
            latency = 2
        elif i.cls == "fp":
            latency = 16 if i.name in ("vdiv", "vsqrt") else 3
        elif i.cls == "div":
            latency, hold = _DIVIDE, _DIVIDE - 1
        for r in i.writes:
            early = i.base and r in i.base and r != i.loads and i.cls != "load_multi"  # written-back address
            ready[r] = now + (1 if early else latency)
            summed[r] = now + 1 if i.cls in ("mul", "dsp_mac") else ready[r]
        if i.writes_flags:
            flags = now + 1
        if hold:
            now, slots, used = now + hold, 2, {}
    return now + 1, 0
