"""Which Thumb instructions a core lacks, by encoding.

The rows below are checked in order against the one or two halfwords of an instruction; the first that matches decides.
Encodings: Armv6-M (DDI 0419), Armv7-M (DDI 0403) and Armv8-M (DDI 0553) Architecture Reference Manuals, chapter A5 and
C2.4. An encoding of the base instruction set that is undefined is left to the decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcuc.targets import Chip


@dataclass(frozen=True)
class Row:
    """Encodings with (word & mask) == value need a feature: "" every core, else a key of _features."""

    mask: int
    value: int
    needs: str
    what: str = ""


def _rows(*rows: tuple[int, int, str, str]) -> tuple[Row, ...]:
    return tuple(Row(*r) for r in rows)


_16 = _rows(
    (0xFF07, 0x4704, "v8", "BXNS, BLXNS"),
    (0xF500, 0xB100, "v7", "CBZ, CBNZ"),
    (0xFF0F, 0xBF00, "", "hints"),
    (0xFF00, 0xBF00, "v7", "IT"),
    (0xFFF7, 0xB650, "never", "SETEND"),
    (0xFFE1, 0xB661, "v7", "CPS of FAULTMASK"),
    (0xFFC0, 0xBA80, "never", "HLT of the A profile"),
)

# First halfword in the upper 16 bits.
_32_V6 = _rows(
    (0xF800D000, 0xF000D000, "", "BL"),
    (0xFFF0D000, 0xF3808000, "special", "MSR"),
    (0xFFFFD000, 0xF3EF8000, "special", "MRS"),
    (0xFFFFFFF0, 0xF3BF8F40, "", "DSB"),
    (0xFFFFFFF0, 0xF3BF8F50, "", "DMB"),
    (0xFFFFFFF0, 0xF3BF8F60, "", "ISB"),
    (0xFFF0F000, 0xF7F0A000, "", "UDF"),
    (0x00000000, 0x00000000, "v7", "32-bit Thumb-2 instruction"),
)

_32 = _rows(
    (0xFFF0D000, 0xF3808000, "special", "MSR"),
    (0xFFFFD000, 0xF3EF8000, "special", "MRS"),
    # coprocessors 10 and 11: floating point; the rest of the space is other coprocessors and SIMD
    (0xEF000000, 0xEF000000, "never", "Advanced SIMD or MVE instruction"),
    (0xFFBF0FD0, 0xEEB70AC0, "double", "VCVT to double precision"),
    (0xEF000F10, 0xEE000B00, "double", "double-precision FPU instruction"),
    (0xFF000F10, 0xFE000A00, "fpv5", "FPv5 instruction"),
    (0xFFBF0F50, 0xEEB60A40, "fpv5", "VRINTR, VRINTZ"),
    (0xFFBF0FD0, 0xEEB70A40, "fpv5", "VRINTX"),
    (0xFC000000, 0xFC000000, "never", "instruction of Armv8.1-M or a coprocessor"),
    (0xEC000E00, 0xEC000A00, "fpu", "FPU instruction"),
    (0xEC000000, 0xEC000000, "never", "coprocessor instruction"),
    # Armv8-M
    (0xFFFFFFFF, 0xE97FE97F, "v8", "SG"),
    (0xFFF0F03F, 0xE840F000, "v8", "TT"),
    (0xFFE00080, 0xE8C00080, "v8", "load-acquire or store-release"),
    # later than Armv8.0-M
    (0xF800D000, 0xF000C000, "never", "BLX to ARM state or a loop of Armv8.1-M"),
    (0xFFF08000, 0xEA508000, "never", "conditional select of Armv8.1-M"),
    # multiply: MUL, MLA and MLS are in the base set
    (0xFFF000E0, 0xFB000000, "", "MUL, MLA, MLS"),
    (0xFF800000, 0xFB000000, "dsp", "DSP multiply"),
    # long multiply and divide
    (0xFFD000F0, 0xFB800000, "", "SMULL, UMULL"),
    (0xFFD000F0, 0xFB9000F0, "", "SDIV, UDIV"),
    (0xFFD000F0, 0xFBC00000, "", "SMLAL, UMLAL"),
    (0xFF800000, 0xFB800000, "dsp", "DSP long multiply"),
    # FA00 to FA7F with bit 7 of the second halfword: extend, and add; without the addition it is base but for *TB16
    (0xFFEFF0C0, 0xFA2FF080, "dsp", "SXTB16, UXTB16"),
    (0xFF8FF0C0, 0xFA0FF080, "", "SXTB, SXTH, UXTB, UXTH"),
    (0xFF80F080, 0xFA00F080, "dsp", "extend and add"),
    (0xFF80F0F0, 0xFA00F000, "", "shift by register"),
    (0xFFF0F0C0, 0xFA90F080, "", "REV, REV16, RBIT, REVSH"),
    (0xFFF0F0F0, 0xFAB0F080, "", "CLZ"),
    (0xFF00F000, 0xFA00F000, "dsp", "DSP addition, saturation or selection"),
    (0xFFF08010, 0xEAC00000, "dsp", "PKHBT, PKHTB"),
    (0xFFF0F0F0, 0xF3200000, "dsp", "SSAT16"),
    (0xFFF0F0F0, 0xF3A00000, "dsp", "USAT16"),
)

# Special registers of MSR and MRS: APSR family, stack pointers, PRIMASK, CONTROL; BASEPRI and FAULTMASK from Armv7-M;
# stack limits and the non-secure aliases from Armv8-M.
_SPECIAL_V6 = frozenset({0, 1, 2, 3, 5, 6, 7, 8, 9, 16, 20})
_SPECIAL_V7 = _SPECIAL_V6 | {17, 18, 19}
_WHY = {
    "v7": "Armv7-M",
    "v8": "Armv8-M",
    "dsp": "the DSP extension",
    "fpu": "an FPU",
    "fpv5": "an FPv5 FPU",
    "double": "a double-precision FPU",
}


def features(chip: Chip) -> frozenset[str]:
    """What the chip's core has, in the words of the rows."""
    have = {""}
    if chip.core != "cortex-m0plus":
        have.add("v7")
    if chip.core == "cortex-m33":
        have.add("v8")
    if chip.dsp:
        have.add("dsp")
    if chip.fpu != "none":
        have.add("fpu")
    if chip.fpu.startswith("fpv5"):
        have.add("fpv5")
    return frozenset(have)


def lacks(chip: Chip, md: Any, code: bytes) -> str | None:
    """Why the chip's core cannot execute the Thumb instruction in code (2 or 4 bytes); None when it can.

    md: a decoder for the core, which judges encodings that no row speaks of.
    """
    have = features(chip)
    word = int.from_bytes(code[:2], "little")
    if len(code) == 2 and word >= 0xE800:
        return "truncated instruction"
    rows = _16
    if len(code) == 4:
        word = word << 16 | int.from_bytes(code[2:], "little")
        rows = _32 if "v7" in have else _32_V6
    row = next((r for r in rows if word & r.mask == r.value), None)
    if row is not None:
        if row.needs == "special":
            return _special(row, word & 0xFF, have)
        if row.needs == "never":
            return f"{row.what}: no supported core has it"
        if row.needs not in have:
            return f"{row.what} needs {_WHY[row.needs]}"
        if row.needs in ("v8",):
            return None  # the decoder does not know all of them
    if next(md.disasm_lite(code, 0, 1), None) is None:
        return "undefined instruction"
    return None


def _special(row: Row, number: int, have: frozenset[str]) -> str | None:
    known = _SPECIAL_V7 if "v7" in have else _SPECIAL_V6
    if number in known or ("v8" in have and (number in (10, 11) or number & 0x80)):
        return None
    return f"{row.what} of special register {number}"


@dataclass(frozen=True)
class Aligned:
    """A memory instruction that faults unless (base + index) & mask is 0. Its offset is a multiple of the size."""

    base: int
    mask: int
    index: int | None = None


def aligned_on_armv6m(code: bytes) -> Aligned | None:
    """The rule of an Armv6-M load or store: every access must be aligned (DDI 0419 A3.2). None where it always is."""
    h = int.from_bytes(code[:2], "little")
    if len(code) == 4:
        return None
    if h & 0xF000 == 0x5000:  # register offset
        mask = (3, 1, 0, 0, 3, 1, 0, 1)[h >> 9 & 7]
        return Aligned(h >> 3 & 7, mask, h >> 6 & 7) if mask else None
    if h & 0xF000 == 0x6000:  # STR, LDR
        return Aligned(h >> 3 & 7, 3)
    if h & 0xF000 == 0x8000:  # STRH, LDRH
        return Aligned(h >> 3 & 7, 1)
    return Aligned(h >> 8 & 7, 3) if h & 0xF000 == 0xC000 else None  # STM, LDM


def aligned_on_armv7m(code: bytes) -> Aligned | None:
    """The rule of an Armv7-M or Armv8-M instruction that faults when unaligned whatever CCR.UNALIGN_TRP says (DDI 0403
    A3.2.1). None for others, and for a base of sp or pc, which are aligned."""
    first = int.from_bytes(code[:2], "little")
    if len(code) == 2:
        return Aligned(first >> 8 & 7, 3) if first & 0xF000 == 0xC000 else None  # LDM, STM
    second = int.from_bytes(code[2:], "little")
    base, mask = first & 15, 3
    if first & 0xFE00 == 0xE800:  # LDM, STM, LDRD, STRD, exclusive, acquire and release
        if first & 0xFFF0 == 0xE840 and second & 0xF03F == 0xF000:  # TT
            return None
        if first & 0xFFE0 == 0xE8C0:
            kind = second >> 4 & 15
            if first & 0x10 and kind < 2:  # TBB, TBH
                return None
            mask = (0, 1, 3, 3)[kind & 3]
    elif first & 0xFE00 != 0xEC00 or first & 0xFFE0 == 0xEC40 or second & 0x0E00 != 0x0A00:  # VLDR, VSTR, VLDM, VSTM
        return None
    return None if base in (13, 15) or mask == 0 else Aligned(base, mask)
