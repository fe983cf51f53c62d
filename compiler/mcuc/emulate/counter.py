"""Counting of executed blocks: a compiled hook (hook.c), and the same in Python where nothing can compile it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Protocol

import unicorn
from unicorn import arm_const as arm

from mcuc.cache import shared_library
from mcuc.errors import McucError

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


@dataclass(frozen=True)
class Access:
    """Unaligned accesses by the instruction at pc: size and store of each, address of the first, how many."""

    pc: int
    store: bool
    size: int
    first: int
    count: int


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


class _Access(ctypes.Structure):
    _fields_ = [
        ("pc", ctypes.c_uint32),
        ("store", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("first", ctypes.c_uint32),
        ("count", ctypes.c_uint64),
    ]


@cache
def hook_library() -> ctypes.CDLL | None:
    """hook.c compiled and loaded, kept in the user's cache folder by content; None when no compiler works."""
    library = shared_library("hook", resources.files("mcuc.emulate").joinpath("hook.c").read_bytes())
    if library is None:
        return None
    pointer, word = ctypes.c_void_p, ctypes.c_uint32
    for name, result, arguments in (
        ("counter_new", pointer, [pointer, pointer, word]),
        ("counter_free", None, [pointer]),
        ("counter_reset", None, [pointer, word]),
        ("counter_open", None, [pointer, word]),
        ("counter_close", None, [pointer, word]),
        ("counter_flag", None, [pointer, word, word]),
        ("counter_state", None, [pointer, pointer]),
        ("counter_read", word, [pointer, pointer]),
        ("watch_new", pointer, [pointer, pointer, ctypes.c_int, ctypes.c_int]),
        ("watch_free", None, [pointer]),
        ("watch_reset", None, [pointer]),
        ("watch_read", word, [pointer, pointer, pointer]),
    ):
        function = getattr(library, f"mcuc_{name}")
        function.restype, function.argtypes = result, arguments
    return library


@cache
def _unicorn() -> ctypes.CDLL:
    raw = ctypes.CDLL(unicorn.unicorn_py3.unicorn.uclib._name)
    raw.uc_hook_add.restype = ctypes.c_int
    return raw


def _hook(machine: Any, kind: int, function: Any, user: int) -> None:
    handle = ctypes.c_size_t()
    failed = _unicorn().uc_hook_add(
        machine._uch,
        ctypes.byref(handle),
        ctypes.c_int(kind),
        ctypes.cast(function, ctypes.c_void_p),
        ctypes.c_void_p(user),
        ctypes.c_uint64(1),  # begin > end: every address
        ctypes.c_uint64(0),
    )
    if failed:
        raise McucError("emulator-hook", f"Unicorn refused a hook (error {failed})")


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
        _hook(machine, unicorn.UC_HOOK_BLOCK, self._library.mcuc_block, self._state)

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


class Watch:
    """Records unaligned accesses through a memory hook; the compiled hook is needed (a Python one cannot reach the
    IT bits safely at speed, see hook.c)."""

    CAPACITY = 4096

    def __init__(self) -> None:
        library = hook_library()
        if library is None:
            raise McucError(
                "emulator-no-compiler",
                "the audit of the firmware needs a C compiler to build its memory hook",
                try_this="pip install ziglang, or install gcc",
            )
        raw = _unicorn()
        self._library = library
        self._state = library.mcuc_watch_new(
            ctypes.cast(raw.uc_reg_read, ctypes.c_void_p),
            ctypes.cast(raw.uc_reg_write, ctypes.c_void_p),
            arm.UC_ARM_REG_PC,
            arm.UC_ARM_REG_XPSR,
        )
        if not self._state:
            raise MemoryError("no memory for the access table")

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._library.mcuc_watch_free(self._state)

    def attach(self, machine: Any) -> None:
        kinds = unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE
        _hook(machine, kinds, self._library.mcuc_access, self._state)

    def reset(self) -> None:
        self._library.mcuc_watch_reset(self._state)

    def accesses(self) -> tuple[list[Access], int]:
        """The unaligned accesses, by program counter, and how many accesses were seen in all."""
        out, seen = (_Access * self.CAPACITY)(), ctypes.c_uint64()
        n = self._library.mcuc_watch_read(self._state, out, ctypes.byref(seen))
        if n == 0xFFFFFFFF:
            raise McucError("emulated-audit", f"more than {self.CAPACITY} instructions access memory unaligned")
        found = [Access(a.pc, bool(a.store), a.size, a.first, a.count) for a in out[:n]]
        return sorted(found, key=lambda a: (a.pc, a.store, a.size)), seen.value
