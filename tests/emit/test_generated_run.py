"""What callers rely on: error codes, re-entrancy, no hidden state, the profiling and tracing hooks."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from harness import run_reference, samples
from programs import Made, made, output, pair, program, tiny

from mcuc.emulate import host
from mcuc.toolchain import build_host_executable
from mcuc.verify import reference
from mcuc.verify.compare import fnv1a

ERRORS = """
#include <stdio.h>
#include <string.h>
#include "net.h"

static unsigned char arena[NET_ARENA_BYTES + NET_ARENA_ALIGN] __attribute__((aligned(NET_ARENA_ALIGN)));
static net_input_t input[NET_INPUT_ELEMENTS];
static net_output_t result[NET_OUTPUT_ELEMENTS];

int main(void)
{
    memset(arena, 0x5A, sizeof arena);
    memset(result, 0x33, sizeof result);
    printf("%d %d %d %d ", net_run(NULL, input, result), net_run(arena, NULL, result), net_run(arena, input, NULL),
           net_run(NULL, NULL, NULL));
    for (unsigned off = 1; off < NET_ARENA_ALIGN; off++)
        printf("%d ", net_run(arena + off, input, result));
    for (unsigned i = 0; i < sizeof arena; i++)
        if (arena[i] != 0x5A)
            return 1; /* a refused call touches nothing */
    for (unsigned i = 0; i < NET_OUTPUT_ELEMENTS; i++)
        if (result[i] != 0x33)
            return 2;
    printf("%d %d", net_run(arena + NET_ARENA_ALIGN, input, result), net_run(arena, input, result));
    return NET_OK == 0 && NET_ERROR_NULL == -1 && NET_ERROR_ALIGN == -2 && NET_ERROR_ORDER == -3 ? 0 : 3;
}
"""
ERRORS_OF_SEVERAL = """
#include <stdio.h>
#include "net.h"

static unsigned char arena[NET_ARENA_BYTES + 1] __attribute__((aligned(NET_ARENA_ALIGN)));
static net_input_0_t a[NET_INPUT_0_ELEMENTS];
static net_input_1_t b[NET_INPUT_1_ELEMENTS];
static net_output_0_t y[NET_OUTPUT_0_ELEMENTS];
static net_output_1_t z[NET_OUTPUT_1_ELEMENTS];

int main(void)
{
    const void *const in[] = {a, b}, *const no_a[] = {NULL, b}, *const no_b[] = {a, NULL};
    void *const out[] = {y, z}, *const no_y[] = {NULL, z}, *const no_z[] = {y, NULL};
    printf("%d %d %d ", net_run(NULL, in, out), net_run(arena, NULL, out), net_run(arena, in, NULL));
    printf("%d %d %d %d ", net_run(arena, no_a, out), net_run(arena, no_b, out), net_run(arena, in, no_y),
           net_run(arena, in, no_z));
    printf("%d %d", net_run(arena + 1, in, out), net_run(arena, in, out));
    return 0;
}
"""


def test_error_codes(tmp_path: Path) -> None:
    found = [int(v) for v in output(program(tiny(), ERRORS, tmp_path)).split()]
    assert found == [-1] * 4 + [-2] * 31 + [0, 0]


def test_error_codes_with_several_inputs_and_outputs(tmp_path: Path) -> None:
    found = [int(v) for v in output(program(pair(), ERRORS_OF_SEVERAL, tmp_path)).split()]
    assert found == [-1] * 7 + [-2, 0]


NESTED = """
#include <stdio.h>
#include <string.h>
#include "net.h"

static unsigned char arenas[2][(NET_ARENA_BYTES + 31) / 32 * 32] __attribute__((aligned(NET_ARENA_ALIGN)));
static net_input_t inputs[2][NET_INPUT_ELEMENTS];
static net_output_t results[2][NET_OUTPUT_ELEMENTS], nested[NET_OUTPUT_ELEMENTS];
static int depth, switches;

void mcuc_trace(int32_t layer, const void *data, uint32_t bytes);
/* Between any two layers of one run, a whole run of the other input in the other arena. */
void mcuc_trace(int32_t layer, const void *data, uint32_t bytes)
{
    (void)layer, (void)data, (void)bytes;
    if (depth++ == 0) {
        memset(arenas[1], 0xEE, sizeof arenas[1]);
        if (net_run(arenas[1], inputs[1], nested) != NET_OK || memcmp(nested, results[1], sizeof nested) != 0)
            switches = -1000;
        switches++;
    }
    depth--;
}

int main(void)
{
    net_output_t again[NET_OUTPUT_ELEMENTS];
    for (int k = 0; k < 2; k++)
        for (unsigned i = 0; i < NET_INPUT_ELEMENTS; i++)
            inputs[k][i] = (net_input_t)((int)((i * 37u + (unsigned)k * 101u) * 7u % 256u) - 128);
    for (int k = 0; k < 2; k++) {
        depth = 1;
        net_run(arenas[k], inputs[k], results[k]);
    }
    depth = 0;
    net_run(arenas[0], inputs[0], again);
    printf("%d %d ", switches, memcmp(again, results[0], sizeof again));
    printf("%d", memcmp(results[0], results[1], sizeof again) != 0);
    return 0;
}
"""
THREADS = """
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "net.h"

enum { THREADS = 4, RUNS = 400 };
typedef struct {
    unsigned char arena[(NET_ARENA_BYTES + 31) / 32 * 32] __attribute__((aligned(NET_ARENA_ALIGN)));
    net_input_t input[NET_INPUT_ELEMENTS];
    net_output_t result[NET_OUTPUT_ELEMENTS];
    int wrong;
} task_t;
static task_t tasks[THREADS];

static void *work(void *argument)
{
    task_t *const t = (task_t *)argument;
    net_output_t again[NET_OUTPUT_ELEMENTS];
    for (int n = 0; n < RUNS; n++) {
        if (net_run(t->arena, t->input, again) != NET_OK || memcmp(again, t->result, sizeof again) != 0)
            t->wrong++;
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    int wrong = 0;
    for (unsigned k = 0; k < THREADS; k++) {
        for (unsigned i = 0; i < NET_INPUT_ELEMENTS; i++)
            tasks[k].input[i] = (net_input_t)((int)((i * 37u + k * 101u) * 7u % 256u) - 128);
        net_run(tasks[k].arena, tasks[k].input, tasks[k].result);
    }
    for (int k = 0; k < THREADS; k++)
        if (pthread_create(&threads[k], NULL, work, &tasks[k]) != 0)
            return 1;
    for (int k = 0; k < THREADS; k++) {
        pthread_join(threads[k], NULL);
        wrong += tasks[k].wrong;
    }
    printf("%d", wrong);
    return 0;
}
"""


def layers(model: Made) -> int:
    return len(model.emitted.symbols)


def test_runs_interleaved_between_any_two_layers(tmp_path: Path) -> None:
    model = tiny()
    found = output(program(model, NESTED, tmp_path, "-DMCUC_TRACE"))
    assert found.split() == [str(layers(model)), "0", "1"]


def test_runs_in_four_threads(tmp_path: Path) -> None:
    assert output(program(tiny(), THREADS, tmp_path, "-pthread", sanitize=False)) == "0"


def symbols(objects: Path, nm: str) -> list[tuple[str, str]]:
    """(kind, name) of every symbol."""
    done = subprocess.run([nm, objects], capture_output=True, text=True, check=True)
    return [(line.split()[-2], line.split()[-1]) for line in done.stdout.splitlines()]


COMPILERS = {
    "gcc -O0": ("gcc", "nm", ("-O0",)),
    "gcc -O2": ("gcc", "nm", ("-O2",)),
    "gcc -O3": ("gcc", "nm", ("-O3",)),
    "gcc -Os": ("gcc", "nm", ("-Os",)),
    "cortex-m4 -O3": ("arm-none-eabi-gcc", "arm-none-eabi-nm", ("-O3", "-mthumb", "-mcpu=cortex-m4")),
    "cortex-m0plus -Os": ("arm-none-eabi-gcc", "arm-none-eabi-nm", ("-Os", "-mthumb", "-mcpu=cortex-m0plus")),
}


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("build", [tiny, pair])
def test_no_state_and_no_symbols_of_others(build, compiler: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """No variable, no call of a library, nothing exported but net_*; only the compiler's own arithmetic helpers."""
    cc, nm, flags = COMPILERS[compiler]
    if shutil.which(cc) is None or shutil.which(nm) is None:
        pytest.skip(f"{cc} is not installed")
    sources = host.write_sources(build().emitted, tmp_path)
    exported, wanted = set(), set()
    for source in sources:
        target = source.with_suffix(".o")
        plain = ("-std=c99", "-fno-pie", "-fno-stack-protector", "-U_FORTIFY_SOURCE")
        subprocess.run([cc, *plain, *flags, "-c", source, "-o", target], check=True, cwd=tmp_path)
        for kind, name in symbols(target, nm):
            assert kind not in "DdBbCcSsGg", f"{name} is a variable"
            if kind == "U":
                wanted.add(name)
            elif kind.isupper():
                exported.add(name)
                assert name.startswith("net_"), f"{name} is exported"
    assert "net_run" in exported
    foreign = {n for n in wanted - exported if not n.startswith(("__aeabi_", "__gnu_thumb1_"))}
    assert not foreign, f"calls of {foreign}"
    assert not {n for n in wanted if n.startswith(("__aeabi_mem", "__aeabi_f", "__aeabi_d"))}, "memory or float helpers"


PROFILE = """
#include <stdio.h>
#include "net.h"

static unsigned char arena[NET_ARENA_BYTES] __attribute__((aligned(NET_ARENA_ALIGN)));
static uint32_t clock_;

uint32_t mcuc_cycles(void);
uint32_t mcuc_cycles(void) /* the model's own is weak */
{
    return clock_ += 1000;
}

void mcuc_layer_done(int32_t layer, uint32_t cycles);
void mcuc_layer_done(int32_t layer, uint32_t cycles)
{
    printf("%d:%u ", (int)layer, (unsigned)cycles);
    clock_ = 0xFFFFFF00u; /* the next difference wraps around */
}

int main(void)
{
    return net_run(arena, NET_INPUT_IN(arena), NET_OUTPUT_IN(arena));
}
"""


def test_profile_calls_the_hook_once_a_layer_in_order(tmp_path: Path) -> None:
    model = tiny()
    found = output(program(model, PROFILE, tmp_path, "-DMCUC_PROFILE")).split()
    assert found == [f"{i}:1000" for i in range(layers(model))]
    assert layers(model) == 6


def test_the_cycle_counter_of_a_profiling_build_is_weak_and_of_no_other(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source = host.write_sources(tiny().emitted, tmp_path)[0]
    for flags, kinds in ((("-DMCUC_PROFILE",), ["W"]), ((), [])):
        subprocess.run(["gcc", "-std=c99", *flags, "-c", source, "-o", tmp_path / "x.o"], check=True, cwd=tmp_path)
        assert [kind for kind, name in symbols(tmp_path / "x.o", "nm") if name == "mcuc_cycles"] == kinds


@pytest.mark.parametrize(("core", "binding"), [("cortex_m0plus", "STB_GLOBAL"), ("cortex_m3", "STB_WEAK")])
def test_a_core_without_cycle_counter_leaves_it_to_the_caller(core: str, binding: str, tmp_path: Path) -> None:
    source = host.write_sources(tiny().emitted, tmp_path)[0]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", f"-mcpu={core}"]
    command += ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-O2", "-DMCUC_PROFILE"]
    subprocess.run([*command, "-c", source, "-o", tmp_path / "x.o"], check=True, cwd=tmp_path)
    with (tmp_path / "x.o").open("rb") as file:
        (found,) = ELFFile(file).get_section_by_name(".symtab").get_symbol_by_name("mcuc_cycles")
    assert found["st_info"]["bind"] == binding
    assert (found["st_shndx"] == "SHN_UNDEF") == (core == "cortex_m0plus")


@pytest.mark.parametrize("build", [tiny, pair])
def test_trace_hashes_are_those_of_the_reference_s_tensors(build, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = build()
    traced = host.build(model.emitted, model.graph, tmp_path, trace=True)
    inputs = samples(model.graph, 5)
    coded = [layer for layer in model.schedule.layers if layer.calls]
    for inside in (False, True):
        found = host.run(traced, inputs, inside=inside)
        for n, sample in enumerate(inputs):
            values = reference.run(model.graph, dict(zip(model.graph.inputs, sample, strict=True)))
            assert found.hashes[n].tolist() == [fnv1a(values[la.node.outputs[0]].tobytes()) for la in coded]
        for i, outs in enumerate(found.outputs):
            wanted = np.stack([sample[i] for sample in run_reference(model.graph, inputs)])
            assert np.array_equal(outs, wanted)


def test_fnv1a_is_the_published_one() -> None:
    """draft-eastlake-fnv, test vectors of the 32-bit FNV-1a."""
    assert [fnv1a(s) for s in (b"", b"a", b"foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]


def test_a_build_without_hooks_names_none(tmp_path: Path) -> None:
    """The hooks are off by default: a user links nothing."""
    main = '#include "net.h"\nint main(void) { return net_run(0, 0, 0) == NET_ERROR_NULL ? 0 : 1; }\n'
    assert output(program(tiny(), main, tmp_path)) == ""


def test_the_host_program_fails_where_a_run_changes_its_input(tmp_path: Path) -> None:
    """The check in the host program sees what it is there for: a cast that writes through the input."""
    model = made(tiny().graph)
    host.write_sources(model.emitted, tmp_path)
    source = model.emitted.files["net.c"]
    broken = re.sub(r"(    uint8_t \*const base = [^\n]*\n)", r"\1    ((int8_t *)(uintptr_t)in0)[5] ^= 1;\n", source)
    assert broken != source
    (tmp_path / "net.c").write_text(broken)
    (tmp_path / "main.c").write_text(model.emitted.host_main)
    files = [tmp_path / n for n in ("net.c", "net_weights.c", "main.c")]
    exe = build_host_executable(files, [tmp_path], tmp_path / "program")
    data = np.zeros(64, np.int8).tobytes()
    assert subprocess.run([exe], input=data, capture_output=True, check=False).returncode == 4
    assert subprocess.run([exe, "inside"], input=data, capture_output=True, check=False).returncode == 0
