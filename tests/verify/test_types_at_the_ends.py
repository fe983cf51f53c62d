"""Networks with several inputs and outputs of several types: compiled, run on host and emulated core, against TFLite
Micro or LiteRT; the header's names, types and sizes; the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mcuc import api
from mcuc.exporters import tflite as exporter
from mcuc.exporters.tflite import Entry
from mcuc.ir import Array, DType, Quant, Tensor
from mcuc.ops._base import Exported
from mcuc.verify.samples import random_samples

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))
from harness import activation, constant

BOARD = "mps2-an386"


def ints(name: str, values: object) -> Tensor:
    return constant(name, np.array(values, np.int32))


def plain(name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    return Tensor(name, shape, DType(dtype))


def write(path: Path, unsigned: bool) -> Path:
    """int8 image, float image, int32 indices, int16 and bool tables, and with `unsigned` a uint8 vector; an output of
    each."""
    image, picked = activation("image", (1, 4, 5, 3), 0.05, -7), activation("picked", (1, 2, 5, 3), 0.05, -7)
    real, inner = plain("real", (1, 6), "float32"), activation("inner", (1, 6), 0.1, 3)
    back, halved = activation("back", (1, 6), 0.1, 3), plain("halved", (1, 6), "float32")
    index, doubled = plain("index", (2,), "int32"), plain("doubled", (2, 2), "int32")
    table, turned = plain("table", (3, 4), "int16"), plain("turned", (4, 3), "int16")
    flags, chosen = plain("flags", (6,), "bool"), plain("chosen", (3,), "bool")
    inputs, outputs = [image, real, index, table, flags], [picked, halved, doubled, turned, chosen]
    step = [ints("begin", [0]), ints("end", [6]), ints("step", [2])]
    entries = [
        Entry(Exported("GATHER", "GatherOptions", {"axis": 1}), [image, index], [picked]),
        Entry(Exported("QUANTIZE", "QuantizeOptions"), [real], [inner]),
        Entry(Exported("RELU"), [inner], [back]),
        Entry(Exported("DEQUANTIZE", "DequantizeOptions"), [back], [halved]),
        Entry(Exported("PACK", "PackOptions", {"axis": 0, "valuesCount": 2}), [index, index], [doubled]),
        Entry(Exported("TRANSPOSE", "TransposeOptions"), [table, ints("perm", [1, 0])], [turned]),
        Entry(Exported("STRIDED_SLICE", "StridedSliceOptions"), [flags, *step], [chosen]),
    ]
    if unsigned:
        quant = Quant((float(np.float32(0.1)),), (100,))
        old, new = (Tensor(n, (1, 8), DType.UINT8, quant) for n in ("old", "new"))
        inputs.append(old)
        outputs.append(new)
        entries.append(Entry(Exported("RELU"), [old], [new]))
    path.write_bytes(exporter.write("ends", inputs, outputs, entries))
    return path


@pytest.mark.parametrize("unsigned", [False, True])
def test_every_type_is_what_the_runtime_answers_on_host_and_core(unsigned: bool, tmp_path: Path) -> None:
    found = api.verify(write(tmp_path / "ends.tflite", unsigned), board=BOARD, samples=8)
    assert found.bit_exact, found
    assert found.emulated and ("litert" if unsigned else "tflite") in found.oracle.lower()


def test_given_samples_of_every_type(tmp_path: Path) -> None:
    rng, n = np.random.default_rng(3), 3
    arrays: dict[str, Array] = {
        "x0": rng.integers(-128, 128, (n, 1, 4, 5, 3)).astype(np.int8),
        "x1": rng.normal(size=(n, 1, 6)).astype(np.float32),
        "x2": rng.integers(0, 4, (n, 2)).astype(np.int32),
        "x3": rng.integers(-(2**15), 2**15, (n, 3, 4)).astype(np.int16),
        "x4": rng.integers(0, 2, (n, 6)).astype(bool),
    }
    np.savez(tmp_path / "given.npz", **arrays)
    found = api.verify(write(tmp_path / "ends.tflite", False), board=BOARD, data=str(tmp_path / "given.npz"))
    assert found.bit_exact and found.host == n


def test_header_and_report_say_each_type_and_size(tmp_path: Path) -> None:
    compiled = api.compile(write(tmp_path / "ends.tflite", True), board=BOARD, out=tmp_path / "out")
    header = (tmp_path / "out" / "ends.h").read_text()
    ctypes = ["int8_t", "int8_t", "int32_t", "int16_t", "uint8_t", "uint8_t"]
    sizes = {"input": [60, 6, 8, 24, 6, 8], "output": [30, 6, 16, 24, 3, 8]}
    for side, wanted in sizes.items():
        for i, (ctype, size) in enumerate(zip(ctypes, wanted, strict=True)):
            assert f"typedef {ctype} ends_{side}_{i}_t;" in header
            assert f"#define ENDS_{side.upper()}_{i}_BYTES {size}u" in header
    assert "int ends_run(void *arena, const void *const inputs[], void *const outputs[]);" in header
    assert "#define ENDS_INPUT_5_ZERO_POINT 100" in header and "ENDS_INPUT_2_SCALE" not in header
    graph, plan = compiled.graph, compiled.plan
    for name in (*graph.inputs, *graph.outputs):
        assert plan.tensors[name] % graph.tensors[name].dtype.bytes == 0, "the caller reads its buffer by elements"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {layer["op"] for layer in report["layers"]} >= {"gather", "concat", "transpose", "slice"}


def test_random_indices_lie_inside_the_data(tmp_path: Path) -> None:
    graph = api.compile(write(tmp_path / "ends.tflite", False), board=BOARD, out=tmp_path / "out").graph
    at = graph.inputs.index("index")
    drawn = np.concatenate([s[at] for s in random_samples(graph, 40)])
    assert drawn.min() == 0 and drawn.max() == 3
