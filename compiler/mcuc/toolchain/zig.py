"""zig cc: clang and lld from the ziglang wheel, the default for firmware."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from mcuc.targets import Chip

from ._model import Optimize, Toolchain
from ._process import first_line

# Bare cores: zig's cortex_m4, m7 and m33 have no FPU, its m33 no DSP instructions; both are asked for by feature.
_CORES = {
    "cortex-m0plus": "cortex_m0plus",
    "cortex-m3": "cortex_m3",
    "cortex-m4": "cortex_m4",
    "cortex-m7": "cortex_m7",
    "cortex-m33": "cortex_m33",
}
_FPUS = {"none": "", "fpv4-sp-d16": "+vfp4d16sp", "fpv5-sp-d16": "+fp_armv8d16sp"}


def locate() -> Toolchain | None:
    """The zig of the ziglang wheel, else the one on PATH; None where there is none."""
    executable = _wheel() or shutil.which("zig")
    if executable is None:
        return None
    version = first_line([executable, "version"])
    return None if version is None else Toolchain("zig", version, (executable, "cc"))


def target_flags(chip: Chip) -> tuple[str, ...]:
    """Compiler and linker flags that choose core, FPU and calling convention."""
    abi = "eabi" if chip.fpu == "none" else "eabihf"
    dsp = "+dsp" if chip.dsp and chip.core == "cortex-m33" else ""
    return ("-target", f"thumb-freestanding-{abi}", f"-mcpu={_CORES[chip.core]}{dsp}{_FPUS[chip.fpu]}")


# zig cc makes -O2 of both -O1 and -O3, and strips the symbols with -Os; clang behind it takes the real one.
OPTIMIZE_FLAGS: dict[Optimize, tuple[str, ...]] = {
    "latency": ("-O2", "-Xclang", "-O3"),
    "balanced": ("-O2",),
    "sram": ("-O2",),
    "flash": ("-O2", "-Xclang", "-Os"),
}
# zig cc turns the sanitizer for undefined behaviour on in some modes; firmware has no run-time for it.
COMPILE_FLAGS = ("-fno-sanitize=undefined",)
LINK_FLAGS = ("-nostartfiles", "-Wl,--gc-sections", "-Wl,-z,max-page-size=4096")
# Tried first without zig's compiler-rt: most models on a core with an FPU need none of it, and zig takes seconds to
# build it once for every core.
LIBRARY_CHOICES = (("-nostdlib",), ())


def _wheel() -> str | None:
    spec = importlib.util.find_spec("ziglang")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / ("zig.exe" if sys.platform == "win32" else "zig")
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None
