"""arm-none-eabi-gcc from PATH: used where it is asked for, or where zig is missing."""

from __future__ import annotations

import shutil

from mcuc.targets import Chip

from ._model import Optimize, Toolchain
from ._process import first_line

OPTIMIZE_FLAGS: dict[Optimize, tuple[str, ...]] = {
    "latency": ("-O2",),  # -O3 of gcc 12 unrolls the dot products into spills and is slower
    "balanced": ("-O2",),
    "sram": ("-O2",),
    "flash": ("-Os",),
}
COMPILE_FLAGS: tuple[str, ...] = ()
# No C library: the startup has memcpy and its like, libgcc the arithmetic that a core lacks.
LINK_FLAGS = ("-nostdlib", "-nostartfiles", "-Wl,--gc-sections", "-Wl,-z,max-page-size=4096")
LIBRARY_CHOICES = (("-lgcc",),)


def locate() -> Toolchain | None:
    """arm-none-eabi-gcc on PATH; None where there is none or it does not run."""
    executable = shutil.which("arm-none-eabi-gcc")
    if executable is None:
        return None
    version = first_line([executable, "-dumpfullversion"])
    return None if version is None else Toolchain("gcc", version, (executable,))


def target_flags(chip: Chip) -> tuple[str, ...]:
    """Compiler and linker flags that choose core, FPU and calling convention."""
    extension = "" if chip.dsp or chip.core != "cortex-m33" else "+nodsp"
    flags = ("-mthumb", f"-mcpu={chip.core}{extension}")
    if chip.fpu == "none":
        return (*flags, "-mfloat-abi=soft")
    return (*flags, "-mfloat-abi=hard", f"-mfpu={chip.fpu}")
