"""Counting of executed blocks: a compiled hook (hook.c), and the same in Python where nothing can compile it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import unicorn

from mcuc.emulate.hook import add_hook, hook_library

OUTSIDE = 0x40000000  # region bit: executed outside the counted part
FPU_OFF = 0x80000000  # region bit: executed while CPACR refuses the FPU
LAYER_MASK = 0x3FFFFFFF


@dataclass(frozen=True)
class Block:
    """A translated block: how often it ran in a region, and how often the next block was the one behind it."""

    address: int
    size: int
    region: int
    count: int
    fell: int


@dataclass(frozen=True)
class Place:
    """The block that runs: its address, size, the layer (0: before the first) and the region flags."""

    address: int
    size: int
    layer: int
    flags: int


class Counter(Protocol):
    """What the emulator asks of a block counter; regions and flags as in hook.c."""

    def attach(self, machine: Any) -> None: ...
    def reset(self, flags: int) -> None: ...
    def open(self, after: int) -> None: ...
    def close(self, pc: int) -> None: ...
    def flag(self, bit: int, on: bool) -> None: ...
    def place(self) -> Place: ...
    def blocks(self) -> list[Block]: ...


class _Block(ctypes.Structure):
    _fields_ = [
        ("address", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("region", ctypes.c_uint32),
        ("next", ctypes.c_uint32),
        ("count", ctypes.c_uint64),
        ("fell", ctypes.c_uint64),
    ]


class CompiledCounter:
    """The counter of hook.c. entries: layer number (from 1) by entry address."""

    def __init__(self, library: ctypes.CDLL, entries: Mapping[int, int]) -> None:
        self._library = library
        ordered = sorted(entries.items())
        words = ctypes.c_uint32 * max(1, len(ordered))
        addresses, layers = words(*(a for a, _ in ordered)), words(*(n for _, n in ordered))
        self._state = library.mcuc_counter_new(addresses, layers, len(ordered))
        if not self._state:
            raise MemoryError("no memory for the block table")

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._library.mcuc_counter_free(self._state)

    def attach(self, machine: Any) -> None:
        add_hook(machine, unicorn.UC_HOOK_BLOCK, self._library.mcuc_block, self._state)

    def reset(self, flags: int) -> None:
        self._library.mcuc_counter_reset(self._state, flags)

    def open(self, after: int) -> None:
        self._library.mcuc_counter_open(self._state, after)

    def close(self, pc: int) -> None:
        self._library.mcuc_counter_close(self._state, pc)

    def flag(self, bit: int, on: bool) -> None:
        self._library.mcuc_counter_flag(self._state, bit, int(on))

    def _numbers(self) -> list[int]:
        out = (ctypes.c_uint32 * 6)()
        self._library.mcuc_counter_state(self._state, out)
        return list(out)

    def place(self) -> Place:
        return Place(*self._numbers()[:4])

    def blocks(self) -> list[Block]:
        *_, used, failed = self._numbers()
        if failed:
            raise MemoryError("no memory for the block table")
        out = (_Block * max(1, used))()
        n = self._library.mcuc_counter_read(self._state, out)
        return [Block(b.address, b.size, b.region, b.count, b.fell) for b in out[:n] if b.count]


class PythonCounter:
    """The same in Python, about a hundred times slower."""

    def __init__(self, entries: Mapping[int, int]) -> None:
        self._entries = dict(entries)
        self.reset(0)

    def attach(self, machine: Any) -> None:
        machine.hook_add(unicorn.UC_HOOK_BLOCK, self._block)

    def reset(self, flags: int) -> None:
        self._table: dict[tuple[int, int, int], list[int]] = {}
        self._last: tuple[int, int, int] | None = None
        self._address = self._size = self._layer = 0
        self._flags = flags

    def _block(self, _machine: Any, address: int, size: int, _user: Any) -> None:
        self._address, self._size = address, size
        if not self._flags & OUTSIDE:
            self._layer = self._entries.get(address, self._layer)
        last = self._last
        if last is not None and last[0] + last[1] == address:
            self._table[last][1] += 1
        self._add((address, size, self._layer | self._flags))

    def _add(self, key: tuple[int, int, int]) -> None:
        self._table.setdefault(key, [0, 0])[0] += 1
        self._last = key

    def _part(self, begin: int, end: int) -> None:
        self._last = None
        if end > begin:
            self._add((begin, end - begin, self._layer | self._flags))

    def _cut(self, pc: int) -> None:
        if self._last is None:
            return
        begin = self._last[0]
        self._table[self._last][0] -= 1
        self._part(begin, pc)
        if self._last is not None:
            self._table[self._last][1] += 1

    def open(self, after: int) -> None:
        self._cut(after)
        self._flags &= ~OUTSIDE
        self._layer = 0
        self._part(after, self._address + self._size)

    def close(self, pc: int) -> None:
        self._cut(pc)
        self._flags |= OUTSIDE
        self._part(pc, self._address + self._size)

    def flag(self, bit: int, on: bool) -> None:
        self._flags = self._flags | bit if on else self._flags & ~bit

    def place(self) -> Place:
        return Place(self._address, self._size, self._layer, self._flags)

    def blocks(self) -> list[Block]:
        return [Block(*key, count, fell) for key, (count, fell) in self._table.items() if count]


def make_counter(entries: Mapping[int, int]) -> Counter:
    """A block counter with the given layer entries: compiled where a C compiler is found."""
    library = hook_library()
    return CompiledCounter(library, entries) if library else PythonCounter(entries)
