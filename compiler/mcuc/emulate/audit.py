"""What Unicorn forgives and silicon does not: instructions that the core lacks, unaligned wide accesses, FPU
instructions before the FPU is on. (Stores to flash are faults of every run.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mcuc.emulate.counter import FPU_OFF, Block
from mcuc.emulate.image import Image
from mcuc.emulate.instructions import Instruction, decoder, halfwords
from mcuc.emulate.isa import lacks
from mcuc.emulate.watch import Access
from mcuc.targets import Chip


@dataclass(frozen=True)
class Finding:
    """A place that silicon would refuse. executed: False where only the scan of the code found it; count: how often."""

    kind: Literal["isa", "align", "fpu-off"]
    address: int
    instruction: str
    function: str
    why: str
    executed: bool
    count: int

    def __str__(self) -> str:
        ran = f"{self.count} times" if self.executed else "not executed"
        return f"{self.address:#010x} {self.instruction} in {self.function}: {self.why} ({ran})"


@dataclass(frozen=True)
class Audit:
    """findings by address; scanned_bytes of code; accesses: those that alignment was judged for."""

    findings: tuple[Finding, ...]
    scanned_bytes: int
    accesses: int

    @property
    def passed(self) -> bool:
        return not self.findings


def audit_firmware(
    image: Image,
    chip: Chip,
    executed: Sequence[tuple[Block, bytes, tuple[Instruction, ...]]],
    unaligned: Sequence[Access],
    accesses: int,
) -> Audit:
    """Judge a firmware and one run of it. executed: every block with its bytes and instructions."""
    runs: dict[int, int] = {}
    at: dict[int, Instruction] = {}
    for block, _, instructions in executed:
        for i in instructions:
            runs[i.address] = runs.get(i.address, 0) + block.count
            at[i.address] = i
    findings, scanned = _isa(image, chip, executed, runs)
    findings += _alignment(image, unaligned, at)
    findings += _fpu_off(image, executed)
    return Audit(tuple(sorted(findings, key=lambda f: (f.address, f.kind))), scanned, accesses)


def _isa(
    image: Image, chip: Chip, executed: Sequence[tuple[Block, bytes, tuple[Instruction, ...]]], runs: dict[int, int]
) -> tuple[list[Finding], int]:
    pieces = [(s.base, s.data, s.kind) for s in image.stretches if s.kind != "d"]
    for block, code, _ in executed:  # code that was copied to RAM
        stretch = image.stretch_at(block.address)
        if stretch is None or stretch.kind == "d":
            pieces.append((block.address, code, "t"))
    md = decoder(chip.core, detail=False)
    found: dict[int, Finding] = {}
    for base, code, kind in pieces:
        if kind == "a":
            why, text = "ARM code, which no Cortex-M has", f".inst 0x{code[:4][::-1].hex()}"
            found[base] = Finding("isa", base, text, image.name_at(base), why, base in runs, runs.get(base, 0))
            continue
        for offset, size in halfwords(code):
            reason = lacks(chip, md, code[offset : offset + size])
            if reason:
                where = base + offset
                text = next(
                    (f"{m} {o}".strip() for _, _, m, o in md.disasm_lite(code[offset : offset + size], where)), "?"
                )
                found[where] = Finding(
                    "isa", where, text, image.name_at(where), reason, where in runs, runs.get(where, 0)
                )
    return list(found.values()), sum(len(code) for _, code, _ in pieces)


def _alignment(image: Image, unaligned: Sequence[Access], at: dict[int, Instruction]) -> list[Finding]:
    out = []
    for access in unaligned:
        text = at[access.pc].text if access.pc in at else "?"
        why = f"unaligned access, the first at {access.first:#010x}"
        out.append(Finding("align", access.pc, text, image.name_at(access.pc), why, True, access.count))
    return out


def _fpu_off(image: Image, executed: Sequence[tuple[Block, bytes, tuple[Instruction, ...]]]) -> list[Finding]:
    counts: dict[int, tuple[Instruction, int]] = {}
    for block, _, instructions in executed:
        if block.region & FPU_OFF:
            for i in instructions:
                if i.cls in ("fp", "fp_load", "fp_store"):
                    counts[i.address] = (i, counts.get(i.address, (i, 0))[1] + block.count)
    return [
        Finding("fpu-off", a, i.text, image.name_at(a), "FPU instruction while CPACR has the FPU off", True, n)
        for a, (i, n) in counts.items()
    ]
