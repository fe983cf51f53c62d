"""Chips and boards as typed data, and what must hold between their values."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal

import msgspec

from mcuc.errors import McucError

Core = Literal["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"]
Fpu = Literal["none", "fpv4-sp-d16", "fpv5-sp-d16"]

# Which units a core can have (Arm Cortex-M technical reference manuals); DSP is fixed except on the M33.
_FPUS: dict[Core, tuple[Fpu, ...]] = {
    "cortex-m0plus": ("none",),
    "cortex-m3": ("none",),
    "cortex-m4": ("none", "fpv4-sp-d16"),
    "cortex-m7": ("none", "fpv5-sp-d16"),
    "cortex-m33": ("none", "fpv5-sp-d16"),
}
_DSP: dict[Core, tuple[bool, ...]] = {
    "cortex-m0plus": (False,),
    "cortex-m3": (False,),
    "cortex-m4": (True,),
    "cortex-m7": (True,),
    "cortex-m33": (False, True),
}


class ReadTiming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What reads of a memory-mapped flash outside the chip cost: every `bytes`, a cache line say, so many cycles of
    the core's clock beyond those of a memory without wait states. next_cycles: the same of `bytes` that lie right
    behind those read last, which need no command of their own; 0 where that is no faster."""

    bytes: int
    cycles: float
    source: str
    next_cycles: float = 0.0


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One memory region. base, size in bytes; dma: whether DMA reaches it; source: datasheet and section.

    distance: what lies between the core and it, by which RAM is ranked: 0 tightly coupled, 1 the core's bus matrix,
    2 another domain's bus behind that one, 3 a memory outside the chip. data: whether an arena may lie in it.
    external: outside the chip, added by a board, and used only where it is named. code: whether the core fetches
    instructions from it without waiting. read: of flash outside the chip, which can hold weights.
    """

    name: str
    kind: Literal["flash", "ram"]
    base: int
    size: int
    dma: bool
    source: str
    distance: int = 1
    data: bool = True
    external: bool = False
    code: bool = False
    read: ReadTiming | None = None

    @property
    def end(self) -> int:
        """First address behind the region."""
        return self.base + self.size


class Accelerator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cache between the flash and the core (ART, ICACHE), in bytes, 0 where there is none.

    shared: instructions and constants use the same bytes, so the two sizes do not add up.
    """

    instruction_bytes: int
    data_bytes: int
    line_bytes: int
    shared: bool
    source: str


class FlashTiming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a read of the flash costs at the chip's clock: read_bytes a line, each 1 + wait_states flash clocks.

    fill_cycles: what a line that no cache holds costs beyond one that is held, of the cache's line size (without a data
    cache: of read_bytes); 0 where nothing has been measured.
    """

    read_bytes: int
    wait_states: int
    prefetch: bool
    accelerator: Accelerator
    source: str
    fill_cycles: float = 0.0


class Caches(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Level-1 caches of the core, in bytes, 0 where there is none."""

    icache_bytes: int
    dcache_bytes: int
    line_bytes: int
    source: str


class ClockStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step that the startup takes to reach clock_hz, on a 32-bit register.

    write: register = value. modify: register = (register & ~mask) | value. wait: until (register & mask) == value,
    for a bounded time, then the fault handler. delay: value rounds of an empty loop.
    """

    op: Literal["write", "modify", "wait", "delay"]
    comment: str
    address: int = 0
    mask: int = 0xFFFFFFFF
    value: int = 0


class ReadyRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Peripheral model for an emulator: while all `enable` bits of `register` are set, all `ready` bits of
    `ready_register` (the same register where None) read as ones, else as zeros."""

    register: int
    enable: int
    ready: int
    comment: str
    ready_register: int | None = None

    @property
    def target(self) -> int:
        """Address of the register that holds the ready bits."""
        return self.register if self.ready_register is None else self.ready_register


class RegisterValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a register holds after the startup: (register & mask) == value."""

    address: int
    mask: int
    value: int
    comment: str


class Chip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A microcontroller. The first flash region holds code and weights.

    linked_ram: names of RAM regions, contiguous and ascending, that together hold data, arena and stack. weights_in:
    the flash region outside the chip that holds the weights instead; no file sets it, `targets.weights_outside` does.
    """

    name: str
    core: Core
    fpu: Fpu
    dsp: bool
    clock_hz: int
    regions: tuple[Region, ...]
    linked_ram: tuple[str, ...]
    flash: FlashTiming
    caches: Caches
    source: str
    clock_init: tuple[ClockStep, ...] = ()
    ready: tuple[ReadyRow, ...] = ()
    expected_final: tuple[RegisterValue, ...] = ()
    weights_in: str = ""

    @property
    def flash_region(self) -> Region:
        """The chip's own flash, which code is linked to."""
        return next(r for r in self.regions if r.kind == "flash" and not r.external)

    @property
    def external_flash(self) -> Region | None:
        """The largest flash that the board adds, None where it adds none."""
        found = [r for r in self.regions if r.kind == "flash" and r.external]
        return max(found, key=lambda r: r.size, default=None)

    @property
    def weights_region(self) -> Region:
        """The flash that weights are linked to."""
        return self.region(self.weights_in) if self.weights_in else self.flash_region

    @property
    def weights_wait(self) -> bool:
        """Whether reads of weights wait."""
        return self.weights_region.external or self.flash.wait_states > 0

    @property
    def ram_base(self) -> int:
        """First address of the linked RAM."""
        return self.region(self.linked_ram[0]).base

    @property
    def ram_bytes(self) -> int:
        """Size of the linked RAM in bytes."""
        return sum(self.region(name).size for name in self.linked_ram)

    @property
    def arena_align(self) -> int:
        """Alignment of the arena in bytes: a cache line where the core has a data cache, else 16."""
        return 32 if self.caches.dcache_bytes else 16

    @property
    def code_ram(self) -> Region | None:
        """RAM from which code runs without waits: tightly coupled memory before what data needs too."""
        found = [r for r in self.regions if r.kind == "ram" and r.code]
        return min(found, key=lambda r: (r.data, r.base), default=None)

    def region(self, name: str) -> Region:
        """The region of that name; KeyError where there is none."""
        for region in self.regions:
            if region.name == name:
                return region
        raise KeyError(name)


class Board(msgspec.Struct, frozen=True):
    """A board: a chip and what the board adds.

    The board's external memories are regions of its chip. reserved_sram: bytes at the end of the linked RAM that the
    firmware leaves alone. qemu_machine: the name of the same board in qemu-system-arm, or empty.
    """

    name: str
    title: str
    chip: Chip
    source: str
    reserved_sram: int = 0
    qemu_machine: str = ""

    @property
    def sram_bytes(self) -> int:
        """RAM that data, arena and stack may share, in bytes."""
        return self.chip.ram_bytes - self.reserved_sram

    @property
    def flash_bytes(self) -> int:
        """The chip's own flash, which code and weights may share, in bytes."""
        return self.chip.flash_region.size

    @property
    def all_flash_bytes(self) -> int:
        """The same with the flash outside the chip, which may hold weights."""
        outside = self.chip.external_flash
        return self.flash_bytes + (outside.size if outside is not None else 0)

    def holds(self, weights: int, code: int) -> bool:
        """Whether so many bytes of weights and of code find room in its flash."""
        return code <= self.flash_bytes and weights + code <= self.all_flash_bytes

    @property
    def data_regions(self) -> tuple[Region, ...]:
        """RAM that an arena may lie in: the nearest to the core first, then by address."""
        found = [r for r in self.chip.regions if r.kind == "ram" and r.data]
        return tuple(sorted(found, key=lambda r: (r.distance, r.base)))

    @property
    def home(self) -> Region:
        """Where static data and the stack are linked to when arenas have regions of their own: the last linked RAM."""
        linked = [self.chip.region(name) for name in self.chip.linked_ram]
        return [r for r in linked if self.usable_bytes(r)][-1]

    def usable_bytes(self, region: Region) -> int:
        """Bytes of a RAM region without what the board reserves at the end of the linked RAM."""
        end = self.chip.ram_base + self.sram_bytes
        return max(0, min(region.end, end) - region.base) if region.name in self.chip.linked_ram else region.size


def check_name(name: str, where: str) -> None:
    """McucError unless it is fit for a linker script's or a C file's comment."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name, re.ASCII) is not None
    require(plain, where, f"name {name[:80]!r} must be 1 to 64 letters, digits, - and _, the first a letter or digit")


def check_chip(chip: Chip, where: str) -> None:
    """McucError where the values contradict each other or the core."""
    check_name(chip.name, where)
    require(chip.clock_hz > 0, where, f"clock_hz is {chip.clock_hz}, it must be positive")
    require(chip.fpu in _FPUS[chip.core], where, f"a {chip.core} has no {chip.fpu}")
    require(chip.dsp in _DSP[chip.core], where, f"dsp = {str(chip.dsp).lower()} is wrong for a {chip.core}")
    inside = any(r.kind == "flash" and not r.external for r in chip.regions)
    require(inside, where, "there is no region of kind flash")
    names = [r.name for r in chip.regions]
    require(len(set(names)) == len(names), where, "two regions have the same name")
    for region in chip.regions:  # the name goes into the linker script and the model's header
        plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,31}", region.name, re.ASCII) is not None
        require(plain, where, f"region {region.name[:80]!r} must be 1 to 32 letters, digits and _, the first a letter")
        require(region.name != "all", where, "no region can be named 'all', which stands for all of them")
        require(0 <= region.distance <= 3, where, f"region {region.name} has distance {region.distance}, not 0 to 3")
        _check_read(region, where)
        inside = region.base >= 0 and region.size > 0 and region.end <= 1 << 32
        require(inside, where, f"region {region.name} is empty or outside the 32-bit address space")
        require(region.base % 32 == 0, where, f"region {region.name} does not start at a multiple of 32")
    ordered = sorted(chip.regions, key=lambda r: r.base)
    for low, high in pairwise(ordered):
        require(low.end <= high.base, where, f"regions {low.name} and {high.name} overlap")
    _check_linked_ram(chip, where)
    for region in chip.regions:
        linked = not region.data or region.name in chip.linked_ram
        require(not region.code or linked, where, f"region {region.name} is for code, but data may lie in it unlinked")
    timed = chip.flash.read_bytes > 0 and chip.flash.wait_states >= 0 and 0 <= chip.flash.fill_cycles < 1000
    require(timed, where, "flash timing is out of range")
    for size, line in (
        (chip.caches.icache_bytes, chip.caches.line_bytes),
        (chip.caches.dcache_bytes, chip.caches.line_bytes),
        (chip.flash.accelerator.instruction_bytes, chip.flash.accelerator.line_bytes),
        (chip.flash.accelerator.data_bytes, chip.flash.accelerator.line_bytes),
    ):
        ok = size == 0 or (size > 0 and line > 0 and size % line == 0)
        require(ok, where, f"a cache of {size} bytes does not consist of lines of {line} bytes")
    sources = [chip.source, chip.flash.source, chip.flash.accelerator.source, chip.caches.source]
    sources += [r.source for r in chip.regions] + [s.comment for s in chip.clock_init]
    require(all(sources), where, "a source or comment is empty: every number carries its source")
    for step in chip.clock_init:  # stands in a comment of the generated clock table
        plain = step.comment.isprintable() and "*/" not in step.comment and "/*" not in step.comment
        require(plain, where, f"comment {step.comment[:80]!r} has a line break, a control character, /* or */")
    _check_registers(chip, where)


def _check_read(region: Region, where: str) -> None:
    """Flash outside the chip says what its reads cost, no other region does."""
    outside, name = region.kind == "flash" and region.external, region.name
    if region.read is None:
        require(not outside, where, f"external flash {name} has no read = {{ bytes, cycles, source }}")
        return
    require(outside, where, f"region {name} has read, which is for external flash alone")
    count, cycles = region.read.bytes, region.read.cycles
    require(0 < count <= 4096, where, f"read of region {name} is of {count} bytes, not 1 to 4096")
    require(0 < cycles < 1e6, where, f"read of region {name} takes {cycles:g} cycles, not above 0 and below 1,000,000")
    after = region.read.next_cycles
    ok = after == 0 or 0 < after <= cycles
    require(ok, where, f"read of region {name} has next_cycles {after:g}, not above 0 and at most {cycles:g} (cycles)")
    require(bool(region.read.source), where, f"read of region {name} has no source: every number carries its source")


def _check_linked_ram(chip: Chip, where: str) -> None:
    require(len(chip.linked_ram) > 0, where, "linked_ram is empty")
    known = {r.name: r for r in chip.regions if r.kind == "ram"}
    for name in chip.linked_ram:
        require(name in known, where, f"linked_ram names {name}, which is no region of kind ram")
        usable = known[name].data and not known[name].external
        require(usable, where, f"linked_ram names {name}, which is external or not for data")
    for low, high in pairwise(chip.linked_ram):
        contiguous = known[low].end == known[high].base
        require(contiguous, where, f"linked_ram: {high} does not start where {low} ends")


def _check_registers(chip: Chip, where: str) -> None:
    """Addresses and masks are 32-bit words, and a value has no bits outside its mask."""
    words = [(s.address, s.mask, s.value, s.comment) for s in chip.clock_init if s.op != "delay"]
    words += [(f.address, f.mask, f.value, f.comment) for f in chip.expected_final]
    words += [(r.register, 0xFFFFFFFF, r.enable, r.comment) for r in chip.ready]
    words += [(r.target, 0xFFFFFFFF, r.ready, r.comment) for r in chip.ready]
    for row in chip.ready:
        require(row.enable != 0 != row.ready, where, f"ready row {row.comment!r} has no bits")
    for address, mask, value, comment in words:
        ok = 0 <= address < 1 << 32 and address % 4 == 0 and 0 <= mask < 1 << 32 and value & ~mask == 0 <= value
        require(ok, where, f"register row {comment!r}: address, mask or value is out of range")


def require(condition: bool, where: str, found: str) -> None:
    """McucError "board-file" naming the file `where`, unless the condition holds."""
    if not condition:
        raise McucError("board-file", f"{found}.", where, "docs/adding-a-board.md names every key")
