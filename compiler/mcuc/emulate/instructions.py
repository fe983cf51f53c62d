"""Thumb instructions reduced to what counting and timing need: class, registers, what they address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import capstone  # type: ignore[import-untyped]
from capstone import arm as cs

from mcuc.emulate.image import Image

CLASSES = (
    "alu",
    "it",
    "mul",
    "dsp_mac",
    "dsp_other",
    "div",
    "load",
    "load_multi",
    "store",
    "store_multi",
    "branch_cond",
    "branch",
    "call",
    "return",
    "fp",
    "fp_load",
    "fp_store",
    "other",
)

_EXACT: dict[str, str] = {
    name: cls
    for cls, names in {
        "mul": "mul muls mla mls smull smlal umull umlal umaal smmul smmulr smmla smmlar smmls smmlsr",
        "div": "sdiv udiv",
        "branch": "b tbb tbh",
        "branch_cond": "cbz cbnz",
        "call": "bl blx",
        "return": "bx bxns",
        "load_multi": "ldrd pop",
        "store_multi": "strd push",
        "fp_load": "vldr vldm vldmia vldmdb vpop",
        "fp_store": "vstr vstm vstmia vstmdb vpush",
        "other": "nop isb dsb dmb msr mrs cpsie cpsid bkpt svc wfi wfe sev udf pld yield hint sg",
    }.items()
    for name in names.split()
}


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# DSP extension, by the stem of the mnemonic: multiply-accumulate and the rest (packing, extending, saturating, SIMD).
_DSP_MAC = _names(
    "smlad smlsd smlald smlsld smuad smusd smlabb smlabt smlatb smlatt smlalbb smlalbt smlaltb smlaltt smlaw "
    "smulbb smulbt smultb smultt smulw usad"
)
_DSP_OTHER = _names(
    "sxtb16 uxtb16 sxtab sxtah uxtab uxtah pkhbt pkhtb qadd qsub qdadd qdsub qasx qsax sadd ssub8 ssub16 sasx ssax "
    "shadd shsub uhadd uhsub uqadd uqsub uadd8 uadd16 usub8 usub16 sel ssat16 usat16"
)
_STEMS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("ldm",), "load_multi"),
    (("stm",), "store_multi"),
    (("ldr", "lda"), "load"),
    (("str", "stl"), "store"),
    (_DSP_MAC, "dsp_mac"),
    (_DSP_OTHER, "dsp_other"),
)
_SUFFIX = {
    getattr(cs, f"ARM_CC_{c.upper()}"): c
    for c in ("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le")
}
_STATUS = {cs.ARM_REG_CPSR, cs.ARM_REG_APSR, cs.ARM_REG_PC}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    name: mnemonic without condition and width. words: 32-bit words moved by a multiple or FPU access.
    reads, writes: register numbers without pc and flags; flags are reads_flags and writes_flags.
    base: registers that form the address; indexed: with a register offset; literal: relative to pc.
    conditional: inside an IT block, or a conditional branch. to_pc: may branch. accumulator: the register that a
    multiply-accumulate adds to, 0 when none. loads: the first register that a load fills, 0 when none.
    """

    address: int
    text: str
    size: int
    name: str
    cls: str
    words: int
    reads: frozenset[int]
    writes: frozenset[int]
    reads_flags: bool
    writes_flags: bool
    base: frozenset[int]
    indexed: bool
    literal: bool
    write_back: bool
    shifted: bool
    conditional: bool
    to_pc: bool
    accumulator: int
    loads: int

    @property
    def end(self) -> int:
        return self.address + self.size


def decoder(core: str, detail: bool = True) -> Any:
    """Capstone for a core ("cortex-m0plus" ...)."""
    mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
    if core == "cortex-m33":
        mode |= capstone.CS_MODE_V8
    md = capstone.Cs(capstone.CS_ARCH_ARM, mode)
    md.detail = detail
    return md


def classify(name: str, conditional: bool) -> str:
    """The class of a mnemonic (without condition and width)."""
    if name == "b" and conditional:
        return "branch_cond"
    found = _EXACT.get(name)
    if found:
        return found
    if name[0] == "v":
        return "fp"
    if name[:2] == "it" and not name[2:].strip("te"):
        return "it"
    for stems, cls in _STEMS:
        if name.startswith(stems):
            return cls
    return "alu"


def halfwords(code: bytes, start: int = 0) -> Iterator[tuple[int, int]]:
    """(offset, size) of each instruction of Thumb code: a first halfword of 0xE800 or more starts a 32-bit one."""
    k = start
    while k + 2 <= len(code):
        size = 4 if code[k + 1] >= 0xE8 else 2
        yield k, size
        k += size


# The fields after address and text, by mode, encoding and mnemonic (which an IT block changes).
_REDUCED: dict[tuple[int, bytes, str], tuple[Any, ...]] = {}
_MOST_REDUCED = 100_000


def decode(md: Any, code: bytes, base: int) -> list[Instruction]:
    """All instructions of a stretch of Thumb code; one that the decoder does not know becomes class "other"."""
    out: list[Instruction] = []
    offset = 0
    while offset + 2 <= len(code):
        out += _known(md, code[offset:], base + offset)
        if out:
            offset = out[-1].end - base
        if offset + 2 <= len(code):
            size = 4 if code[offset + 1] >= 0xE8 else 2
            out.append(_unknown(base + offset, size, code[offset : offset + size]))
            offset += size
    return out


def _known(md: Any, code: bytes, base: int) -> list[Instruction]:
    """The instructions up to one that the decoder does not know. Capstone's details of an instruction take many times
    what its text takes, so they are asked for once an encoding."""
    md.detail = False
    texts = list(md.disasm_lite(code, base))
    md.detail = True
    keys = [(md.mode, code[at - base : at - base + size], mnemonic) for at, size, mnemonic, _ in texts]
    if not all(key in _REDUCED for key in keys):
        if len(_REDUCED) > _MOST_REDUCED:
            _REDUCED.clear()  # before any of this stretch is looked up
        for key, ci in zip(keys, md.disasm(code, base), strict=True):
            if key not in _REDUCED:
                _REDUCED[key] = _reduce(ci)
    return [
        Instruction(at, f"{mnemonic} {operands}".strip(), *_REDUCED[key])
        for key, (at, _, mnemonic, operands) in zip(keys, texts, strict=True)
    ]


def _unknown(address: int, size: int, code: bytes) -> Instruction:
    none: frozenset[int] = frozenset()
    return Instruction(
        address, f".inst 0x{code.hex()}", size, ".inst", "other", 1, none, none, False, False, none,
        False, False, False, False, False, False, 0, 0,
    )  # fmt: skip


def _reduce(ci: Any) -> tuple[Any, ...]:
    """The fields of an Instruction after its address and text."""
    name = str(ci.mnemonic).split(".")[0]
    conditional = ci.cc not in (cs.ARM_CC_AL, cs.ARM_CC_INVALID)
    if conditional:
        name = name.removesuffix(_SUFFIX[ci.cc])
    cls = classify(name, conditional)
    read, written = ci.regs_access()
    read, written = set(read), set(written)
    registers = [o.reg for o in ci.operands if o.type == cs.ARM_OP_REG]
    memory = [o.mem for o in ci.operands if o.type == cs.ARM_OP_MEM]
    base = {m.base for m in memory} | {m.index for m in memory}
    if name.startswith(("ldm", "stm", "vldm", "vstm")) and registers:
        base.add(registers[0])
    elif name in ("push", "pop", "vpush", "vpop"):
        base.add(cs.ARM_REG_SP)
    accumulator = 0
    if cls in ("mul", "dsp_mac") and len(registers) == 4:
        if name.startswith(("smlal", "umlal", "smlsld")):
            accumulator = registers[0]
        elif name.startswith(("mla", "mls", "smla", "smls", "smmla", "smmls", "usada")):
            accumulator = registers[3]
    found = Instruction(
        address=0,
        text="",
        size=ci.size,
        name=name,
        cls=cls,
        words=_words(name, cls, registers),
        reads=frozenset(read - _STATUS),
        writes=frozenset(written - _STATUS),
        reads_flags=conditional or name in ("adc", "adcs", "sbc", "sbcs", "rrx", "rrxs", "sel"),
        writes_flags=bool(ci.update_flags) or cs.ARM_REG_CPSR in written or cs.ARM_REG_APSR in written,
        base=frozenset(base - {0, cs.ARM_REG_PC}),
        indexed=any(m.index for m in memory),
        literal=cs.ARM_REG_PC in base,
        write_back=bool(ci.writeback) and bool(memory),
        shifted=any(o.shift.type for o in ci.operands if o.type == cs.ARM_OP_REG),
        conditional=conditional,
        to_pc=cs.ARM_REG_PC in written,
        accumulator=accumulator,
        loads=registers[0] if cls in ("load", "fp_load") and registers else 0,
    )
    return tuple(getattr(found, f.name) for f in fields(found)[2:])


def _words(name: str, cls: str, registers: list[int]) -> int:
    if cls in ("load_multi", "store_multi"):
        if name in ("ldrd", "strd"):
            return 2
        return max(1, len(registers) - name.startswith(("ldm", "stm")))
    if cls in ("fp_load", "fp_store"):
        moved = registers[1:] if name.startswith(("vldm", "vstm")) else registers
        double = any(cs.ARM_REG_D0 <= r <= cs.ARM_REG_D31 for r in moved)
        return max(1, len(moved)) * (2 if double else 1)
    return 1


class Listing:
    """The instructions of an image, decoded a function at a time when first asked for.

    Whole functions, not blocks: translation may split a block inside an IT block, and the decoder must see its start.
    """

    def __init__(self, image: Image, core: str) -> None:
        self._image = image
        self._md = decoder(core)
        self._at: dict[int, Instruction] = {}
        self._done: set[int] = set()

    def block(self, address: int, size: int) -> tuple[Instruction, ...]:
        """The instructions in [address, address + size), of code in the image."""
        out: list[Instruction] = []
        where = address
        while where < address + size:
            found = self.at(where)
            if found is None or found.end > address + size:
                raise LookupError(f"no instruction at {where:#x}")
            out.append(found)
            where = found.end
        return tuple(out)

    def at(self, address: int) -> Instruction | None:
        if address not in self._at:
            self._decode_around(address)
        return self._at.get(address)

    def _decode_around(self, address: int) -> None:
        stretch = self._image.stretch_at(address)
        if stretch is None or stretch.kind != "t":
            return
        function = self._image.function_at(address)
        start, end = stretch.base, stretch.end
        if function is not None:
            start = max(start, function.address)
            if function.size:
                end = min(end, function.address + function.size)
        if start in self._done:
            return
        self._done.add(start)
        for instruction in decode(self._md, stretch.data[start - stretch.base : end - stretch.base], start):
            self._at[instruction.address] = instruction

    def outside(self, address: int, code: bytes) -> tuple[Instruction, ...]:
        """Code that runs where the image has none (copied to RAM): decoded from memory, a block at a time."""
        return tuple(decode(self._md, code, address))
