"""Which outside tools are there and work, and what each is for. Every probe uses its tool."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcuc import cache
from mcuc.errors import McucError
from mcuc.targets import load_board
from mcuc.toolchain import build_host_executable, compile_object, find

PROBE_SECONDS = 120
_PROGRAM = "int main(void) { return 0; }\n"
_OBJECT = "int mcuc_probe(int x);\nint mcuc_probe(int x) { return x + 1; }\n"
_THUMB_ADD = b"\x01\x30"  # adds r0, #1


@dataclass(frozen=True)
class Probe:
    """One tool. required: mcuc compile does not work without it. found: version or path, or what is wrong."""

    tool: str
    works: bool
    required: bool
    found: str
    purpose: str
    install: str


def examine(progress: Callable[[str], None] = lambda tool: None) -> tuple[Probe, ...]:
    """Probes every tool, the required ones first."""
    probes = []
    for tool, required, purpose, install, probe in _PROBES:
        progress(f"probing {tool}")
        try:
            works, found = True, probe()
        except McucError as error:
            works, found = False, error.found.splitlines()[0]
        except Exception as error:  # whatever an outside library does when it is broken is the finding
            works, found = False, f"{type(error).__name__}: {error}"
        probes.append(Probe(tool, works, required, found, purpose, install))
    return tuple(probes)


def ready(probes: tuple[Probe, ...]) -> bool:
    """Whether models can be compiled and verified: all required tools, and one compiler for firmware."""
    firmware = any(p.works for p in probes if p.tool in ("zig", "arm-none-eabi-gcc"))
    return firmware and all(p.works for p in probes if p.required)


def _firmware_compiler(which: str) -> str:
    toolchain = find(which)
    with tempfile.TemporaryDirectory(prefix="mcuc-doctor-") as scratch:
        source = Path(scratch) / "probe.c"
        source.write_text(_OBJECT, encoding="utf-8")
        compile_object(source, Path(scratch) / "probe.o", load_board("nucleo-f746zg").chip, toolchain)
    return toolchain.label


def _host_compiler() -> str:
    with tempfile.TemporaryDirectory(prefix="mcuc-doctor-") as scratch:
        source = Path(scratch) / "probe.c"
        source.write_text(_PROGRAM, encoding="utf-8")
        program = build_host_executable([source], [], Path(scratch) / "probe")
        subprocess.run([str(program)], check=True, timeout=PROBE_SECONDS)
    name = next((n for n in ("gcc", "cc", "clang") if shutil.which(n)), "zig cc")
    return shutil.which(name) or name


def _unicorn() -> str:
    import unicorn as unannotated
    from unicorn.arm_const import UC_ARM_REG_R0

    unicorn: Any = unannotated
    machine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    machine.mem_map(0x1000, 0x1000)
    machine.mem_write(0x1000, _THUMB_ADD)
    machine.reg_write(UC_ARM_REG_R0, 41)
    machine.emu_start(0x1001, 0x1002, count=1)
    if machine.reg_read(UC_ARM_REG_R0) != 42:
        raise RuntimeError("an emulated addition gave a wrong result")
    return f"unicorn {unicorn.__version__}"


def _python(code: str) -> Callable[[], str]:
    """Runs the code in a Python of its own, because a broken binary package can take the process with it."""

    def probe() -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            raise RuntimeError(lines[-1] if lines else f"ended with {done.returncode}")
        return done.stdout.strip().splitlines()[-1]

    return probe


def _qemu() -> str:
    path = shutil.which("qemu-system-arm")
    if path is None:
        raise RuntimeError("not on PATH")
    done = subprocess.run([path, "-machine", "help"], capture_output=True, text=True, timeout=PROBE_SECONDS, check=True)
    machines = [name for name in ("mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505") if name in done.stdout]
    return f"{path}, {len(machines)} of 4 MPS2 machines"


def _cache() -> str:
    place = cache.folder()
    cache.write_json("doctor", "probe", {"answer": 42})
    if cache.read_json("doctor", "probe") != {"answer": 42}:
        raise RuntimeError(f"{place} does not keep what is written to it")
    return str(place)


_VERSION = "from importlib.metadata import version; "
_PROBES: tuple[tuple[str, bool, str, str, Callable[[], str]], ...] = (
    (
        "host C compiler",
        True,
        "runs the generated C on this machine, on every sample",
        "install gcc or clang",
        _host_compiler,
    ),
    ("unicorn", True, "emulates the Cortex-M: counts, stack, audit", "pip install unicorn", _unicorn),
    ("zig", False, "compiles the firmware (default)", "pip install ziglang", lambda: _firmware_compiler("zig")),
    (
        "arm-none-eabi-gcc",
        False,
        "compiles the firmware (--toolchain gcc)",
        "Debian: apt install gcc-arm-none-eabi",
        lambda: _firmware_compiler("gcc"),
    ),
    (
        "cache folder",
        False,
        "keeps compiled helpers and measured layers",
        "make ~/.cache writable, or set XDG_CACHE_HOME",
        _cache,
    ),
    (
        "tflite-micro",
        False,
        "oracle of int8 .tflite models in mcuc verify",
        "pip install tflite-micro",
        _python(_VERSION + "from tflite_micro import runtime; print('tflite-micro', version('tflite-micro'))"),
    ),
    (
        "ai-edge-litert",
        False,
        "oracle of uint8 .tflite models in mcuc verify",
        "pip install ai-edge-litert",
        _python(
            _VERSION + "from ai_edge_litert import interpreter; print('ai-edge-litert', version('ai-edge-litert'))"
        ),
    ),
    (
        "onnxruntime",
        False,
        "oracle of .onnx models in mcuc verify",
        "pip install onnxruntime",
        _python(_VERSION + "import onnxruntime; print('onnxruntime', version('onnxruntime'))"),
    ),
    (
        "torch",
        False,
        "trains networks in mcuc build",
        "pip install torch pillow --extra-index-url https://download.pytorch.org/whl/cpu",
        _python("import torch; assert float(torch.ones(2).sum()) == 2; print('torch', torch.__version__)"),
    ),
    ("qemu-system-arm", False, "a second emulator, used by the tests", "Debian: apt install qemu-system-arm", _qemu),
)
