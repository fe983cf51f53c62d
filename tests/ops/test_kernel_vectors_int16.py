"""Published test vectors of kernels with int16 activations; those with int8 are in test_kernel_vectors.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_kernel_vectors as int8
from harness import assert_equal, run_reference
from test_kernel_vectors import Run, Vector, check_c, clamp_of, vectors, window_of

from mcuc.ir import Array, DType, Graph, Node, Quant, Requant, Tensor, check
from mcuc.ops._conv import ConvAttrs
from mcuc.ops._matmul import MatmulAttrs
from mcuc.ops._pool import PoolAttrs
from mcuc.ops._spatial import Window
from mcuc.ops.binary_16.attrs import Binary16Attrs

__all__ = ["vectors"]  # the fixture


def graph_of(op: str, attrs: Any, shapes: list[tuple[int, ...]], out: tuple[int, ...],
             constants: list[Array | None] | None = None) -> Graph:
    """One node: run-time inputs of these shapes, then constants."""
    tensors = [Tensor(f"x{i}", shape, DType.INT16, Quant((1.0,), (0,))) for i, shape in enumerate(shapes)]
    given = [None if c is None else Tensor(f"c{i}", c.shape, DType(c.dtype.name), None, c)
             for i, c in enumerate(constants or [])]
    y = Tensor("y", out, DType.INT16, Quant((1.0,), (0,)))
    names = (*(t.name for t in tensors), *("" if t is None else t.name for t in given))
    table = {t.name: t for t in (*tensors, *given, y) if t is not None}
    node = Node("case", op, names, ("y",), attrs)
    return check(Graph("case", "tflite", table, (node,), tuple(t.name for t in tensors), ("y",)))


def inferences(arrays: list[Array], shapes: list[tuple[int, ...]]) -> list[list[Array]]:
    """The arrays cut into as many pieces of these shapes as they hold, one list an inference."""
    counts = {a.size // int(np.prod(s)) for a, s in zip(arrays, shapes, strict=True)}
    assert len(counts) == 1 and all(a.size % int(np.prod(s)) == 0 for a, s in zip(arrays, shapes, strict=True))
    return [[a.reshape(-1, *s)[i].astype(np.int16) for a, s in zip(arrays, shapes, strict=True)]
            for i in range(counts.pop())]


def requant_of(v: Vector, wide: bool = True) -> Requant:
    if "output_multiplier" in v.constants:
        multiplier, shift = [v["output_multiplier"]], [v["output_shift"]]
    else:
        multiplier = v.needed("output_mult", "output_multiplier").tolist()
        shift = v.needed("output_shift").tolist()
    return Requant("tflite_wide" if wide else "tflite_double", tuple(multiplier), tuple(shift))


def conv(v: Vector) -> Run:
    """Cases named xint32 have 32-bit biases, which for all but one are null."""
    kh, kw, cin, oc = v["filter_y"], v["filter_x"], v["in_ch"], v["out_ch"]
    short = "xint32" in v.name
    attrs = ConvAttrs(requant_of(v, not short), 0, clamp_of(v), window=window_of(v))
    x, y = (1, v["input_h"], v["input_w"], cin), (1, v["output_h"], v["output_w"], oc)
    weights = v.needed("weights").reshape(oc, kh, kw, cin)
    bias = v.array("biases", "bias")
    graph = graph_of("conv_2d_16x8", attrs, [x], y, [weights, bias])
    return Run(graph, inferences([v.needed("input")], [x]), inferences([v.needed("output_ref", "output")], [y]))


def depthwise(v: Vector) -> Run:
    kh, kw, cin, oc = v["filter_y"], v["filter_x"], v["in_ch"], v["out_ch"]
    attrs = ConvAttrs(requant_of(v), 0, clamp_of(v), window=window_of(v))
    x, y = (1, v["input_h"], v["input_w"], cin), (1, v["output_h"], v["output_w"], oc)
    weights = v.needed("weights").reshape(1, kh, kw, oc)
    graph = graph_of("depthwise_conv_2d_16x8", attrs, [x], y, [weights, v.array("biases", "bias")])
    return Run(graph, inferences([v.needed("input")], [x]), inferences([v.needed("output_ref", "output")], [y]))


def dense(v: Vector) -> Run:
    depth, rows, oc = v["accumulation_depth"], v["input_batches"], v["out_ch"]
    constants = [v.needed("weights").reshape(oc, depth), v.array("biases", "bias")]
    attrs = ConvAttrs(requant_of(v), 0, clamp_of(v))
    graph = graph_of("fully_connected_16x8", attrs, [(rows, depth)], (rows, oc), constants)
    given = inferences([v.needed("input")], [(rows, depth)])
    return Run(graph, given, inferences([v.needed("output_ref", "output")], [(rows, oc)]))


def product(v: Vector) -> Run:
    attrs = MatmulAttrs(requant_of(v), 0, (v["activation_min"], v["activation_max"]),
                        adj_x=bool(v["adj_x"]), adj_y=bool(v["adj_y"]))
    sides = [tuple(v[f"{side}_{axis}"] for axis in ("batch", "height", "rows", "cols")) for side in ("lhs", "rhs")]
    y = tuple(v[f"output_{axis}"] for axis in ("batch", "height", "rows", "cols"))
    graph = graph_of("batch_matmul_16", attrs, sides, y)
    given = [v.needed("lhs_input_tensor"), v.needed("rhs_input_tensor")]
    return Run(graph, inferences(given, sides), inferences([v.needed("output")], [y]))


def pool(v: Vector) -> Run:
    kernel, stride = (v["filter_h"], v["filter_w"]), (v["stride_h"], v["stride_w"])
    before = (v["padding_h"], v["padding_w"])
    after = [max(0, (out - 1) * s + k - n - p) for n, out, k, s, p in zip(
        (v["input_h"], v["input_w"]), (v["output_h"], v["output_w"]), kernel, stride, before, strict=True)]
    attrs = PoolAttrs(Window(kernel, stride, (1, 1), (*before, after[0], after[1])),
                      (v["activation_min"], v["activation_max"]))
    x, y = (1, v["input_h"], v["input_w"], v["input_c"]), (1, v["output_h"], v["output_w"], v["output_c"])
    graph = graph_of("average_pool_2d_16" if v.name.startswith("avg") else "max_pool_2d_16", attrs, [x], y)
    return Run(graph, inferences([v.needed("input_tensor")], [x]), inferences([v.needed("output")], [y]))


def elementwise(v: Vector) -> Run:
    def requant(which: str) -> Requant:
        return Requant("tflite_double", (v[f"{which}_mult"],), (v[f"{which}_shift"],))

    if v.name.startswith("add"):
        assert v["left_shift"] == 15
        attrs = Binary16Attrs("add", (requant("input1"), requant("input2")), requant("output"), clamp_of(v))
    else:
        attrs = Binary16Attrs("mul", (), requant("output"), clamp_of(v))
    shape = (1, v["dst_size"])
    given = [v.needed("input1"), v.needed("input2")]
    graph = graph_of("binary_16", attrs, [shape, shape], shape)
    return Run(graph, inferences(given, [shape, shape]), inferences([v.needed("output_ref", "output")], [shape]))


CASES: dict[str, Callable[[Vector], Run]] = {
    **dict.fromkeys([
        "int16xint8", "int16xint8_dilation_2", "int16xint8_dilation_3", "int16xint8_spill", "int16xint8_spill2",
        "int16xint8xint32_1", "int16xint8xint32_2", "int16xint8xint32_4", "int16xint8xint32_5", "int16xint8xint32_6",
    ], conv),
    **dict.fromkeys([
        "dw_int16xint8", "dw_int16xint8_dilation", "dw_int16xint8_fast_multiple_batches_uneven_buffers",
        "dw_int16xint8_fast_spill", "dw_int16xint8_fast_spill_null_bias", "dw_int16xint8_fast_stride_null_bias",
        "dw_int16xint8_fast_test_bias", "dw_int16xint8_mult4",
    ], depthwise),
    **dict.fromkeys(["fc_int16_slow", "fully_connected_int16_big"], dense),
    **dict.fromkeys([f"batch_matmul_{n}_s16" for n in (2, 3, 4, 5)], product),
    **dict.fromkeys(["avgpooling_int16", "avgpooling_int16_2", "maxpool_int16", "maxpool_int16_1"], pool),
    **dict.fromkeys(["add_s16", "add_s16_spill", "mul_s16", "mul_s16_spill"], elementwise),
}


def test_every_published_case_runs(vectors: dict[str, Vector]) -> None:
    assert sorted([*int8.CASES, *CASES, *int8.ELSEWHERE]) == sorted(vectors) and len(vectors) == 133


@pytest.mark.parametrize("name", CASES)
def test_the_reference_gives_the_published_output(name: str, vectors: dict[str, Vector]) -> None:
    run = CASES[name](vectors[name])
    assert_equal(run.outputs, run_reference(run.graph, run.inputs), "reference against the published output")


def test_the_generated_c_gives_the_published_output(vectors: dict[str, Vector], tmp_path: Path) -> None:
    check_c({name: case(vectors[name]) for name, case in CASES.items()}, tmp_path, set())
