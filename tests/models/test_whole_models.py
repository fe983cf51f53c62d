"""Whole models: C on the host and on emulated cores is byte for byte TFLite Micro's answer, in less memory and flash.

Needs the shared data. The host runs all samples given for a model, the emulated M4 and M7 up to twenty of them;
benchmarks/models.py runs more, and all models on both cores.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mcuc import passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM
from mcuc.importers import load
from mcuc.ir import Array, Graph
from mcuc.pipeline import Compiled, compile_file
from mcuc.plan import plan
from mcuc.request import Request
from mcuc.schedule import Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.targets import load_board
from mcuc.verify import oracle
from mcuc.verify.compare import emulated
from mcuc.verify.samples import quantized, random_samples
from zoo import ZOO, Entry, load_golden, score

pytestmark = pytest.mark.shared
# On the host alone, layer by layer (make test-slow); left to make test-slow as well; on the M4 and the host alone.
ON_THE_HOST = ("mbv2_100_224_u8", "tm_mbv1_025_128_int8")
SLOW = ("te_vww80", "te_persondet")
ON_ONE_CORE = (*SLOW, "vww96_int8", "mbv1_025_128_u8")
ENTRIES = {e.name: e for e in sorted(ZOO, key=lambda e: e.name in ON_ONE_CORE) if e.name not in ON_THE_HOST}
M4, M7 = "mps2-an386", "mps2-an500"
EMULATED = 20
# published accuracy of the data's manifest on the real samples that we have, and how far a subset may lie from it
PUBLISHED = {
    "kws_dscnn_int8": (0.902, 0.02),
    "ic_resnet8_int8": (0.865, 0.03),
    "vww96_int8": (0.852, 0.03),
    "te_vww80": (0.943, 0.02),
    "ad_autoenc_int8": (0.859, 0.03),
    "mbv1_025_128_u8": (0.466, 0.05),
    "tm_mbv1_025_128_int8": (0.403, 0.05),
}
SMALL = ("kws_dscnn_int8", "ad_autoenc_int8", "micro_speech_int8", "hello_world_int8")


@dataclass(frozen=True)
class Built:
    """A model compiled for one board, and its folder."""

    entry: Entry
    compiled: Compiled
    out: Path


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in ENTRIES]
)
def built(request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    entry = ENTRIES[request.param]
    out = tmp_path_factory.mktemp(entry.name) / "out"
    return Built(entry, compile_file(shared_data / "models" / f"{entry.name}.tflite", Request(board=M4), out), out)


def in_steps(graph: Graph, index: int, values: Array) -> Array:
    """Golden outputs as integers, one row a sample: float ones (te_*) are multiples of the output's scale."""
    quant = graph.tensors[graph.outputs[index]].quant
    assert quant is not None
    steps = (
        np.rint(values.astype(np.float64) / quant.scale[0]) + quant.zero_point[0]
        if values.dtype.kind == "f"
        else values
    )
    return np.asarray(steps).reshape(len(values), -1)


def samples(graph: Graph, x: Array) -> list[list[Array]]:
    return [[quantized(graph, graph.inputs[0], sample)] for sample in x]


def assert_same(found: Array, wanted: Array, what: str) -> None:
    differing = int((found.reshape(wanted.shape) != wanted).sum())
    assert differing == 0, f"{what}: {differing} of {wanted.size} elements differ"


def check_host(entry: Entry, graph: Graph, program: host.HostModel, shared_data: Path) -> None:
    """The C on the host over all samples given for the model (eight of the largest one's): golden outputs, the outside
    runtime, published accuracy. TFLite Micro, or LiteRT's reference kernels for the uint8 models, which TFLite Micro
    cannot run. They are slow: they see every eighth of the autoencoder's 24,304 windows and the first hundred of other
    samples (benchmarks/models.py runs what is left out).
    """
    golden = load_golden(shared_data, entry.name)
    for i, out in enumerate(host.run(program, samples(graph, golden["x"])).outputs):
        assert_same(out, in_steps(graph, i, golden[f"{entry.oracle}{i}"]), f"golden output {i}")
    if entry.source is None:
        return
    real = entry.source(shared_data)
    x = real.x[: {"mbv2_100_224_u8": 8}.get(entry.name, len(real.x))]
    found = host.run(program, samples(graph, x), timeout_s=1200).outputs[0]
    compared = slice(None, None, 8) if entry.name == "ad_autoenc_int8" else slice(100)
    model = (shared_data / "models" / f"{entry.name}.tflite").read_bytes()
    runtime = oracle.tflite_micro if entry.oracle == "t" else oracle.litert_reference
    answers = runtime(model, [[s[None]] for s in x[compared]], seconds=1200)
    wanted = in_steps(graph, 0, np.stack([a[0] for a in answers]))
    assert_same(found[compared], wanted, f"{len(answers)} real samples")
    if real.y is not None and entry.name in PUBLISHED:
        kind, value = score(entry, found, x, real.y)
        published, slack = PUBLISHED[entry.name]
        assert abs(value - published) <= slack, f"{kind} {value:.4f}, published {published}"


def test_host_c_equals_the_golden_outputs_and_the_outside_runtime_on_the_samples(
    built: Built, shared_data: Path
) -> None:
    made = built.compiled
    check_host(built.entry, made.graph, host.build(made.emitted, made.graph, built.out.parent / "host"), shared_data)


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_THE_HOST)
def test_host_c_of_the_largest_models_layer_by_layer(name: str, shared_data: Path, tmp_path: Path) -> None:
    graph = passes.check_supported(passes.optimize(load(shared_data / "models" / f"{name}.tflite", None)))
    schedule = layer_by_layer(graph, None, Tiling())
    program = host.build(emit(graph, schedule, plan(graph, schedule), "largest", name, 16, 1024), graph, tmp_path)
    check_host(next(e for e in ZOO if e.name == name), graph, program, shared_data)


def emulate(made: Compiled, out: Path, board: str, entry: Entry, shared_data: Path, most: int) -> int:
    """Golden samples, then real ones (against the host's answers), on the emulated core; how many ran."""
    core = CortexM(out / "firmware.elf", load_board(board).chip, made.emitted.symbols)
    golden = load_golden(shared_data, entry.name)
    program = host.build(made.emitted, made.graph, out.parent / f"host-{board}")
    inputs = samples(made.graph, golden["x"])
    if entry.source is not None and len(inputs) < most:
        inputs += samples(made.graph, entry.source(shared_data).x[: most - len(inputs)])
    inputs = (inputs + random_samples(made.graph, max(0, most - len(inputs))))[:most]
    wanted = host.run(program, inputs).outputs
    for k, sample in enumerate(inputs):
        outs, run = emulated(core, made.graph, made.plan, sample)
        for i, found in enumerate(outs):
            assert_same(found, wanted[i][k : k + 1].reshape(1, -1), f"{board} sample {k} output {i}")
            if k < len(golden["x"]):
                expected = in_steps(made.graph, i, golden[f"{entry.oracle}{i}"])[k : k + 1]
                assert_same(found, expected, f"{board} golden {k}, output {i}")
        assert run.stack_bytes <= made.report.sram.stack
    return len(inputs)


def most(built: Built) -> int:
    """Twenty samples; of large models five, the golden ones and a real one."""
    return 5 if built.compiled.report.macs > 5_000_000 else EMULATED


def test_emulated_m4_equals_the_golden_outputs_and_the_host(built: Built, shared_data: Path) -> None:
    assert emulate(built.compiled, built.out, M4, built.entry, shared_data, most(built)) == most(built)
    assert built.compiled.report.verify.bit_exact
    assert built.compiled.report.verify.audit == 0


@pytest.mark.parametrize("built", [name for name in ENTRIES if name not in ON_ONE_CORE], indirect=True)
def test_emulated_m7_equals_the_golden_outputs_and_the_host(built: Built, shared_data: Path, tmp_path: Path) -> None:
    model = shared_data / "models" / f"{built.entry.name}.tflite"
    made = compile_file(model, Request(board=M7), tmp_path / "out")
    assert emulate(made, tmp_path / "out", M7, built.entry, shared_data, most(built)) == most(built)
    assert made.report.verify.bit_exact
    assert made.report.verify.audit == 0


def test_arena_and_flash_are_no_larger_than_tflite_micros(built: Built, shared_data: Path) -> None:
    runs = json.loads((shared_data / "baselines.json").read_text(encoding="utf-8"))["runs"]
    rivals = [
        r for r in runs if r["model"] == built.entry.name and r["engine"] == "TFLM+CMSIS-NN" and r["build"] == "m4-O3"
    ]
    if not rivals:
        pytest.skip(f"baselines.json has no TFLite Micro run of {built.entry.name}")
    report = built.compiled.report
    assert report.sram.arena <= rivals[0]["arena_used"]
    assert report.flash.total < rivals[0]["flash"]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "board",
    [
        "mps2-an505",
        "nucleo-g0b1re",
        *(pytest.param(b, marks=pytest.mark.slow) for b in ("mps2-an385", "nucleo-u575zi-q", "nucleo-f103rb")),
    ],
)
def test_small_models_run_on_every_core_where_they_fit(
    name: str, board: str, shared_data: Path, tmp_path: Path
) -> None:
    model = shared_data / "models" / f"{name}.tflite"
    target = load_board(board)
    if name == "ad_autoenc_int8" and target.flash_bytes < 300_000:
        pytest.skip(f"{name} has 270 KB of weights, {board} {target.flash_bytes // 1024} KB of flash")
    made = compile_file(model, Request(board=board), tmp_path / "out")
    assert emulate(made, tmp_path / "out", board, ENTRIES[name], shared_data, 3) == 3
    assert made.report.verify.audit == 0
