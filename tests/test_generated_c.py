"""The generated C as a user's build meets it: strict warnings, other standards, C++, -Os -flto, newlib-nano."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import mcuc
import small_models
from mcuc.exporters import tflite as exporter
from mcuc.toolchain import find
from mcuc.verify import reference

STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
MAIN = """
#include <stdio.h>
#include "one.h"
#include "two.h"

constexpr unsigned larger = ONE_ARENA_BYTES > TWO_ARENA_BYTES ? ONE_ARENA_BYTES : TWO_ARENA_BYTES;
alignas(ONE_ARENA_ALIGN) static unsigned char arena[larger];

int main()
{
    static one_input_t image[ONE_INPUT_ELEMENTS];
    static one_output_t first[ONE_OUTPUT_ELEMENTS];
    static two_output_t second[TWO_OUTPUT_ELEMENTS];
    static_assert(ONE_INPUT_BYTES == TWO_INPUT_BYTES, "both take the same image");
    for (unsigned i = 0; i < ONE_INPUT_ELEMENTS; i++)
        image[i] = static_cast<one_input_t>(static_cast<int>(i * 37u % 256u) - 128);
    if (one_run(arena, image, first) != ONE_OK || two_run(arena, image, second) != TWO_OK)
        return 1;
    for (one_output_t v : first)
        printf("%d ", v);
    for (two_output_t v : second)
        printf("%d ", v);
    return one_run(nullptr, image, first) == ONE_ERROR_NULL ? 0 : 2;
}
"""
BARE_MAIN = """
#include "one.h"

static unsigned char arena[ONE_ARENA_BYTES] __attribute__((aligned(ONE_ARENA_ALIGN)));

int main(void)
{
    return one_run(arena, ONE_INPUT_IN(arena), ONE_OUTPUT_IN(arena));
}
"""


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True, check=False)


def built(*words: object, cwd: Path) -> None:
    done = run(*words, cwd=cwd)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the C of two networks of the same shape."""
    folder = tmp_path_factory.mktemp("code")
    for seed, name in ((0, "one"), (5, "two")):
        model = folder / f"{name}.tflite"
        model.write_bytes(exporter.export(small_models.tiny_graph(seed=seed)))
        out = mcuc.compile(model, board="nucleo-l4r5zi", name=name, out=folder / f"{name}_mcuc").out
        for path in out.iterdir():
            if path.suffix in (".c", ".h"):
                shutil.copyfile(path, folder / path.name)
    return folder


def compiler(name: str) -> tuple[str, ...]:
    """A host compiler for C or C++; the test is skipped where it is missing."""
    if name.startswith("zig"):
        zig = find("zig").command[0]
        return (zig, name.split()[1])
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return (path,)


@pytest.mark.parametrize("standard", ["c99", "gnu99", "c11", "gnu17"])
@pytest.mark.parametrize("optimize", ["-O0", "-O2", "-Os"])
@pytest.mark.parametrize("cc", ["gcc", "zig cc"])
def test_compiles_without_a_warning(code: Path, cc: str, optimize: str, standard: str, tmp_path: Path) -> None:
    for source in ("one.c", "one_weights.c"):
        built(
            *compiler(cc),
            f"-std={standard}",
            optimize,
            *STRICT,
            "-pedantic",
            f"-I{code}",
            "-c",
            code / source,
            "-o",
            tmp_path / "x.o",
            cwd=tmp_path,
        )


@pytest.mark.parametrize("cxx", ["g++", "zig c++"])
def test_two_models_link_into_a_cxx_program_and_answer_right(code: Path, cxx: str, tmp_path: Path) -> None:
    """C and C++ together, -Os -flto where the compiler can; the numbers are the reference's."""
    cc = compiler({"g++": "gcc", "zig c++": "zig cc"}[cxx])
    main = tmp_path / "main.cpp"
    main.write_text(MAIN)
    flags = ("-Os", "-flto") if cxx == "g++" else ("-Os",)
    objects = []
    for source in ("one.c", "one_weights.c", "two.c", "two_weights.c"):
        objects.append(tmp_path / f"{source}.o")
        built(*cc, "-std=c99", *flags, *STRICT, f"-I{code}", "-c", code / source, "-o", objects[-1], cwd=tmp_path)
    objects.append(tmp_path / "main.o")
    built(*compiler(cxx), "-std=c++17", *flags, *STRICT, f"-I{code}", "-c", main, "-o", objects[-1], cwd=tmp_path)
    # The program uses nothing of the C++ library, which zig would take minutes to build.
    linker = compiler(cxx) if cxx == "g++" else cc
    built(*linker, *flags, *objects, "-o", tmp_path / "program", cwd=tmp_path)
    done = run(tmp_path / "program", cwd=tmp_path)
    assert done.returncode == 0
    image = (np.arange(64) * 37 % 256 - 128).astype(np.int8).reshape(1, 8, 8, 1)
    wanted = [
        reference.run(small_models.tiny_graph(seed=seed), {"image": image})["probabilities"].ravel().tolist()
        for seed in (0, 5)
    ]
    assert [int(v) for v in done.stdout.split()] == wanted[0] + wanted[1]


@pytest.mark.parametrize("cxx", ["g++", "zig c++"])
@pytest.mark.parametrize("standard", ["c++11", "c++17", "c++20"])
def test_the_header_is_usable_from_cxx(code: Path, cxx: str, standard: str, tmp_path: Path) -> None:
    (tmp_path / "user.cpp").write_text('#include "one.h"\n#include "one.h"\nint answer() { return ONE_OK; }\n')
    built(*compiler(cxx), f"-std={standard}", *STRICT, "-pedantic", f"-I{code}", "-c", "user.cpp", cwd=tmp_path)


@pytest.mark.parametrize("part", ["one.c", "one_weights.c"])
def test_a_file_of_another_version_does_not_compile(code: Path, part: str, tmp_path: Path) -> None:
    """The header of another model under the same name."""
    other = mcuc.compile(code / "two.tflite", board="nucleo-l4r5zi", name="one", out=tmp_path / "other").out
    for path in other.iterdir():
        if path.suffix in (".c", ".h"):
            shutil.copyfile(path, tmp_path / path.name)
    built(*compiler("gcc"), "-std=c99", "-c", part, cwd=tmp_path)
    shutil.copyfile(code / part, tmp_path / part)
    done = run(*compiler("gcc"), "-std=c99", "-c", part, cwd=tmp_path)
    assert done.returncode != 0 and "#error" in done.stderr


def test_a_runtime_header_of_another_version_does_not_compile(code: Path, tmp_path: Path) -> None:
    for path in code.glob("*.[ch]"):
        shutil.copyfile(path, tmp_path / path.name)
    port = (tmp_path / "mcuc_port.h").read_text()
    assert "#define MCUC_RUNTIME_VERSION 1\n" in port
    (tmp_path / "mcuc_port.h").write_text(
        port.replace("#define MCUC_RUNTIME_VERSION 1\n", "#define MCUC_RUNTIME_VERSION 2\n")
    )
    done = run(*compiler("gcc"), "-std=c99", "-c", "one.c", cwd=tmp_path)
    assert done.returncode != 0 and "#error" in done.stderr


def test_fast_math_does_not_compile(code: Path, tmp_path: Path) -> None:
    done = run(*compiler("gcc"), "-std=c99", "-ffast-math", f"-I{code}", "-c", code / "one.c", cwd=tmp_path)
    assert done.returncode != 0 and "fast-math" in done.stderr


@pytest.mark.parametrize("flags", [("-O2",), ("-Os", "-flto")], ids=["O2", "Os_lto"])
@pytest.mark.parametrize(
    "cpu",
    [("-mcpu=cortex-m0plus",), ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")],
    ids=["m0plus", "m4"],
)
def test_links_with_newlib_nano(code: Path, cpu: tuple[str, ...], flags: tuple[str, ...], tmp_path: Path) -> None:
    cc = compiler("arm-none-eabi-gcc")
    nano = run(*cc, "-mthumb", *cpu, "-print-file-name=nano.specs", cwd=tmp_path).stdout.strip()
    if nano == "nano.specs":
        pytest.skip("newlib-nano is not installed")
    (tmp_path / "main.c").write_text(BARE_MAIN)
    built(
        *cc,
        "-std=c99",
        "-mthumb",
        *cpu,
        *flags,
        *STRICT,
        f"-I{code}",
        "--specs=nano.specs",
        "--specs=nosys.specs",
        "main.c",
        code / "one.c",
        code / "one_weights.c",
        "-o",
        "image.elf",
        cwd=tmp_path,
    )
    symbols = run("arm-none-eabi-nm", "image.elf", cwd=tmp_path).stdout
    assert " malloc" not in symbols and " _malloc_r" not in symbols
