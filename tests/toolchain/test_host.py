"""Programs for the machine that the tests run on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mcuc.errors import McucError
from mcuc.toolchain import build_host_executable, find

PROGRAM = """
#include <stdio.h>
#include "limit.h"
int add(int a, int b);
int main(int argc, char **argv) { (void)argv; printf("%d\\n", add(argc > 1 ? LIMIT : 40, 2)); return 0; }
"""


def write(folder: Path) -> tuple[list[Path], list[Path]]:
    (folder / "include").mkdir()
    (folder / "include/limit.h").write_text("#include <limits.h>\n#define LIMIT INT_MAX\n")
    (folder / "main.c").write_text(PROGRAM)
    (folder / "add.c").write_text("int add(int a, int b); int add(int a, int b) { return a + b; }\n")
    return [folder / "main.c", folder / "add.c"], [folder / "include"]


def test_runs(tmp_path: Path) -> None:
    sources, include = write(tmp_path)
    program = build_host_executable(sources, include, tmp_path / "program")
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "42\n"


def test_sanitized_program_stops_at_an_overflow(tmp_path: Path) -> None:
    sources, include = write(tmp_path)
    program = build_host_executable(sources, include, tmp_path / "program", sanitize=True)
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "42\n"
    done = subprocess.run([program, "overflow"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "signed integer overflow" in done.stderr


def test_zig_as_the_host_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find("zig")
    monkeypatch.setattr("mcuc.toolchain.host.shutil.which", lambda _: None)
    sources, include = write(tmp_path)
    program = build_host_executable(sources, include, tmp_path / "program")
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "42\n"
    with pytest.raises(McucError) as caught:
        build_host_executable(sources, include, tmp_path / "sanitized", sanitize=True)
    assert caught.value.code == "toolchain-missing"


def test_errors_are_messages(tmp_path: Path) -> None:
    sources, include = write(tmp_path)
    with pytest.raises(McucError) as caught:
        build_host_executable(sources, [], tmp_path / "program")
    assert caught.value.code == "compile-failed" and "limit.h" in caught.value.found
    with pytest.raises(McucError) as caught:
        build_host_executable(sources, include, tmp_path / "program", cc="no-such-compiler")
    assert caught.value.code == "toolchain-missing"
    assert not (tmp_path / "program").exists()
