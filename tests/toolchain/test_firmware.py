"""Building an image: same bytes anywhere, sizes by share, every failure a message and no file."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import pytest

from mcuc.errors import McucError
from mcuc.targets import load_board, load_chip
from mcuc.toolchain import Toolchain, _find, build_firmware, compile_object, find, sizes_of, zig
from mcuc.toolchain._process import disk_errors

BOARD = load_board("nucleo-l4r5zi")
MODEL = """
#include <stdint.h>
__attribute__((section(".mcuc_weights.w"))) const int8_t m_weights[1000] = {1, 2, 3};
static const int16_t table[50] = {5, 6, 7};
int32_t m_run(const int8_t *x, int32_t n);
int32_t m_run(const int8_t *x, int32_t n)
{
    int32_t s = 0;
    for (int32_t i = 0; i < n; i++) { s += x[i] * m_weights[i] + table[i]; }
    return s;
}
"""
HARNESS = """
#include <stdint.h>
__attribute__((section(".mcuc_arena"))) int8_t arena[512];
extern int32_t m_run(const int8_t *x, int32_t n);
static volatile int32_t results[FILL];
static const char text[] = "a string of the harness, long enough to see where it is counted";
int main(void)
{
    for (int32_t i = 0; i < 50; i++) { arena[i] = (int8_t)text[i]; }
    results[0] = m_run(arena, 50);
    return 0;
}
"""


def write(folder: Path) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.c").write_text(MODEL)
    (folder / "main.c").write_text(HARNESS)
    return folder / "model.c", folder / "main.c"


def build(folder: Path, tools: Toolchain, fill: int = 10, **options: object) -> Path:
    model, harness = write(folder)
    defines = {"FILL": str(fill)}
    out = folder / "firmware.elf"
    return build_firmware(
        [model],
        [],
        BOARD,
        out,
        tools.id,
        "balanced",
        defines,
        harness_sources=[harness],
        **options,  # type: ignore[arg-type]
    ).elf


def test_same_bytes_from_another_folder(tools: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(tmp_path / "one", tools).read_bytes()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    second = build(tmp_path / "a much longer name with spaces" / "two", tools).read_bytes()
    assert first == second
    assert str(tmp_path).encode() not in first


def test_sizes_are_shares_of_the_model(tools: Toolchain, tmp_path: Path) -> None:
    small, large = sizes_of(build(tmp_path / "a", tools)), sizes_of(build(tmp_path / "b", tools, fill=1000))
    assert (small.weights, small.arena, small.data, small.bss) == (1000, 512, 0, 0)
    assert 100 < small.code < 400, "the function and its table of 100 bytes"
    assert small.flash == small.weights + small.code
    assert small.harness > 64 + 64, "vectors, startup, main() and its string"
    assert large == small, "variables of the harness are not the model's"


def test_firmware_names_its_toolchain(tools: Toolchain, tmp_path: Path) -> None:
    model, harness = write(tmp_path)
    firmware = build_firmware([model, harness], [], BOARD, tmp_path / "f.elf", tools.id, defines={"FILL": "1"})
    assert re.fullmatch(rf"{tools.id} \d+\.\d+\.\d+.*", firmware.toolchain)
    assert firmware.sizes == sizes_of(firmware.elf)


def test_two_sources_of_the_same_name(tools: Toolchain, tmp_path: Path) -> None:
    model, harness = write(tmp_path)
    (tmp_path / "sub").mkdir()
    model.rename(tmp_path / "sub" / "main.c")
    out = tmp_path / "f.elf"
    build_firmware([tmp_path / "sub/main.c", harness], [], BOARD, out, tools.id, defines={"FILL": "1"})
    assert sizes_of(out).weights == 1000


def failing(code: str, folder: Path, tools: Toolchain, source: str, **options: object) -> McucError:
    """Building that source fails with that code and leaves nothing behind."""
    (folder / "bad.c").write_text(source)
    board = options.pop("board", BOARD)
    with pytest.raises(McucError) as caught:
        build_firmware([folder / "bad.c"], [], board, folder / "f.elf", tools.id, **options)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert sorted(p.name for p in folder.iterdir()) == ["bad.c"]
    return caught.value


def test_a_compile_error_is_told_with_its_line(tools: Toolchain, tmp_path: Path) -> None:
    error = failing("compile-failed", tmp_path, tools, "int main(void) { return undeclared_name; }\n")
    assert "undeclared_name" in error.found and "bad.c:1" in error.found and error.where == "bad.c"


def test_an_undefined_function_is_told(tools: Toolchain, tmp_path: Path) -> None:
    error = failing("compile-failed", tmp_path, tools, "int gone(void); int main(void) { return gone(); }\n")
    assert "gone" in error.found and error.where == "linking the firmware"


def test_too_large_for_ram_flash_and_stack(tools: Toolchain, tmp_path: Path) -> None:
    small = load_board("nucleo-f103rb")
    arena = '__attribute__((section(".mcuc_arena"))) char a[%d]; int main(void) { a[0] = 1; return a[1]; }\n'
    failing("over-sram", tmp_path, tools, arena % 21000, board=small)
    failing("over-sram", tmp_path, tools, arena % 19000, board=small)
    failing("over-sram", tmp_path, tools, arena % 16000, board=small, stack_bytes=5000)
    weights = '__attribute__((section(".mcuc_weights"))) const char w[140000] = {1}; '
    failing("over-flash", tmp_path, tools, weights + "int main(int n) { return w[n]; }\n", board=small)
    (tmp_path / "bad.c").write_text(arena % 16000)
    build_firmware([tmp_path / "bad.c"], [], small, tmp_path / "f.elf", tools.id)


def fake_compiler(folder: Path, script: str) -> Toolchain:
    path = folder / "fake-gcc"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Toolchain("gcc", "0", (str(path),))


@pytest.mark.parametrize("script", ["kill -INT $$", "exit 130"])
def test_an_interrupted_compiler_is_an_interrupt(script: str, tmp_path: Path) -> None:
    """Whoever hears of it first, the process or its compiler."""
    (tmp_path / "x.c").write_text("int x;\n")
    with pytest.raises(KeyboardInterrupt):
        compile_object(tmp_path / "x.c", tmp_path / "x.o", load_chip("stm32l4r5"), fake_compiler(tmp_path, script))
    assert not (tmp_path / "x.o").exists()


@pytest.mark.parametrize(
    ("script", "code", "word"),
    [
        ("kill -KILL $$", "toolchain-killed", "SIGKILL"),
        ("kill -SEGV $$", "toolchain-killed", "SIGSEGV"),
        ("echo 'error: unable to write: NoSpaceLeft' >&2; exit 1", "disk-full", "disk is full"),
        ("echo 'fatal error: error writing: No space left on device' >&2; exit 1", "disk-full", "disk is full"),
        ("exit 3", "compile-failed", "exit code 3"),
        ("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do echo line$i. >&2; done; exit 1", "compile-failed", "line12."),
    ],
)
def test_every_end_of_a_compiler_is_one_message(script: str, code: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int x;\n")
    tools = fake_compiler(tmp_path, script)
    with pytest.raises(McucError) as caught:
        compile_object(tmp_path / "x.c", tmp_path / "x.o", load_chip("stm32l4r5"), tools)
    assert caught.value.code == code and word in caught.value.found
    assert "line13." not in caught.value.found


def test_a_compiler_that_went_away(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int x;\n")
    tools = Toolchain("gcc", "0", (str(tmp_path / "gone"),))
    with pytest.raises(McucError) as caught:
        compile_object(tmp_path / "x.c", tmp_path / "x.o", load_chip("stm32l4r5"), tools)
    assert caught.value.code == "toolchain-missing"


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk-full"), (errno.EACCES, "cannot-write")])
def test_our_own_failed_writes_are_told(number: int, code: str) -> None:
    with pytest.raises(McucError) as caught, disk_errors("out/firmware.elf"):
        raise OSError(number, os.strerror(number), "out/firmware.elf")
    assert caught.value.code == code and caught.value.where == "out/firmware.elf"


def test_an_output_folder_that_is_not_there(tools: Toolchain, tmp_path: Path) -> None:
    (tmp_path / "m.c").write_text("int main(void) { return 0; }\n")
    with pytest.raises(McucError) as caught:
        build_firmware([tmp_path / "m.c"], [], BOARD, tmp_path / "no" / "f.elf", tools.id)
    assert caught.value.code == "cannot-write"


def test_missing_and_unknown_toolchains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(zig, "_wheel", lambda: None)
    _find._find.cache_clear()
    try:
        for which, hint in (("zig", "pip install ziglang"), ("gcc", "gcc-arm-none-eabi"), ("auto", "ziglang")):
            with pytest.raises(McucError) as caught:
                find(which)
            assert caught.value.code == "toolchain-missing" and hint in caught.value.try_this
    finally:
        _find._find.cache_clear()
    with pytest.raises(McucError) as caught:
        find("iar")
    assert caught.value.code == "unknown-toolchain"


def test_auto_is_zig() -> None:
    assert find("auto") == find("zig")


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"not an ELF at all"])
def test_sizes_of_something_else(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(McucError) as caught:
        sizes_of(tmp_path / "x")
    assert caught.value.code == "not-an-elf"
