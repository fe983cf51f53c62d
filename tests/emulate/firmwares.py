"""Small firmwares for the emulator, built with zig."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mcuc.targets import Chip, load_chip

HERE = Path(__file__).parent
CHIPS = {
    "cortex-m0plus": "stm32g0b1",
    "cortex-m3": "stm32f103xb",
    "cortex-m4": "stm32l4r5",
    "cortex-m7": "stm32f746",
    "cortex-m33": "stm32u575",
}
CORES = tuple(CHIPS)
# zig leaves the FPU and the DSP extension off unless they are named.
FLAGS = {
    "cortex-m0plus": ("eabi", "cortex_m0plus"),
    "cortex-m3": ("eabi", "cortex_m3"),
    "cortex-m4": ("eabihf", "cortex_m4+vfp4d16sp"),
    "cortex-m7": ("eabihf", "cortex_m7+fp_armv8d16sp"),
    "cortex-m33": ("eabihf", "cortex_m33+dsp+fp_armv8d16sp"),
}
LINK = """ENTRY(reset)
MEMORY {{ FLASH (rx) : ORIGIN = {flash:#x}, LENGTH = {flash_size:#x}
          RAM (rwx) : ORIGIN = {ram:#x}, LENGTH = 0x4000 }}
SECTIONS {{
  .vectors : {{ KEEP(*(.vectors)) }} >FLASH
  .text : {{ *(.text*) }} >FLASH
  .rodata : {{ *(.rodata*) }} >FLASH
  .data : {{ . = ALIGN(8); data_start = .; *(.data*) . = ALIGN(8); data_end = .; }} >RAM AT>FLASH
  data_load = LOADADDR(.data);
  .bss (NOLOAD) : {{ . = ALIGN(8); bss_start = .; *(.bss*) . = ALIGN(8); bss_end = .; }} >RAM
  .noinit (NOLOAD) : {{ *(.noinit*) }} >RAM
  stack_top = ORIGIN(RAM) + LENGTH(RAM);
  /DISCARD/ : {{ *(.ARM.exidx*) *(.ARM.attributes) }}
}}
"""
# Assembly cases: r7 = RAM, r6 = the opening marker; the body runs between the stores to the markers unless it says so.
FRAME = """
    .syntax unified
    .thumb
    .text
    .thumb_func
    .global main
    .type main,%function
main:
    push {{r4-r7,lr}}
    ldr r7, =scratch
    ldr r6, =0xE0001F00
    movs r0, #1
{body}
    movs r0, #0
    pop {{r4-r7,pc}}
    .ltorg
    .size main, . - main
{after}
    .section .noinit,"aw",%nobits
    .balign 8
    .global scratch
    .type scratch,%object
scratch: .space 256
    .size scratch, 256
"""

Build = Callable[..., Path]


def chip_of(core: str) -> Chip:
    return load_chip(CHIPS[core])


def link(core: str, sources: list[Path], elf: Path, defines: tuple[str, ...] = (), mcpu: str = "") -> None:
    link_for(chip_of(core), sources, elf, defines, mcpu)


def link_for(chip: Chip, sources: list[Path], elf: Path, defines: tuple[str, ...] = (), mcpu: str = "") -> None:
    """Compile and link for a chip. mcpu: assemble for other features than the core's."""
    abi, cpu = FLAGS[chip.core]
    script = elf.with_suffix(".ld")
    flash = chip.flash_region
    script.write_text(LINK.format(flash=flash.base, flash_size=flash.size, ram=chip.ram_base))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", f"thumb-freestanding-{abi}", f"-mcpu={mcpu or cpu}"]
    command += ["-O2", "-ffreestanding", "-nostdlib", "-fno-builtin", "-fno-sanitize=all", "-T", str(script)]
    command += [f"-D{d}" for d in defines] + [str(s) for s in sources] + ["-lcompiler_rt", "-o", str(elf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
