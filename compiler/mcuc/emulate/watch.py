"""Unaligned memory accesses of a run that the core would refuse, by the instruction that makes them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import unicorn
from unicorn import arm_const as arm

from mcuc.emulate.hook import add_hook, hook_library, unicorn_library
from mcuc.emulate.image import Image
from mcuc.emulate.instructions import halfwords
from mcuc.emulate.isa import Aligned, aligned_on_armv6m, aligned_on_armv7m
from mcuc.errors import McucError
from mcuc.targets import Chip


@dataclass(frozen=True)
class Access:
    """Unaligned accesses by the instruction at pc: how many; first: address of the first, without its offset."""

    pc: int
    first: int
    count: int


class _Site(ctypes.Structure):
    _fields_ = [
        ("read", ctypes.c_void_p),
        ("base", ctypes.c_int),
        ("index", ctypes.c_int),
        ("mask", ctypes.c_uint32),
        ("first", ctypes.c_uint32),
        ("seen", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
    ]


class _Code(ctypes.Structure):
    _fields_ = [("start", ctypes.c_uint64), ("site", ctypes.c_void_p)]


class Watch:
    """Attached to a machine before it runs. Watches the code of the image, not what is copied to RAM at run time."""

    def __init__(self, image: Image, chip: Chip) -> None:
        library = hook_library()
        if library is None:
            raise McucError(
                "emulator-no-compiler",
                "the audit of the firmware needs a C compiler to build its hooks",
                where="the emulator's audit",
                try_this="pip install ziglang, or install gcc",
            )
        self._library = library
        read = ctypes.cast(unicorn_library().uc_reg_read, ctypes.c_void_p)
        judge = aligned_on_armv6m if chip.core == "cortex-m0plus" else aligned_on_armv7m
        self._sites: dict[int, _Site] = {}
        for pc, rule in _places(image, judge):
            base, index = (0 if r is None else getattr(arm, f"UC_ARM_REG_R{r}") for r in (rule.base, rule.index))
            self._sites[pc] = _Site(read=read, base=base, index=index, mask=rule.mask)
        # A hook is asked for every hooked instruction, so many places take one hook over all code.
        self._stretches = list(self._tables(image)) if chip.core == "cortex-m0plus" else []

    def _tables(self, image: Image) -> Iterator[tuple[range, _Code, Any]]:
        for stretch in image.stretches:
            if stretch.kind == "t":
                table = (ctypes.c_void_p * (len(stretch.data) // 2 + 1))()
                for pc, site in self._sites.items():
                    if stretch.base <= pc < stretch.end:
                        table[(pc - stretch.base) // 2] = ctypes.addressof(site)
                yield range(stretch.base, stretch.end), _Code(stretch.base, ctypes.addressof(table)), table

    def attach(self, machine: Any) -> None:
        for where, code, _ in self._stretches:
            add_hook(machine, unicorn.UC_HOOK_CODE, self._library.mcuc_sites, ctypes.addressof(code), where)
        if not self._stretches:
            for pc, site in self._sites.items():
                user = ctypes.addressof(site)
                add_hook(machine, unicorn.UC_HOOK_CODE, self._library.mcuc_site, user, range(pc, pc + 1))

    def reset(self) -> None:
        for site in self._sites.values():
            site.first = site.seen = site.count = 0

    def accesses(self) -> tuple[list[Access], int]:
        """The unaligned accesses by program counter, and how many accesses were judged."""
        found = [Access(pc, s.first, s.count) for pc, s in sorted(self._sites.items()) if s.count]
        return found, sum(s.seen for s in self._sites.values())


def _places(image: Image, judge: Callable[[bytes], Aligned | None]) -> Iterator[tuple[int, Aligned]]:
    for stretch in image.stretches:
        if stretch.kind == "t":
            for offset, size in halfwords(stretch.data):
                rule = judge(stretch.data[offset : offset + size])
                if rule is not None:
                    yield stretch.base + offset, rule
