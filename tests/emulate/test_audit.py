"""The audit finds what Unicorn forgives: each rule has a firmware that breaks it and one that does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from firmwares import CORES, Build, chip_of
from test_counts import INPUT, LAYERS

from mcuc.emulate.audit import Audit
from mcuc.emulate.cortex_m import CortexM, Dump, Poke
from mcuc.emulate.instructions import decoder
from mcuc.emulate.isa import lacks
from mcuc.targets import Chip

ANY = "cortex_m33+dsp+fp_armv8d16sp"  # assembles what the cores differ in
MARKS = "str r0, [r6]\n {body}\n str r0, [r6, #4]\n"


def audited(
    build_asm: Build, core: str, body: str, after: str = "", defines: tuple[str, ...] = (), mcpu: str = ""
) -> Audit:
    elf = build_asm(core, MARKS.format(body=body), after, defines, mcpu)
    audit = CortexM(elf, chip_of(core)).run(audit=True, timeout_s=10).audit
    assert audit is not None and audit.scanned_bytes > 40
    return audit


@pytest.mark.parametrize("core", CORES)
def test_an_honest_firmware_passes_and_counts_do_not_change(core: str, build_net: Build) -> None:
    emulator = CortexM(build_net(core), chip_of(core), LAYERS)
    given, wanted = [Poke("input", 0, INPUT)], [Dump("output", 0, 64)]
    plain = emulator.run(given, wanted)
    with_audit = emulator.run(given, wanted, audit=True)
    assert with_audit.audit is not None
    assert with_audit.audit.findings == ()
    assert with_audit.audit.passed
    assert with_audit.audit.accesses >= (150 if core == "cortex-m0plus" else 64)  # net.c has 64 wide ones
    for name in ("dumps", "instructions", "mix", "layers", "cycles", "stack_bytes", "functions", "registers"):
        assert getattr(with_audit, name) == getattr(plain, name)
    assert emulator.run(given, wanted) == plain


@pytest.mark.parametrize("core", CORES[1:])
def test_accesses_inside_it_blocks_keep_the_path(core: str, build_asm: Build) -> None:
    """Unicorn's hooks may leave the IT state behind that they save: the audit must not disturb the run."""
    body = """
        movs r4, #100
        movs r5, #0
        str r0, [r6]
    1:  tst r4, #1
        itett eq
        ldrdeq r0, r3, [r7, #16]
        ldmne r7, {r0, r3}
        addeq r5, #1
        moveq r1, #1
        bl 3f
        adds r5, #1
        subs r4, #1
        bne 1b
        str r0, [r6, #4]
        str r5, [r7]
        b 2f
    3:  adds r5, #0x80
        bx lr
    2:
    """
    emulator = CortexM(build_asm(core, body), chip_of(core))
    plain, with_audit = (emulator.run(dumps=[Dump("scratch", 0, 4)], audit=a) for a in (False, True))
    assert plain.dumps == with_audit.dumps == ((50 + 100 + 100 * 128).to_bytes(4, "little"),)
    assert plain.mix == with_audit.mix
    assert plain.instructions == 1200


@pytest.mark.parametrize("offset", [1, 2])
@pytest.mark.parametrize("core", CORES[1:])
@pytest.mark.parametrize("wide", ["ldrd r0, r1, [r2]", "strd r0, r1, [r2]", "ldm r2, {r0, r1}", "stm r2, {r0, r1}"])
def test_unaligned_multiple_access(core: str, wide: str, offset: int, build_asm: Build) -> None:
    audit = audited(build_asm, core, f"add r2, r7, #{16 + offset}\n {wide}")
    (finding,) = audit.findings
    assert (finding.kind, finding.function, finding.executed) == ("align", "main", True)
    assert finding.instruction.split()[0][:3] == wide[:3]
    assert not audit.passed
    assert audited(build_asm, core, f"add r2, r7, #20\n {wide}").passed


@pytest.mark.parametrize("core", CORES[2:])
@pytest.mark.parametrize(
    "wide", ["vldr s0, [r2]", "vstr s0, [r2]", "vldr d0, [r2]", "vldmia r2, {s0-s3}", "vstmia r2, {d0-d1}"]
)
def test_unaligned_fpu_access(core: str, wide: str, build_asm: Build) -> None:
    (finding,) = audited(build_asm, core, f"add r2, r7, #18\n {wide}").findings
    assert finding.kind == "align"
    assert audited(build_asm, core, f"add r2, r7, #20\n {wide}").passed


@pytest.mark.parametrize("single", ["ldr r1, [r2]", "str r1, [r2]", "ldrh r1, [r2]", "strh r1, [r2]"])
def test_unaligned_single_access_only_faults_on_armv6m(single: str, build_asm: Build) -> None:
    body = f"movs r2, r7\n adds r2, #17\n {single}"
    for core in CORES[1:]:
        assert audited(build_asm, core, body).passed
    (finding,) = audited(build_asm, "cortex-m0plus", body).findings
    assert finding.kind == "align"
    assert audited(build_asm, "cortex-m0plus", f"movs r2, r7\n adds r2, #20\n {single}").passed


@pytest.mark.parametrize("core", CORES[2:])
def test_fpu_must_be_on_before_it_is_used(core: str, build_asm: Build) -> None:
    body = "vmov.f32 s0, #1.0\n vadd.f32 s0, s0, s0"
    findings = audited(build_asm, core, body, defines=("KEEP_FPU_OFF",)).findings
    assert [(f.kind, f.function, f.count) for f in findings] == [("fpu-off", "main", 1)] * 2
    assert audited(build_asm, core, body).passed
    late = "ldr r1, =0xE000ED88\n ldr r2, =0xF00000\n vmov.f32 s0, #1.0\n str r2, [r1]\n dsb\n isb\n" + body
    assert len(audited(build_asm, core, late, defines=("KEEP_FPU_OFF",)).findings) == 1


UNUSED = "    .thumb_func\n    .type unused,%function\nunused: {code}\n    bx lr\n    .size unused, . - unused\n"


def _each(listing: str) -> list[str]:
    return listing.split("; ")


V7 = _each("movw r0, #1; cbz r0, 1f\n nop\n 1:; it eq\n moveq r0, r0; udiv r0, r1, r2; ldr.w r0, [r1]; clz r0, r1")
DSP = _each(
    "smlad r0, r1, r2, r3; smlabb r0, r1, r2, r3; smmul r0, r1, r2; smlald r0, r1, r2, r3; umaal r0, r1, r2, "
    "r3; sxtb16 r0, r1; sxtab r0, r1, r2; pkhbt r0, r1, r2; qadd r0, r1, r2; uadd8 r0, r1, r2; sel r0, r1, r2; "
    "usad8 r0, r1, r2; ssat16 r0, #4, r1; usat16 r0, #4, r1; smuad r0, r1, r2"
)
FPU = _each("vadd.f32 s0, s1, s2; vldr s0, [r0]; vpush {d8}; vmov r0, s0; vmrs apsr_nzcv, fpscr; vfma.f32 s0, s1, s2")
FPV5 = _each("vrintz.f32 s0, s1; vseleq.f32 s0, s1, s2; vmaxnm.f32 s0, s1, s2; vcvta.s32.f32 s0, s1")
V8 = _each("lda r0, [r1]; stlb r0, [r1]; tt r0, r1; bxns lr; msr msplim, r0; sg")
RAW = _each(".inst.w 0xee300b01; .inst.w 0xef000840; .inst.w 0xf040c001; .inst.w 0xee070f9a; .inst.n 0xba80")
LACKING = {
    "cortex-m0plus": V7 + DSP[:3] + FPU[:2] + V8[4:5] + ["msr basepri, r0"],
    "cortex-m3": DSP + FPU + FPV5 + V8,
    "cortex-m4": FPV5 + V8 + RAW,
    "cortex-m7": V8 + RAW,
    "cortex-m33": RAW,
}


@pytest.mark.parametrize(("core", "code"), [(c, i) for c, many in LACKING.items() for i in many])
def test_an_instruction_that_the_core_lacks(core: str, code: str, build_asm: Build) -> None:
    findings = audited(build_asm, core, "nop", UNUSED.format(code=code), mcpu=ANY).findings
    assert len(findings) == 1 or (len(findings) == 2 and code[:2] == "it")
    assert all((f.kind, f.function, f.executed, f.count) == ("isa", "unused", False, 0) for f in findings)


def test_an_executed_instruction_is_counted(build_asm: Build) -> None:
    (finding,) = audited(build_asm, "cortex-m3", "sadd16 r1, r2, r3\n sub r4, r4, r4", mcpu=ANY).findings
    assert (finding.executed, finding.count, finding.function) == (True, 1, "main")
    assert "DSP" in finding.why and "sadd16" in str(finding)


def test_data_in_code_is_not_code(build_asm: Build) -> None:
    literal = "nop\n bx lr\n .balign 4\n .word 0xfbb0f0f1, 0xee300a20\n nop"
    assert audited(build_asm, "cortex-m0plus", "ldr r1, =0xF2400001", UNUSED.format(code=literal)).passed


def test_code_copied_to_ram_is_scanned(build_asm: Build) -> None:
    body = """
        ldr r1, =0xf0f1fb90   @ sdiv r0, r0, r1
        str r1, [r7, #32]
        ldr r1, =0x4770       @ bx lr
        strh r1, [r7, #36]
        movs r1, r7
        adds r1, #33
        blx r1
    """
    (finding,) = audited(build_asm, "cortex-m0plus", body).findings
    assert (finding.kind, finding.executed, finding.why) == ("isa", True, "32-bit Thumb-2 instruction needs Armv7-M")
    assert audited(build_asm, "cortex-m3", body).passed


# An assembler told of the core is an independent judge: what it accepts the core has, what it rejects the core lacks.
# It takes two system instructions on any core, which the architecture manuals give to Armv8-M and Armv7-M only.
LENIENT = {"msr msplim, r0", "cpsid f"}
BASE = _each(
    "adds r0, r1, r2; muls r0, r1, r0; push {r0, lr}; pop {r0, pc}; stm r0!, {r1, r2}; rev r0, r1; sxtb r0, r1; "
    "blx r0; svc #1; bl 1f\n 1:; dsb sy; dmb sy; isb sy; msr primask, r0; mrs r0, psp; cpsid i; wfi; nop; mov "
    "r8, r0; cpsid f; mul r0, r1, r9; mla r0, r1, r2, r3; mls r0, r1, r2, r3; smull r0, r1, r2, r3; smlal r0, "
    "r1, r2, r3; umull r0, r1, r2, r3; umlal r0, r1, r2, r3; sdiv r0, r1, r2; sxtb.w r0, r1; uxth.w r0, r1, ror "
    "#8; lsl.w r0, r1, r2; rev.w r0, r1; rbit r0, r1; ssat r0, #4, r1; usat r0, #4, r1, asr #3; bfi r0, r1, #2, "
    "#3; ubfx r0, r1, #1, #4; movt r0, #2; tbb [pc, r0]; ldrexb r0, [r1]; strexh r0, r1, [r2]; strex r0, r1, "
    "[r2]; pld [r0]; mrs r0, basepri; clrex; ldrd r0, r1, [r2]; ror.w r0, r1, r2; teq r0, r1; ldrt r0, [r1]; "
    "b.w 1f\n 1:; smlsd r0, r1, r2, r3; smmls r0, r1, r2, r3; smulwb r0, r1, r2; smlalbb r0, r1, r2, r3; smlsld "
    "r0, r1, r2, r3; uxtab16 r0, r1, r2; uxtah r0, r1, r2; pkhtb r0, r1, r2, asr #4; qdsub r0, r1, r2; sadd16 "
    "r0, r1, r2; uhsub8 r0, r1, r2; uqasx r0, r1, r2; usada8 r0, r1, r2, r3; uxtb16 r0, r1; smmulr r0, r1, r2; "
    "shadd8 r0, r1, r2; vsqrt.f32 s0, s1; vcvt.s32.f32 s0, s0; vldmia r0!, {s0-s3}; vmov d0, r0, r1; vmov.f32 "
    "s0, #1.0; vcvtb.f32.f16 s0, s1; vrintr.f32 s0, s1; vrintx.f32 s0, s1; vdiv.f32 s0, s1, s2; vcmp.f32 s0, "
    "#0; vnmla.f32 s0, s1, s2"
)
JUDGED = [*V7, *DSP, *FPU, *FPV5, *V8, *BASE]


@pytest.mark.parametrize("core", CORES)
def test_the_assembler_agrees(core: str, tmp_path: Path) -> None:
    accepted = _assembles(core, tmp_path)
    assert any(accepted)
    chip = chip_of(core)
    md = decoder(core, detail=False)
    disagreeing = []
    for code, yes in zip(JUDGED, accepted, strict=True):
        if (_first_reason(chip, md, code, tmp_path) is None) != yes and not (yes and code in LENIENT):
            disagreeing.append((code, yes))
    assert disagreeing == []


def _assemble(core_flags: str, source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabihf", f"-mcpu={core_flags}"]
    return subprocess.run([*command, "-c", str(source), "-o", str(out)], capture_output=True, text=True, check=False)


def _assembles(core: str, folder: Path) -> list[bool]:
    """Which of JUDGED the assembler takes for the core: it reports every bad line at once."""
    from firmwares import FLAGS

    first, text = [], ["    .syntax unified", "    .thumb", "    .text"]
    for code in JUDGED:
        first.append(len(text) + 1)
        text += code.split("\n")
    source = folder / "judged.s"
    source.write_text("\n".join(text) + "\n")
    done = _assemble(FLAGS[core][1], source, folder / "judged.o")
    bad = {int(n) for n in re.findall(r"judged\.s:(\d+):\d+: error", done.stderr)}
    assert done.returncode == 0 or bad
    ends = [*first[1:], len(text) + 1]
    return [not any(a <= n < b for n in bad) for a, b in zip(first, ends, strict=True)]


_ENCODINGS: dict[str, list[bytes]] = {}


def _first_reason(chip: Chip, md: object, code: str, folder: Path) -> str | None:
    """Why the core lacks any of the instructions of this code; encodings come from an assembler for all features."""
    if not _ENCODINGS:
        _ENCODINGS.update({one: [] for one in JUDGED})
        source, out = folder / "all.s", folder / "all.o"
        body = "\n".join(
            f".type f{n},%function\n.thumb_func\nf{n}: {one}\n.size f{n}, . - f{n}" for n, one in enumerate(JUDGED)
        )
        source.write_text(f"    .syntax unified\n    .thumb\n    .text\n{body}\n")
        done = _assemble(ANY, source, out)
        assert done.returncode == 0, done.stderr
        with out.open("rb") as f:
            elf = ELFFile(f)
            text = elf.get_section_by_name(".text").data()
            table = elf.get_section_by_name(".symtab")
            where = {s.name: (s["st_value"] & ~1, s["st_size"]) for s in table.iter_symbols()}
        for number, one in enumerate(JUDGED):
            start, length = where[f"f{number}"]
            piece, k = text[start : start + length], 0
            while k < len(piece):
                size = 4 if piece[k + 1] >= 0xE8 else 2
                _ENCODINGS[one].append(piece[k : k + size])
                k += size
    return next((why for c in _ENCODINGS[code] if (why := lacks(chip, md, c))), None)
