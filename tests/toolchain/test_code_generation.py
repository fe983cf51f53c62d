"""The traps of the cross compilers, one by one: what ends up in objects and images for each core."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from binaries import mnemonics, symbol_names, undefined_names

from mcuc.targets import load_board, load_chip
from mcuc.toolchain import Toolchain, build_firmware, compile_object, runtime_folder

CORES = {
    "cortex-m0plus": "stm32g0b1",
    "cortex-m3": "stm32f103xb",
    "cortex-m4": "stm32l4r5",
    "cortex-m7": "stm32f746",
    "cortex-m33": "stm32u575",
}
WITH_FPU = {"cortex-m4": "nucleo-l4r5zi", "cortex-m7": "nucleo-f746zg", "cortex-m33": "nucleo-u575zi-q"}
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")

FLOAT_PROGRAM = """
volatile float a = 1.5f, b = 2.0f;
int main(void) { return a * b + a / b == 3.75f ? 0 : 1; }
"""
DSP_FUNCTION = """
#include <stdint.h>
int32_t dot(int32_t a, int32_t b, int32_t c)
{
#if defined(__ARM_FEATURE_DSP)
    __asm__("smlad %0, %1, %2, %0" : "+r"(c) : "r"(a), "r"(b));
    return c;
#else
    return c + (int16_t)a * (int16_t)b + (a >> 16) * (b >> 16);
#endif
}
"""
LOAD_LOOP = """
#include <stdint.h>
static inline uint32_t load4(const uint8_t *p) { uint32_t v; __builtin_memcpy(&v, p, 4); return v; }
uint32_t fold(const uint8_t *p, int32_t n)
{
    uint32_t s = 0;
    for (int32_t i = 0; i < n; i++) { s ^= load4(p + 4 * i); }
    return s;
}
"""
COPY_LOOP = """
#include <stdint.h>
void copy(int8_t *restrict to, const int8_t *restrict from, int32_t n)
{
    for (int32_t i = 0; i < n; i++) { to[i] = from[i]; }
}
void clear(int8_t *to, int32_t n)
{
    for (int32_t i = 0; i < n; i++) { to[i] = 0; }
}
"""
CONTRACT = "float fma_or_not(float a, float b, float c) { return a * b + c; }"
BRANCHES = """
struct pair { int a, b; };
static __attribute__((noinline)) int apply(const struct pair *p, int x) { return p->a * x + p->b; }
int total(int x, int y)
{
    struct pair q = {x, y};
    int r = 0;
    for (int i = 0; i < y; i++) { r += apply(&q, i); }
    return r;
}
"""


def compiled(text: str, chip: str, tools: Toolchain, folder: Path, *flags: str, optimize: str = "balanced") -> Path:
    source, out = folder / "unit.c", folder / "unit.o"
    source.write_text(text)
    compile_object(source, out, load_chip(chip), tools, optimize, [], flags)  # type: ignore[arg-type]
    return out


@pytest.mark.parametrize("core", sorted(WITH_FPU))
def test_no_soft_float_call_in_a_hard_float_image(core: str, tools: Toolchain, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text(FLOAT_PROGRAM)
    firmware = build_firmware([source], [], load_board(WITH_FPU[core]), tmp_path / "f.elf", tools.id)
    names = symbol_names(firmware.elf)
    assert not {n for n in names if n.startswith(("__aeabi_f", "__aeabi_d", "__mulsf3", "__divsf3"))}
    assert any(m.startswith(("vmul.f32", "vmla.f32")) for m in mnemonics(firmware.elf, ".text"))


def test_the_soft_float_check_sees_one_where_there_is_no_fpu(tools: Toolchain, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text(FLOAT_PROGRAM)
    firmware = build_firmware([source], [], load_board("mps2-an385"), tmp_path / "f.elf", tools.id)
    assert {"__aeabi_fmul", "__aeabi_fdiv"} <= symbol_names(firmware.elf)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7", "cortex-m33"])
def test_dsp_instructions_where_the_chip_has_them(core: str, tools: Toolchain, tmp_path: Path) -> None:
    assert "smlad" in mnemonics(compiled(DSP_FUNCTION, CORES[core], tools, tmp_path), ".text.dot")


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m3"])
def test_no_dsp_instructions_elsewhere(core: str, tools: Toolchain, tmp_path: Path) -> None:
    assert "smlad" not in mnemonics(compiled(DSP_FUNCTION, CORES[core], tools, tmp_path), ".text.dot")


def test_no_dsp_on_an_m33_without(tools: Toolchain, tmp_path: Path) -> None:
    source, out = tmp_path / "unit.c", tmp_path / "unit.o"
    source.write_text(DSP_FUNCTION)
    compile_object(source, out, msgspec.structs.replace(load_chip("stm32u575"), dsp=False, fpu="none"), tools)
    assert "smlad" not in mnemonics(out, ".text.dot")


@pytest.mark.parametrize("optimize", ["latency", "balanced", "flash"])
@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"])
def test_no_memcpy_call_in_a_loop(core: str, optimize: str, tools: Toolchain, tmp_path: Path) -> None:
    """A four-byte load is one instruction, and a hand-written copy loop stays a loop."""
    loads = compiled(LOAD_LOOP, CORES[core], tools, tmp_path, optimize=optimize)
    assert undefined_names(loads) == set()
    assert any(m.startswith("ldr") for m in mnemonics(loads, ".text.fold"))
    assert undefined_names(compiled(COPY_LOOP, CORES[core], tools, tmp_path, optimize=optimize)) == set()


@pytest.mark.parametrize("core", sorted(WITH_FPU))
def test_float_products_and_sums_are_rounded_apart(core: str, tools: Toolchain, tmp_path: Path) -> None:
    """vmla rounds the product before it adds (Armv7-M Architecture Reference Manual, VMLA); vfma does not."""
    found = mnemonics(compiled(CONTRACT, CORES[core], tools, tmp_path, optimize="latency"), ".text.fma_or_not")
    assert any(m.startswith(("vmul", "vmla")) for m in found)
    assert not any(m.startswith(("vfm", "vfnm")) for m in found)


def test_latency_and_flash_differ_from_balanced(tools: Toolchain, tmp_path: Path) -> None:
    """zig cc alone makes -O2 of -O3; with gcc both are -O2, because its -O3 is slower on these kernels."""
    images = {
        o: compiled(LOAD_LOOP + BRANCHES, "stm32l4r5", tools, tmp_path, optimize=o).read_bytes()
        for o in ("latency", "balanced", "flash")
    }
    assert images["flash"] != images["balanced"]
    assert (images["latency"] == images["balanced"]) == (tools.id == "gcc")


def test_no_frame_pointer(tools: Toolchain, tmp_path: Path) -> None:
    """zig cc keeps one unless told; it costs a register and two instructions a call."""
    text = "int other(int); int twice(int x) { return other(x) + other(x + 1); }"
    with_pointer = compiled(text, "stm32l4r5", tools, tmp_path, "-fno-omit-frame-pointer").read_bytes()
    assert compiled(text, "stm32l4r5", tools, tmp_path).read_bytes() != with_pointer


@pytest.mark.parametrize("core", sorted(CORES))
def test_runtime_is_free_of_warnings(core: str, tools: Toolchain, tmp_path: Path) -> None:
    for entry in runtime_folder().iterdir():
        if entry.name.startswith("mcuc_s"):
            (tmp_path / entry.name).write_bytes(entry.read_bytes())
    for flags in ((), ("-DMCUC_LEVEL1_CACHES",)) if core == "cortex-m7" else ((),):
        out = tmp_path / "startup.o"
        compile_object(
            tmp_path / "mcuc_startup.c",
            out,
            load_chip(CORES[core]),
            tools,
            "flash",
            [],
            (*STRICT, "-fno-builtin", *flags),
        )
        assert undefined_names(out) <= {
            "main", "mcuc_clock_steps", "__stack_top", "__data_start", "__data_end", "__data_load",
            "__bss_start", "__bss_end", "__code_start", "__code_end", "__code_load",
        }  # fmt: skip
