"""Unaligned memory accesses of a run, by the instruction that makes them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import unicorn
from unicorn import arm_const as arm

from mcuc.emulate.hook import add_hook, hook_library, unicorn_library
from mcuc.errors import McucError


@dataclass(frozen=True)
class Access:
    """Unaligned accesses by the instruction at pc: size and store of each, address of the first, how many."""

    pc: int
    store: bool
    size: int
    first: int
    count: int


class _Access(ctypes.Structure):
    _fields_ = [
        ("pc", ctypes.c_uint32),
        ("store", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("first", ctypes.c_uint32),
        ("count", ctypes.c_uint64),
    ]


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
        raw = unicorn_library()
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
        add_hook(machine, kinds, self._library.mcuc_access, self._state)

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
