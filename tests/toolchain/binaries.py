"""Looking into objects and images."""

from __future__ import annotations

from pathlib import Path

import capstone
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection


def symbol_names(path: Path) -> set[str]:
    """Names in the symbol table, undefined ones included."""
    with path.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return {s.name for s in table.iter_symbols() if s.name}


def undefined_names(path: Path) -> set[str]:
    """What an object needs from elsewhere."""
    with path.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        names = {s.name for s in table.iter_symbols() if s["st_shndx"] == "SHN_UNDEF" and s.name}
    return {name for name in names if not name.startswith("__aeabi_unwind")}


def mnemonics(path: Path, section: str) -> list[str]:
    """Instructions of a section of Thumb code, constants at its end decoded as if they were some."""
    with path.open("rb") as stream:
        found = ELFFile(stream).get_section_by_name(section)
        assert found is not None, f"no section {section}"
        code = found.data()
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    decoder.skipdata = True
    return [i.mnemonic for i in decoder.disasm(code, 0)]
