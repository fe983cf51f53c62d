"""The linked firmware as the emulator needs it: what to load, where the code is, which function an address is in."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from mcuc.errors import McucError

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4


@dataclass(frozen=True)
class Segment:
    """A PT_LOAD segment: data is stored at `load` (flash for initialised variables) and occupies [run, run + size)."""

    load: int
    run: int
    size: int
    data: bytes


@dataclass(frozen=True)
class Section:
    """An allocated section; code says whether it holds instructions. data is empty for NOBITS."""

    name: str
    base: int
    size: int
    code: bool
    writable: bool
    data: bytes


@dataclass(frozen=True)
class Symbol:
    name: str
    address: int
    size: int
    function: bool


@dataclass(frozen=True)
class Stretch:
    """[base, base + len(data)): bytes of one mapping kind, "t" Thumb code, "a" ARM code or "d" data (AAELF32 5.5.5)."""

    base: int
    data: bytes
    kind: str
    section: str
    mapped: bool  # False: the section has no mapping symbols and counts as code throughout

    @property
    def end(self) -> int:
        return self.base + len(self.data)


@dataclass(frozen=True)
class Image:
    """A 32-bit little-endian ARM executable, read whole."""

    path: Path
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    symbols: dict[str, Symbol]
    stretches: tuple[Stretch, ...]

    @property
    def vectors(self) -> int:
        """The vector table: symbol __vectors, else the lowest loaded address."""
        found = self.symbols.get("__vectors")
        return found.address if found else min(s.load for s in self.segments if s.data)

    @cached_property
    def functions(self) -> tuple[Symbol, ...]:
        """Function symbols by address, one an address."""
        by_address: dict[int, Symbol] = {}
        for s in self.symbols.values():
            if s.function:
                held = by_address.get(s.address)
                if held is None or (s.size, held.name) > (held.size, s.name):
                    by_address[s.address] = s
        return tuple(by_address[a] for a in sorted(by_address))

    @cached_property
    def _starts(self) -> list[int]:
        return [f.address for f in self.functions]

    @cached_property
    def _stretch_starts(self) -> list[int]:
        return [s.base for s in self.stretches]

    def function_at(self, address: int) -> Symbol | None:
        """The function symbol that covers address; assembler symbols of size 0 reach up to the next one."""
        k = bisect.bisect_right(self._starts, address) - 1
        if k < 0:
            return None
        found = self.functions[k]
        return found if found.size == 0 or address < found.address + found.size else None

    def name_at(self, address: int) -> str:
        found = self.function_at(address)
        return found.name if found else f"{address:#010x}"

    def stretch_at(self, address: int) -> Stretch | None:
        k = bisect.bisect_right(self._stretch_starts, address) - 1
        return self.stretches[k] if k >= 0 and address < self.stretches[k].end else None

    def span(self, symbol: str, offset: int, length: int) -> int:
        """Address of symbol + offset; McucError when there is no such symbol or length bytes do not fit in it."""
        found = self.symbols.get(symbol)
        if found is None:
            raise McucError(
                "emulated-no-symbol",
                f"the firmware has no symbol {symbol}",
                where=str(self.path),
                try_this="build the firmware again with mcuc compile",
            )
        if offset < 0 or (found.size and offset + length > found.size):
            raise McucError(
                "emulated-out-of-symbol",
                f"bytes {offset} to {offset + length} are not inside {symbol}, which has {found.size} bytes",
                str(self.path), try_this="report this as a bug of mcuc, with the model")
        return found.address + offset


def load_image(path: Path) -> Image:
    """Read a linked firmware. McucError("emulated-bad-elf") when it is no ARM executable."""
    try:
        with path.open("rb") as f:
            return _read(path, ELFFile(f))
    except (OSError, ELFError) as e:
        raise McucError(
            "emulated-bad-elf",
            f"cannot read the firmware: {e}",
            where=str(path),
            try_this="build the firmware again with mcuc compile",
        ) from e


def _read(path: Path, elf: ELFFile) -> Image:
    if elf["e_machine"] != "EM_ARM" or elf.elfclass != 32 or not elf.little_endian:
        raise McucError(
            "emulated-bad-elf",
            "the firmware is not a little-endian 32-bit ARM ELF",
            where=str(path),
            try_this="build the firmware again with mcuc compile",
        )
    segments = tuple(
        Segment(s["p_paddr"], s["p_vaddr"], s["p_memsz"], s.data())
        for s in elf.iter_segments()
        if s["p_type"] == "PT_LOAD" and s["p_memsz"]
    )
    if not any(s.data for s in segments):
        raise McucError(
            "emulated-bad-elf",
            "the firmware has nothing to load",
            where=str(path),
            try_this="build the firmware again with mcuc compile",
        )
    sections: list[Section] = []
    stretches: list[Stretch] = []
    symbols, marks = _symbols(elf)
    for index, s in enumerate(elf.iter_sections()):
        flags = s["sh_flags"]
        if not flags & SHF_ALLOC or not s["sh_size"]:
            continue
        nobits = s["sh_type"] == "SHT_NOBITS"
        section = Section(
            s.name,
            s["sh_addr"],
            s["sh_size"],
            bool(flags & SHF_EXECINSTR) and not nobits,
            bool(flags & SHF_WRITE),
            b"" if nobits else s.data(),
        )
        sections.append(section)
        if section.code:
            stretches.extend(_stretches(section, marks.get(index, [])))
    stretches.sort(key=lambda x: x.base)
    return Image(path, segments, tuple(sections), symbols, tuple(stretches))


def _symbols(elf: ELFFile) -> tuple[dict[str, Symbol], dict[int, list[tuple[int, str]]]]:
    symbols: dict[str, Symbol] = {}
    marks: dict[int, list[tuple[int, str]]] = {}
    table: Any = elf.get_section_by_name(".symtab")
    for s in table.iter_symbols() if table else ():
        name, where = s.name, s["st_shndx"]
        if not name or where == "SHN_UNDEF":
            continue
        if name[0] == "$":
            if name[1:2] in ("t", "a", "d") and name[2:3] in ("", "."):
                marks.setdefault(where, []).append((s["st_value"], name[1]))
            continue
        function = s["st_info"]["type"] == "STT_FUNC"
        symbols.setdefault(
            name, Symbol(name, s["st_value"] & ~1 if function else s["st_value"], s["st_size"], function)
        )
    return symbols, marks


def _stretches(section: Section, marks: list[tuple[int, str]]) -> Iterator[Stretch]:
    if not marks:
        yield Stretch(section.base, section.data, "t", section.name, False)
        return
    marks = sorted(marks)
    ends = [a for a, _ in marks[1:]] + [section.base + section.size]
    for (start, kind), end in zip(marks, ends, strict=True):
        if end > start:
            yield Stretch(start, section.data[start - section.base : end - section.base], kind, section.name, True)
