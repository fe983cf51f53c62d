"""A .tflite file for every TFLite operator that mcuc imports: the operator alone, or with what its result is shown by.

Tensors are made by the helpers of tests/ops/harness.py, which writes the files too. Two operators at least have files
that hold others: those that are computed while compiling (their result is a shape or an operand), and variables.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.extend(str(Path(__file__).resolve().parent.parent / "tests" / name) for name in ("ops", "state"))

from harness import RNG, activation, bias, constant, options, tflite_file, tflite_graph, weights
from state_models import counting

from mcuc.exporters.tflite import Entry, export, write
from mcuc.ir import Array, DType, Quant, Tensor
from mcuc.ops._base import Exported

X = (1, 4, 5, 6)
SAME, VALID, RELU, TANH = 0, 1, 1, 4


@dataclass(frozen=True)
class Case:
    """A file, the runtime that knows its operator (a function of mcuc.verify.oracle), and inputs where random ones do
    not suit: indices that lie inside, divisors other than 0."""

    blob: bytes
    oracle: str = "tflite_micro"
    fed: tuple[tuple[Array, ...], ...] = ()


def x(shape: tuple[int, ...] = X, scale: float = 0.05, zero_point: int = -7, name: str = "x") -> Tensor:
    return activation(name, shape, scale, zero_point)


def y(shape: tuple[int, ...] = X, scale: float = 0.05, zero_point: int = -7) -> Tensor:
    return activation("y", shape, scale, zero_point)


def typed(name: str, dtype: str, shape: tuple[int, ...] = X) -> Tensor:
    return Tensor(name, shape, DType(dtype))


def ints(name: str, *values: Any) -> Tensor:
    return constant(name, np.array(values, np.int32))


def one(kind: str, inputs: list[Tensor | None], out: Tensor | list[Tensor], run: str = "tflite_micro",
        fed: tuple[tuple[Array, ...], ...] = (), **fields: Any) -> Case:
    """The operator alone."""
    return Case(tflite_file(kind, inputs, out, **fields), run, fed)


def litert(kind: str, inputs: list[Tensor | None], out: Tensor | list[Tensor], **fields: Any) -> Case:
    """The operator alone, where TFLite Micro has none of its kind or type."""
    return one(kind, inputs, out, "litert_reference", **fields)


def chain(steps: list[tuple[str, list[Tensor], Tensor, dict[str, Any]]], run: str = "litert_reference") -> Case:
    """Operators in a row; tensors without data that none of them computes are inputs, the last result is the output."""
    entries = []
    for kind, inputs, out, fields in steps:
        table = type(options(kind, **fields)).__name__
        form = Exported(kind, "" if table == "SimpleNamespace" else table.removesuffix("T"), fields)
        entries.append(Entry(form, inputs, [out]))
    made = {out.name for _, _, out, _ in steps}
    given = {t.name: t for _, inputs, _, _ in steps for t in inputs if t.data is None and t.name not in made}
    return Case(write("case", list(given.values()), [steps[-1][2]], entries), run)


def as_shape(*steps: tuple[str, list[Tensor], Tensor, dict[str, Any]]) -> Case:
    """Constant arithmetic that ends in the tensor "shape", by which a value of 24 elements becomes one of 6 rows."""
    last = steps[-1][2]
    return chain([*steps, ("RESHAPE", [x((1, 24)), last], y((6, 4) if last.elements == 2 else (24,)), {})])


def unary(kind: str, scales: tuple[float, float] = (0.05, 0.03), zeros: tuple[int, int] = (-7, 11),
          run: str = "tflite_micro", **fields: Any) -> Case:
    """Every int8 value."""
    every = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16)
    return one(kind, [x((1, 16, 16), scales[0], zeros[0])], y((1, 16, 16), scales[1], zeros[1]), run, ((every,),),
               **fields)


def binary(kind: str, out: Tensor | None = None, scales: tuple[float, float] = (0.05, 0.03), **fields: Any) -> Case:
    """An image and a value for each channel, both computed at run time."""
    operands = [x(scale=scales[0]), activation("b", (1, 1, 1, 6), scales[1], -7)]
    return one(kind, list(operands), out or y(scale=0.08), **fields)


def compare(kind: str) -> Case:
    return binary(kind, typed("y", "bool"))


def logical(kind: str) -> Case:
    return one(kind, [typed("a", "bool"), typed("b", "bool", (1, 4, 1, 6))], typed("y", "bool"))


def reduced(kind: str, dtype: str = "", scale: float = 0.05) -> Case:
    """Over rows and columns."""
    axes = ints("axes", 1, 2)
    if dtype:
        return litert(kind, [typed("x", dtype), axes], typed("y", dtype, (1, 6)))
    return one(kind, [x(), axes], y((1, 6), scale))


def pool(kind: str) -> Case:
    return one(kind, [x()], y((1, 2, 3, 6)), filterHeight=3, filterWidth=2, strideH=2, strideW=2, padding=SAME,
               fusedActivationFunction=RELU)


def convolution(kind: str) -> Case:
    """Strided, with padding that differs before and after, a scale for each channel, and relu."""
    rng, turned = RNG(5), kind == "TRANSPOSE_CONV"
    channels, shape = (6, (1, 3, 3, 6)) if kind == "DEPTHWISE_CONV_2D" else (5, (5, 3, 3, 6))
    w = weights(rng, shape, axis=3 if shape[0] == 1 else 0)
    out = y((1, 8, 10, 5) if turned else (1, 2, 3, channels), 2.0)
    fields = {"strideH": 2, "strideW": 2, "padding": SAME, "fusedActivationFunction": RELU}
    if turned:
        return one(kind, [ints("shape", *out.shape), w, x(), bias(rng, x(), w, 5)], out, **fields)
    fields |= {"dilationHFactor": 1, "dilationWFactor": 1} | ({"depthMultiplier": 1} if shape[0] == 1 else {})
    return one(kind, [x(), w, bias(rng, x(), w, channels)], out, **fields)


def dense() -> Case:
    rng = RNG(6)
    w = weights(rng, (5, 12))
    return one("FULLY_CONNECTED", [x((3, 12)), w, bias(rng, x(), w, 5)], y((3, 5), 2.0), fusedActivationFunction=RELU)


def svdf() -> Case:
    """Runs of one sequence: the memory is kept."""
    rng, units, rank, memory = RNG(7), 4, 2, 7
    f = constant("f", rng.integers(-127, 128, (units * rank, 5)).astype(np.int8), [0.008])
    t = constant("t", rng.integers(-127, 128, (units * rank, memory)).astype(np.int16), [0.004])
    b = constant("b", rng.integers(-900, 900, units).astype(np.int32), [0.05 * 0.004])
    kept = Tensor("m", (1, units * rank * memory), DType.INT16, Quant((float(np.float32(0.05)),), (0,)))
    return Case(export(tflite_graph("SVDF", [x((1, 5)), f, t, b, kept], y((1, units)), rank=rank,
                              fusedActivationFunction=RELU)))


def lstm() -> Case:
    """Runs of one sequence: hidden and cell state are kept."""
    rng, features, units, hidden = RNG(8), 5, 3, (1 / 128, 0)
    scales = 2.0 ** rng.uniform(-7, -5, 8)
    kernels = [constant(f"w{i}", rng.integers(-127, 128, (units, features if i < 4 else units)).astype(np.int8), [s])
               for i, s in enumerate(scales)]
    biases = [constant(f"b{i}", rng.integers(-6000, 6001, units).astype(np.int32), [s * 0.02])
              for i, s in enumerate(scales[:4])]
    cell = Tensor("c", (1, units), DType.INT16, Quant((2.0**-12,), (0,)))
    inputs = [x((1, 6, features), 0.02), *kernels, None, None, None, *biases, None, None,
              activation("h", (1, units), *hidden), cell, None, None, None, None]
    return Case(export(tflite_graph("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, y((1, 6, units), *hidden),
                              fusedActivationFunction=TANH)))


def indices(*values: Any) -> tuple[Array, ...]:
    return tuple(np.asarray(v, np.int32) for v in values)


def sliced_update() -> Case:
    rng = RNG(9)
    data = rng.integers(-128, 128, (4, 5)).astype(np.int8), rng.integers(-128, 128, (2, 3)).astype(np.int8)
    return one("DYNAMIC_UPDATE_SLICE", [x((4, 5)), x((2, 3), name="u"), typed("i", "int32", (2,))], y((4, 5)),
               fed=tuple((*data, *indices(at)) for at in ([0, 0], [2, 1], [9, -3])))


def one_hot() -> Case:
    values = [constant(n, np.array(v, np.int8), [0.05], [-7]) for n, v in (("on", 13), ("off", -7))]
    return litert("ONE_HOT", [typed("i", "int32", (2, 3)), constant("d", np.array(4, np.int32)), *values],
                  y((2, 3, 4)), fed=(indices([[0, 1, 2], [3, 4, -1]]),), axis=-1)


def embedding() -> Case:
    table = constant("t", RNG(1).integers(-128, 128, (7, 5)).astype(np.int8), [0.05], [-7])
    return one("EMBEDDING_LOOKUP", [typed("i", "int32", (3,)), table], y((3, 5)), fed=(indices([0, 6, 3]),))


def divided() -> Case:
    """By constants other than the zero point."""
    data = RNG(2).integers(1, 100, (1, 1, 1, 6)).astype(np.int8)
    return one("DIV", [x(), constant("b", data, [0.03], [0])], y(scale=0.05), fusedActivationFunction=0)


PADS = np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32)
VARIABLES = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
CASES: dict[str, Callable[[], Case]] = {
    **{k: lambda k=k: binary(k, fusedActivationFunction=RELU) for k in ("ADD", "SUB", "MUL")},  # type: ignore[misc]
    **{k: lambda k=k: binary(k, y(), (0.05, 0.05)) for k in ("MAXIMUM", "MINIMUM")},  # type: ignore[misc]
    **{k: lambda k=k: compare(k)  # type: ignore[misc]
       for k in ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")},
    **{k: lambda k=k: logical(k) for k in ("LOGICAL_AND", "LOGICAL_OR")},  # type: ignore[misc]
    **{k: lambda k=k: pool(k) for k in ("AVERAGE_POOL_2D", "MAX_POOL_2D")},  # type: ignore[misc]
    **{k: lambda k=k: convolution(k)  # type: ignore[misc]
       for k in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")},
    **{k: lambda k=k: unary(k) for k in ("ABS", "ELU", "HARD_SWISH", "RELU", "RELU6", "QUANTIZE")},  # type: ignore[misc]
    **{k: lambda k=k: unary(k, run="litert_reference") for k in ("EXP", "RELU_0_TO_1", "LOG")},  # type: ignore[misc]
    **dict.fromkeys(VARIABLES, lambda: Case(export(counting()))),
    "ADD_N": lambda: one("ADD_N", [x(name=f"x{i}") for i in range(3)], y(scale=0.09)),
    "ARG_MAX": lambda: one("ARG_MAX", [x(), ints("a", 3)], typed("y", "int32", (1, 4, 5)), outputType=2),
    "ARG_MIN": lambda: one("ARG_MIN", [x(), ints("a", 1)], typed("y", "int32", (1, 5, 6)), outputType=2),
    "BATCH_MATMUL": lambda: one("BATCH_MATMUL", [x((2, 4, 9)), x((2, 5, 9), 0.03, 5, "b")], y((2, 4, 5), 0.1),
                                adjX=False, adjY=True),
    "BATCH_TO_SPACE_ND": lambda: one("BATCH_TO_SPACE_ND", [x((6, 2, 3, 3)), ints("b", 2, 3), ints("c", [1, 0], [2, 1])],
                                     y((1, 3, 6, 3))),
    "BROADCAST_TO": lambda: one("BROADCAST_TO", [x((4, 1)), ints("s", 2, 3, 4, 5)], y((2, 3, 4, 5))),
    "CAST": lambda: one("CAST", [typed("x", "int8")], typed("y", "int32"), inDataType=9, outDataType=2),
    "CONCATENATION": lambda: one("CONCATENATION", [x(), x((1, 4, 2, 6), name="b")], y((1, 4, 7, 6)), axis=2),
    "CUMSUM": lambda: one("CUMSUM", [x(), ints("a", 2)], y(scale=0.1), exclusive=True, reverse=True),
    "DEPTH_TO_SPACE": lambda: one("DEPTH_TO_SPACE", [x((1, 3, 4, 8))], y((1, 6, 8, 2)), blockSize=2),
    "DEQUANTIZE": lambda: chain([("RELU", [x()], x(name="m"), {}),
                                 ("DEQUANTIZE", [x(name="m")], typed("y", "float32"), {})], "tflite_micro"),
    "DIV": divided,
    "DYNAMIC_UPDATE_SLICE": sliced_update,
    "EMBEDDING_LOOKUP": embedding,
    "EXPAND_DIMS": lambda: one("EXPAND_DIMS", [x((4, 5, 3)), ints("a", 1)], y((4, 1, 5, 3))),
    "FILL": lambda: one("FILL", [ints("d", 2, 3), x((), name="v")], y((2, 3))),
    "FLOOR_DIV": lambda: as_shape(("FLOOR_DIV", [ints("a", -1, 13), ints("b", 2, 3)], typed("s", "int32", (2,)), {})),
    "FLOOR_MOD": lambda: as_shape(("FLOOR_MOD", [ints("a", -3, 14), ints("b", 9, 10)], typed("s", "int32", (2,)), {})),
    "FULLY_CONNECTED": dense,
    "GATHER": lambda: one("GATHER", [x((3, 4, 5)), ints("i", 2, 0, 2)], y((3, 3, 5)), axis=1),
    "GATHER_ND": lambda: one("GATHER_ND", [x((4, 5, 3)), ints("i", [3, 1], [0, 4])], y((2, 3))),
    "GELU": lambda: unary("GELU", run="litert_reference", approximate=True),
    "L2_NORMALIZATION": lambda: one("L2_NORMALIZATION", [x()], y(X, 1 / 128, 0)),
    "LEAKY_RELU": lambda: unary("LEAKY_RELU", alpha=0.2),
    "LOGICAL_NOT": lambda: one("LOGICAL_NOT", [typed("x", "bool")], typed("y", "bool")),
    "LOGISTIC": lambda: unary("LOGISTIC", (0.05, 1 / 256), (-7, -128)),
    "LOG_SOFTMAX": lambda: one("LOG_SOFTMAX", [x((4, 10))], y((4, 10), 1 / 16, 127)),
    "MEAN": lambda: reduced("MEAN", scale=0.04),
    "MIRROR_PAD": lambda: one("MIRROR_PAD", [x(), constant("p", PADS)], y((1, 7, 6, 6)), mode=1),
    "NEG": lambda: unary("NEG", (0.05, 0.05), (0, 0), "litert_reference"),
    "ONE_HOT": one_hot,
    "PACK": lambda: one("PACK", [x((2, 5)), x((2, 5), name="b")], y((2, 2, 5)), axis=1, valuesCount=2),
    "PAD": lambda: one("PAD", [x(), constant("p", PADS)], y((1, 7, 6, 6))),
    "PADV2": lambda: one("PADV2", [x(), constant("p", PADS), constant("v", np.array([93], np.int8), [0.05], [-7])],
                         y((1, 7, 6, 6))),
    "PRELU": lambda: one("PRELU", [x(), constant("a", RNG(3).integers(-128, 128, (1, 1, 6)).astype(np.int8), [0.01])],
                         y(scale=0.06)),
    "REDUCE_ALL": lambda: reduced("REDUCE_ALL", "bool"),
    "REDUCE_ANY": lambda: reduced("REDUCE_ANY", "bool"),
    "REDUCE_MAX": lambda: reduced("REDUCE_MAX"),
    "REDUCE_MIN": lambda: reduced("REDUCE_MIN"),
    "REDUCE_PROD": lambda: as_shape(("REDUCE_PROD", [ints("a", 2, 3, 4), ints("axes", 0)], typed("s", "int32", (1,)),
                                     {"keepDims": True})),
    "RELU_N1_TO_1": lambda: unary("RELU_N1_TO_1", run="litert_reference"),
    "RESHAPE": lambda: one("RESHAPE", [x(), ints("s", 4, 30)], y((4, 30))),
    "RESIZE_BILINEAR": lambda: one("RESIZE_BILINEAR", [x(), ints("s", 7, 13)], y((1, 7, 13, 6)), halfPixelCenters=True),
    "RESIZE_NEAREST_NEIGHBOR": lambda: one("RESIZE_NEAREST_NEIGHBOR", [x(), ints("s", 7, 13)], y((1, 7, 13, 6)),
                                           halfPixelCenters=True),
    "REVERSE_V2": lambda: one("REVERSE_V2", [x(), ints("a", 2)], y()),
    "RSQRT": lambda: unary("RSQRT", (0.05, 0.03), (-128, 11)),
    "SCATTER_ND": lambda: litert("SCATTER_ND", [ints("i", [3], [0]), x((2, 4), name="u"), ints("s", 5, 4)], y((5, 4))),
    "SELECT": lambda: litert("SELECT", [typed("c", "bool"), x(), x(name="b")], y()),
    "SELECT_V2": lambda: one("SELECT_V2", [typed("c", "bool", (1, 4, 5, 1)), x(), x((6,), name="b")], y()),
    "SHAPE": lambda: chain([("SHAPE", [x((6, 4))], typed("s", "int32", (2,)), {"outType": 2}),
                            ("RESHAPE", [x((6, 4)), ints("flat", 24)], x((24,), name="f"), {}),
                            ("RESHAPE", [x((24,), name="f"), typed("s", "int32", (2,))], y((6, 4)), {})]),
    "SLICE": lambda: one("SLICE", [x(), ints("b", 0, 1, 2, 0), ints("s", 1, 2, -1, 3)], y((1, 2, 3, 3))),
    "SOFTMAX": lambda: one("SOFTMAX", [x((4, 10), 0.1)], y((4, 10), 1 / 256, -128), beta=1.0),
    "SPACE_TO_BATCH_ND": lambda: litert("SPACE_TO_BATCH_ND", [x((1, 5, 6, 3)), ints("b", 2, 3),
                                                               ints("p", [1, 2], [2, 1])], y((6, 4, 3, 3))),
    "SPACE_TO_DEPTH": lambda: one("SPACE_TO_DEPTH", [x((1, 4, 6, 3))], y((1, 2, 3, 12)), blockSize=2),
    "SPLIT": lambda: one("SPLIT", [constant("a", np.array(3, np.int32)), x()],
                         [replace(y((1, 4, 5, 3)), name=n) for n in "uv"], numSplits=2),
    "SPLIT_V": lambda: one("SPLIT_V", [x(), ints("s", 2, 4), constant("a", np.array(3, np.int32))],
                           [replace(y((1, 4, 5, c)), name=f"y{c}") for c in (2, 4)], numSplits=2),
    "SQRT": lambda: unary("SQRT", (0.05, 0.03), (-128, 11), "litert_reference"),
    "SQUARED_DIFFERENCE": lambda: binary("SQUARED_DIFFERENCE", y(scale=0.3)),
    "SQUEEZE": lambda: one("SQUEEZE", [x((1, 4, 1, 6))], y((4, 6)), squeezeDims=[0, 2]),
    "STRIDED_SLICE": lambda: one("STRIDED_SLICE", [x(), ints("b", 0, -1, 1, 0), ints("e", 1, -6, 5, 6),
                                                   ints("s", 1, -1, 2, 1)], y((1, 4, 2, 6))),
    "SUM": lambda: reduced("SUM", scale=0.4),
    "SVDF": svdf,
    "TANH": lambda: unary("TANH", (0.05, 1 / 128), (-7, 0)),
    "TILE": lambda: one("TILE", [x((2, 3)), ints("m", 3, 2)], y((6, 6)), "litert_reference"),
    "TRANSPOSE": lambda: one("TRANSPOSE", [x(), ints("p", 0, 3, 1, 2)], y((1, 6, 4, 5))),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm,
    "UNPACK": lambda: one("UNPACK", [x((3, 4))], [replace(y((4,)), name=f"y{i}") for i in range(3)], axis=0, num=3),
    "ZEROS_LIKE": lambda: chain([("ZEROS_LIKE", [x()], x(name="z"), {}), ("MAXIMUM", [x(), x(name="z")], y(), {})],
                                "tflite_micro"),
}
