"""Runs a linked firmware on an emulated Cortex-M (Unicorn) and counts, exactly, what it executes in each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcuc.emulate.audit import Audit, audit_firmware
from mcuc.emulate.counter import Block
from mcuc.emulate.counts import Count, Summary, count, summarize
from mcuc.emulate.cycles import band, cost_model
from mcuc.emulate.image import Image, load_image
from mcuc.emulate.instructions import Instruction, Listing
from mcuc.emulate.machine import Machine
from mcuc.errors import McucError
from mcuc.targets import Chip


@dataclass(frozen=True)
class Poke:
    """Bytes written to RAM before reset. The startup code clears .bss and fills .data: poke what it leaves alone."""

    symbol: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Dump:
    """Bytes read after the exit."""

    symbol: str
    offset: int
    length: int


@dataclass(frozen=True)
class LayerCount:
    """What ran from a layer's entry to the next one's; symbol "" is what ran before the first layer."""

    symbol: str
    instructions: int
    mix: Mapping[str, int]
    cycles: int


@dataclass(frozen=True)
class EmulatedRun:
    """One run from reset to exit.

    instructions, mix, layers, cycles, functions: of the counted parts, exactly the instructions after a store to
    0xE0001F00 and before the next store to 0xE0001F04. The layers ("" first, then in the order given) add up to the
    totals. cycles: an estimate, right to the fraction cycles_band. stack_bytes: stack used until the last part's end,
    below the stack pointer at the first one's start. registers: final values of the modelled peripheral registers.
    output: semihosting text.
    """

    exit_code: int
    dumps: tuple[bytes, ...]
    instructions: int
    mix: Mapping[str, int]
    layers: tuple[LayerCount, ...]
    cycles: int
    stack_bytes: int
    audit: Audit | None
    functions: Mapping[str, int]
    cycles_band: float
    registers: Mapping[int, int]
    output: str


class CortexM:
    """A firmware on an emulated core, opened once and run many times.

    Each run starts from reset with all RAM filled with one byte value (not zero: memory read before it is written
    shows). layer_symbols: a function each, in order of execution.
    Raises McucError when opened: emulated-bad-elf, emulated-memory, emulated-no-symbol, emulated-layers.
    """

    def __init__(self, elf: Path, chip: Chip, layer_symbols: Sequence[str] = ()) -> None:
        self.image = load_image(Path(elf))
        self.chip = chip
        self.layer_symbols = ("", *layer_symbols)
        self._entries = _entries(self.image, layer_symbols)
        self._listing = Listing(self.image, chip.core)
        self._cost = {in_flash: cost_model(chip, in_flash) for in_flash in (False, True)}
        self._summaries: dict[tuple[int, int], Summary] = {}
        self._machines: dict[bool, Machine] = {}
        self._machine(False)

    def run(
        self,
        pokes: Sequence[Poke] = (),
        dumps: Sequence[Dump] = (),
        timeout_s: float = 120,
        audit: bool = False,
        file: bytes = b"",
    ) -> EmulatedRun:
        """Run from reset to exit.

        file: what the firmware reads by semihosting, whatever name it opens.
        audit: also record what Unicorn forgives and silicon does not (slower, on the Cortex-M0+ by far).
        Raises McucError, naming layer and function: emulated-fault (access where there is no memory, store to flash,
        undefined instruction), emulated-timeout (timeout_s is host time), emulated-stack, emulated-marks.
        """
        machine = self._machine(audit)
        placed = [(self.image.span(p.symbol, p.offset, len(p.data)), p.data) for p in pokes]
        wanted = [(self.image.span(d.symbol, d.offset, d.length), d.length) for d in dumps]
        machine.run(placed, timeout_s, file)
        assert machine.exit_code is not None  # run() raises otherwise
        blocks = machine.counter.blocks()
        counts = count(blocks, lambda b: self._summary(machine, b))
        return EmulatedRun(
            exit_code=machine.exit_code,
            dumps=tuple(machine.read(a, n) for a, n in wanted),
            instructions=counts.total.instructions,
            mix=counts.total.mix(),
            layers=self._layers(counts.layers),
            cycles=round(counts.total.cycles),
            stack_bytes=machine.stack_bytes,
            audit=self._audit(machine, blocks) if audit else None,
            functions=counts.functions,
            cycles_band=band(self.chip),
            registers=dict(sorted(machine.registers.values.items())),
            output=machine.output.decode("utf-8", "replace"),
        )

    def _machine(self, audit: bool) -> Machine:
        # Hooks become part of the translated code, so audited runs have a machine of their own.
        if audit not in self._machines:
            self._machines[audit] = Machine(self.image, self.chip, self.layer_symbols, self._entries, audit)
        return self._machines[audit]

    def _summary(self, machine: Machine, block: Block) -> Summary:
        key = (block.address, block.size)
        found = self._summaries.get(key)
        if found is None:
            instructions = self._instructions(machine, block)
            cost = self._cost[self.chip.flash_region.base <= block.address < self.chip.flash_region.end]
            found = summarize(instructions, self.image.name_at(block.address), cost)
            self._summaries[key] = found
        return found

    def _instructions(self, machine: Machine, block: Block) -> tuple[Instruction, ...]:
        stretch = self.image.stretch_at(block.address)
        if stretch is not None and stretch.kind == "t":
            return self._listing.block(block.address, block.size)
        return self._listing.outside(block.address, machine.read(block.address, block.size))

    def _layers(self, counts: Mapping[int, Count]) -> tuple[LayerCount, ...]:
        out = []
        for number, symbol in enumerate(self.layer_symbols):
            c = counts.get(number, Count())
            out.append(LayerCount(symbol, c.instructions, c.mix(), round(c.cycles)))
        return tuple(out)

    def _audit(self, machine: Machine, blocks: Sequence[Block]) -> Audit:
        assert machine.watch is not None
        executed = [(b, machine.read(b.address, b.size), self._instructions(machine, b)) for b in blocks]
        return audit_firmware(self.image, self.chip, executed, *machine.watch.accesses())


def _entries(image: Image, layer_symbols: Sequence[str]) -> dict[int, int]:
    """Layer number, from 1, by entry address."""
    entries: dict[int, int] = {}
    for number, name in enumerate(layer_symbols, 1):
        found = image.symbols.get(name)
        if found is None or not found.function:
            raise McucError(
                "emulated-no-symbol",
                f"the firmware has no function {name}",
                where=str(image.path),
                try_this="build the firmware again with mcuc compile",
            )
        if found.address in entries:
            other = layer_symbols[entries[found.address] - 1]
            raise McucError(
                "emulated-layers",
                f"the layers {other} and {name} are the same code",
                where=str(image.path),
                try_this="report this as a bug of mcuc, with the model",
            )
        entries[found.address] = number
    return entries
