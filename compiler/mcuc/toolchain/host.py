"""Executables for the machine that mcuc runs on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mcuc.errors import McucError

from . import zig
from ._process import disk_errors, in_parallel, run_compiler
from .firmware import _install

_FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-fno-strict-aliasing")
_SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


def build_host_executable(
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    out: Path,
    sanitize: bool = False,
    cc: str = "auto",
    extra_flags: Sequence[str] = (),
) -> Path:
    """Compile and link C files to the executable out, and return it.

    cc: a compiler's name or path; "auto" takes gcc, cc or clang, else zig cc. sanitize: with address and undefined
    behaviour sanitizers, every finding fatal. McucError where no compiler is there or the code does not compile.
    """
    compiler = _host_compiler(cc, sanitize)
    flags = [*compiler, *_FLAGS, *(_SANITIZE if sanitize else ()), *extra_flags]
    includes = [f"-I{folder.resolve()}" for folder in include_dirs]
    with disk_errors(str(out)), tempfile.TemporaryDirectory(prefix="mcuc-host-") as temporary:
        work = Path(temporary)
        objects = [work / f"{i:02d}.o" for i in range(len(sources))]

        def compile_one(pair: tuple[Path, Path]) -> None:
            source, target = pair
            command = [*flags, *includes, "-c", str(source.resolve()), "-o", str(target)]
            run_compiler(command, source.name, work)

        in_parallel(compile_one, list(zip(sources, objects, strict=True)))
        image = work / "program"
        run_compiler([*flags, *map(str, objects), "-lm", "-o", str(image)], "linking the host program", work)
        _install(image, out)
        out.chmod(0o755)
    return out


def _host_compiler(cc: str, sanitize: bool) -> tuple[str, ...]:
    if cc != "auto":
        path = shutil.which(cc)
        if path is None:
            raise McucError(
                "toolchain-missing",
                f"No host compiler {cc!r} was found.",
                where="--cc",
                try_this="--cc auto",
            )
        return (path,)
    for name in ("gcc", "cc", "clang"):
        path = shutil.which(name)
        if path is not None:
            return (path,)
    tools = None if sanitize else zig.locate()  # zig ships no run-time of the address sanitizer
    if tools is None:
        raise McucError(
            "toolchain-missing",
            "No host C compiler was found.",
            where="the host's PATH",
            try_this="install gcc or clang",
        )
    return tools.command
