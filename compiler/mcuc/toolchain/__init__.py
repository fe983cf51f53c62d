"""Compilers for firmware (zig, arm-none-eabi-gcc) and for the host."""

from ._find import find
from ._model import Firmware, Optimize, Sizes, Toolchain, ToolchainId
from ._process import bytes_over
from .firmware import build_firmware, compile_object, render_clock_table, render_linker_script, runtime_folder
from .host import build_host_executable
from .sizes import sizes_of

__all__ = [
    "Firmware",
    "Optimize",
    "Sizes",
    "Toolchain",
    "ToolchainId",
    "build_firmware",
    "build_host_executable",
    "bytes_over",
    "compile_object",
    "find",
    "render_clock_table",
    "render_linker_script",
    "runtime_folder",
    "sizes_of",
]
