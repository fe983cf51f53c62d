"""Flash and RAM shares of a linked firmware, from the ELF's sections and symbols."""

from __future__ import annotations

from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mcuc.errors import McucError
from mcuc.targets import Region

from ._model import Sizes

_HARNESS = (".vectors", ".mcuc_harness", ".mcuc_harness_rodata")
_WEIGHTS = ".mcuc_weights"
_INSIDE = ".mcuc_weights_inside"  # in the chip's own flash, where that one lies outside
_CODE = ".mcuc_code"  # that runs from RAM
_ARENA = ".mcuc_arena"  # and what begins so: one section an arena
_RESUME = ".mcuc_resume"  # a word of the harness, not the user's
_ALLOC = 0x2  # SHF_ALLOC


def sizes_of(elf: Path) -> Sizes:
    """Sizes of the image at elf, which our linker script laid out. McucError where it is no readable ELF."""
    try:
        with elf.open("rb") as stream:
            file = ELFFile(stream)
            sections = {
                s.name: int(s["sh_size"]) for s in file.iter_sections() if s["sh_flags"] & _ALLOC and s["sh_size"]
            }
            table = file.get_section_by_name(".symtab")
            found = table.iter_symbols() if isinstance(table, SymbolTableSection) else ()
            symbols = {s.name: int(s["st_value"]) for s in found}
    except (OSError, ELFError) as e:
        raise McucError(
            "not-an-elf",
            f"The file is no readable ELF image: {e}.",
            where=str(elf),
            try_this="build the firmware again with mcuc compile",
        ) from e
    harness_bss = symbols.get("__harness_bss_end", 0) - symbols.get("__harness_bss_start", 0)
    arenas = {name: size for name, size in sections.items() if name.startswith(_ARENA)}
    code = sections.get(_CODE, 0)
    placed = {*_HARNESS, *arenas, _WEIGHTS, _INSIDE, _RESUME, ".data", ".bss", ".noinit"}
    data = sections.get(".data", 0)
    copied = symbols.get("__weights_in_ram_end", 0) - symbols.get("__data_start", 0)
    return Sizes(
        weights=sections.get(_WEIGHTS, 0) + sections.get(_INSIDE, 0) + copied,
        code=sum(size for name, size in sections.items() if name not in placed) + data - copied,
        data=data + code,
        bss=sections.get(".bss", 0) - harness_bss + sections.get(".noinit", 0),
        arena=sum(arenas.values()),
        harness=sum(sections.get(name, 0) for name in _HARNESS),
        weights_in_ram=copied,
        code_in_ram=code,
        weights_inside=sections.get(_INSIDE, 0),
    )


def flash_left(elf: Path, flash: Region) -> int:
    """Bytes behind the last one that the image at elf stores in this flash."""
    with elf.open("rb") as stream:
        ends = [int(p["p_paddr"]) + int(p["p_filesz"]) for p in ELFFile(stream).iter_segments("PT_LOAD")]
    return flash.end - max((end for end in ends if flash.base <= end <= flash.end), default=flash.base)
