"""The registers that startup code talks to, just far enough that it boots unmodified: what is written reads back, and
ready bits follow enable bits by the chip's [[ready]] rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcuc.targets import Chip, ClockStep

PAGE = 0x1000
MARK_OPEN, MARK_CLOSE = 0xE0001F00, 0xE0001F04  # the harness stores here around the counted part
CPACR = 0xE000ED88  # Armv7-M Architecture Reference Manual B3.2.20: access to coprocessors 10 and 11 is the FPU
CPACR_FPU = 0x00F00000


class Registers:
    """Word registers by address. on_write(address) is called after each store, with the word in values."""

    def __init__(self, chip: Chip, on_write: Callable[[int], None]) -> None:
        self._ready = chip.ready
        self._on_write = on_write
        self.values: dict[int, int] = {}
        listed = [a for row in chip.ready for a in (row.register, row.target)]
        listed += [step.address for step in chip.clock_init if step.op != "delay"]
        listed += [row.address for row in chip.expected_final]
        self.pages = sorted({a & ~(PAGE - 1) for a in [*listed, MARK_OPEN, CPACR]})

    def reset(self) -> None:
        self.values.clear()

    def map(self, machine: Any) -> None:
        """Map the pages. Memory-mapped callbacks, unlike memory hooks, leave Unicorn's fast path on for all else."""
        for page in self.pages:
            machine.mmio_map(page, PAGE, self._read, page, self._write, page)

    def _read(self, _machine: Any, offset: int, size: int, page: int) -> int:
        address = page + offset
        return (self.values.get(address & ~3, 0) >> 8 * (address & 3)) & ((1 << 8 * size) - 1)

    def _write(self, _machine: Any, offset: int, size: int, value: int, page: int) -> None:
        address = page + offset
        word, shift, mask = address & ~3, 8 * (address & 3), (1 << 8 * size) - 1
        self.values[word] = self.values.get(word, 0) & ~(mask << shift) | (value & mask) << shift
        for row in self._ready:
            if word in (row.register, row.target):
                on = self.values.get(row.register, 0) & row.enable == row.enable
                held = self.values.get(row.target, 0)
                self.values[row.target] = held | row.ready if on else held & ~row.ready
        self._on_write(address)

    def load(self, address: int) -> int:
        """The word at address, as a load of the startup sees it."""
        return self.values.get(address, 0)

    def store(self, address: int, value: int) -> None:
        """A store of the startup to a word."""
        self._write(None, address & (PAGE - 1), 4, value, address & ~(PAGE - 1))


def stuck_wait(chip: Chip) -> tuple[int, ClockStep] | None:
    """The first step, with its number from 1, of clock_init that waits for what the modelled registers never show."""
    registers = Registers(chip, lambda _address: None)
    for number, step in enumerate(chip.clock_init, 1):
        if step.op == "write":
            registers.store(step.address, step.value)
        elif step.op == "modify":
            registers.store(step.address, registers.load(step.address) & ~step.mask | step.value)
        elif step.op == "wait" and registers.load(step.address) & step.mask != step.value:
            return number, step
    return None
