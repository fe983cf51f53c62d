"""What the parts of the toolchain package share: a found compiler, the flags that every build has, sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ToolchainId = Literal["zig", "gcc"]
Optimize = Literal["latency", "balanced", "sram", "flash"]

# -ffreestanding: there is no C library. -ffp-contract=off: a fused a*b+c would round once instead of twice.
C_FLAGS = (
    "-std=c99",
    "-ffreestanding",
    "-ffunction-sections",
    "-fdata-sections",
    "-ffp-contract=off",
    "-fno-stack-protector",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-common",
    "-fomit-frame-pointer",
    "-g0",
)


@dataclass(frozen=True)
class Toolchain:
    """A compiler that was found. command: how to call it as a C compiler and linker driver."""

    id: ToolchainId
    version: str
    command: tuple[str, ...]

    @property
    def label(self) -> str:
        """For reports, the name and version."""
        return f"{self.id} {self.version}"


@dataclass(frozen=True)
class Sizes:
    """Bytes of a linked firmware. Flash is weights + code (constants and initial values included); the harness
    (vectors, startup, test program) is in neither. data and bss are static RAM, arena and stack excluded.
    weights_in_ram, code_in_ram: those of the weights and of the code that are copied to RAM, which data counts as
    well; weights_inside: those in the chip's own flash while others lie outside."""

    weights: int
    code: int
    data: int
    bss: int
    arena: int
    harness: int
    weights_in_ram: int = 0
    code_in_ram: int = 0
    weights_inside: int = 0

    @property
    def flash(self) -> int:
        """Flash that the user's program spends on the model."""
        return self.weights + self.code


@dataclass(frozen=True)
class Firmware:
    """A linked image. toolchain: name and version for the report; inside: symbols of the tables in the chip's own
    flash, where weights lie outside."""

    elf: Path
    toolchain: str
    sizes: Sizes
    inside: tuple[str, ...] = ()
