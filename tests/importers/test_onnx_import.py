"""ONNX import: what the NumPy reference computes equals ONNX Runtime's CPU provider, one line per case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx_models import Model, check_onnx, load

from mcuc.errors import McucError

CONV: dict[str, dict[str, Any]] = {
    "3x3": {},
    "stride 2": {"strides": [2, 2]},
    "pads": {"pads": [1, 1, 1, 1]},
    "odd pads": {"pads": [0, 2, 1, 0]},
    "dilation": {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
    "group 2": {"group": 2},
    "depthwise": {"group": 4},
    "same upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "same lower": {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    "valid": {"auto_pad": "VALID"},
}
SIGNS = [("int8", "int8"), ("uint8", "int8"), ("uint8", "uint8")]


def qdq_conv(
    x: str = "int8",
    w: str = "int8",
    axis: int | None = 0,
    bias: str = "int32",
    size: tuple[int, int] = (9, 8),
    oc: int = 8,
    opset: int = 17,
    zero: int | None = None,
    seed: int = 0,
    **attrs: Any,
) -> bytes:
    m = Model(seed, opset)
    kernel = attrs.pop("kernel", (3, 3))
    group = attrs.get("group", 1)
    v = m.qdq(m.input([1, 4, *size]), x)
    inputs = [v, m.weights((oc, 4 // group, *kernel), w, axis, zero)]
    if bias == "int32":
        inputs.append(m.bias(oc, *inputs))
    return m.build(m.qdq(m.node("Conv", inputs, **attrs), x, 0.3))


@pytest.mark.parametrize("case", CONV)
@pytest.mark.parametrize("signs", SIGNS)
def test_conv(case: str, signs: tuple[str, str]) -> None:
    check_onnx(qdq_conv(*signs, **CONV[case]))


@pytest.mark.parametrize("opset", [13, 15, 19, 21, 23])
def test_conv_opsets(opset: int) -> None:
    check_onnx(qdq_conv(opset=opset))


def test_conv_per_tensor() -> None:
    check_onnx(qdq_conv(axis=None))


def test_conv_without_bias() -> None:
    check_onnx(qdq_conv(bias="none"))


def test_conv_uint8_weights_with_odd_zero_point() -> None:
    check_onnx(qdq_conv("uint8", "uint8", axis=None, zero=77))


def test_conv_multiplier_2() -> None:
    check_onnx(qdq_conv(group=4, oc=8))


def test_conv_pointwise() -> None:
    check_onnx(qdq_conv(kernel=(1, 1), oc=16))


def test_conv_1d() -> None:
    m = Model(3)
    x = m.qdq(m.input([1, 4, 20]))
    y = m.layer("Conv", x, m.weights((6, 4, 5)), 6, pads=[2, 1], strides=[2])
    check_onnx(m.build(m.qdq(y, scale=0.3)))


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_pools_of_sequences(kind: str, dtype: str) -> None:
    m = Model(3)
    x = m.qdq(m.input([1, 4, 21]), dtype)
    attrs = {} if kind.startswith("Global") else {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}
    y = m.node(kind, [x], **attrs)
    check_onnx(m.build(m.qdq(y, dtype)))


def qlinear_conv(dtype: str, weight: str, bias: bool = True) -> bytes:
    m = Model(5)
    x = m.input([1, 3, 7, 7], dtype)
    inputs = [
        x,
        *m.params(dtype),
        m.const(m.integers((5, 3, 3, 3), weight)),
        m.const(m.rng.uniform(0.002, 0.02, 5), np.float32),
        m.const(np.full(5, 0 if weight == "int8" else 128), weight),
        *m.params(dtype, 0.2),
    ]
    if bias:
        inputs.append(m.const(m.rng.integers(-3000, 3000, 5), np.int32))
    return m.build(m.node("QLinearConv", inputs, pads=[1, 1, 1, 1]))


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize("bias", [True, False])
def test_qlinear_conv(signs: tuple[str, str], bias: bool) -> None:
    check_onnx(qlinear_conv(*signs, bias))


def gemm(
    x: str = "int8", w: str = "int8", trans_b: int = 1, axis: int | None = None, bias: bool = True, **attrs: Any
) -> bytes:
    m = Model(7)
    v = m.qdq(m.input([1, 24]), x)
    shape = (10, 24) if trans_b else (24, 10)
    inputs = [v, m.weights(shape, w, axis)]
    if bias:
        inputs.append(m.bias(10, *inputs))
    return m.build(m.qdq(m.node("Gemm", inputs, transB=trans_b, **attrs), x, 0.2))


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm(signs: tuple[str, str], trans_b: int) -> None:
    check_onnx(gemm(*signs, trans_b))


@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm_per_channel(trans_b: int) -> None:
    check_onnx(gemm(trans_b=trans_b, axis=0 if trans_b else 1))


def test_gemm_without_bias() -> None:
    check_onnx(gemm(bias=False))


def test_gemm_alpha() -> None:
    check_onnx(gemm(alpha=0.5, bias=False))


@pytest.mark.parametrize("attrs", [{"alpha": 2.0}, {"alpha": 0.5, "beta": 3.0}, {"beta": 0.5}], ids=str)
def test_a_bias_is_not_scaled_by_alpha(attrs: dict[str, float]) -> None:
    check_onnx(gemm(axis=0, **attrs), steps=1, share=0.005)


def test_matmul() -> None:
    m = Model(8)
    v = m.qdq(m.input([1, 6, 16]))
    check_onnx(m.build(m.qdq(m.node("MatMul", [v, m.weights((16, 12), axis=None)]), scale=0.2)))


def test_qlinear_matmul() -> None:
    m = Model(9)
    x = m.input([1, 16], "uint8")
    w = [m.const(m.integers((16, 6), "uint8")), m.const(0.01, np.float32), m.const(120, np.uint8)]
    check_onnx(m.build(m.node("QLinearMatMul", [x, *m.params("uint8"), *w, *m.params("uint8", 0.2)])))


def test_qgemm() -> None:
    m = Model(10)
    x = m.input([1, 16], "int8")
    w = [
        m.const(m.integers((6, 16))),
        m.const(m.rng.uniform(0.002, 0.01, 6), np.float32),
        m.const(np.zeros(6), np.int8),
    ]
    bias = m.const(m.rng.integers(-500, 500, 6), np.int32)
    y = m.node("QGemm", [x, *m.params(), *w, bias, *m.params(scale=0.1)], "com.microsoft", transB=1)
    check_onnx(m.build(y))


def binary(
    kind: str,
    dtype: str,
    a: tuple[int, ...],
    b: tuple[int, ...],
    seed: int = 0,
    constant: bool = False,
    scales: tuple[float | None, ...] = (None, None, None),
) -> bytes:
    m = Model(seed)
    left = m.qdq(m.input(a), dtype, scales[0])
    if constant:
        right = m.node("DequantizeLinear", [m.const(m.integers(b, dtype)), *m.params(dtype, scales[1])])
    else:
        right = m.qdq(m.input(b), dtype, scales[1])
    return m.build(m.qdq(m.node(kind, [left, right]), dtype, scales[2] or (0.1 if kind == "Add" else 0.15)))


BROADCASTS = [
    ((1, 3, 5, 6), (1, 3, 5, 6)),
    ((1, 3, 5, 6), (1, 3, 1, 1)),
    ((1, 3, 1, 1), (1, 3, 5, 6)),
    ((1, 3, 5, 6), (1, 1, 5, 6)),
    ((1, 24), (1, 24)),
    ((1, 4, 8), (8,)),
]


@pytest.mark.parametrize("kind", ["Add", "Mul"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("shapes", BROADCASTS)
def test_binary(kind: str, dtype: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    check_onnx(binary(kind, dtype, *shapes, seed=len(shapes[0])))


@pytest.mark.parametrize("kind", ["Add", "Mul"])
def test_binary_constant(kind: str) -> None:
    check_onnx(binary(kind, "int8", (1, 3, 5, 6), (3, 1, 1), constant=True))


@pytest.mark.parametrize("scales", [(0.03, 0.03, 0.06), (0.05, 0.1, 0.15), (0.02, 0.07, 0.09), (0.011, 0.033, 0.022)])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("kind", ["Add", "Mul"])
def test_binary_every_pair(kind: str, dtype: str, scales: tuple[float, ...]) -> None:
    """All 65,536 pairs of inputs, at scales that make many ties."""
    m = Model(int(1000 * sum(scales)))
    a, b = m.input([1, 65536], dtype), m.input([1, 65536], dtype)
    y = m.node(
        f"QLinear{kind}",
        [a, *m.params(dtype, scales[0]), b, *m.params(dtype, scales[1]), *m.params(dtype, scales[2])],
        "com.microsoft",
    )
    from mcuc.importers import onnx as importer
    from mcuc.verify import oracle, reference

    blob = m.build(y)
    graph, ports = load(blob)
    every = np.arange(65536)
    info = np.iinfo(dtype)
    pair = [(every // 256 + info.min).astype(dtype)[None], (every % 256 + info.min).astype(dtype)[None]]
    (wanted,) = oracle.onnxruntime(blob, [pair])[0]
    values = reference.run(graph, {p.name: importer.from_file(p, x) for p, x in zip(ports.inputs, pair, strict=True)})
    assert np.array_equal(wanted, values[graph.outputs[0]])


def test_scalar_constant_in_float() -> None:
    m = Model(4)
    y = m.node("Mul", [m.qdq(m.input([1, 3, 4, 4])), m.const(0.37, np.float32)])
    check_onnx(m.build(m.qdq(y, scale=0.02)))


def pool(
    kind: str, dtype: str = "int8", scale: float = 0.05, out: float = 0.05, size: tuple[int, int] = (8, 7), **attrs: Any
) -> bytes:
    m = Model(11)
    v = m.qdq(m.input([1, 5, *size]), dtype, scale)
    return m.build(m.qdq(m.node(kind, [v], **attrs), dtype, out))


POOLS: dict[str, dict[str, Any]] = {
    "2x2": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "3x3 padded": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    "ceil": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    "same": {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "uneven": {"kernel_shape": [3, 2], "pads": [0, 1, 2, 0], "strides": [2, 1]},
}


@pytest.mark.parametrize("case", POOLS)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_average_pool(case: str, dtype: str) -> None:
    check_onnx(pool("AveragePool", dtype, **POOLS[case]))


@pytest.mark.parametrize("out", [0.05, 0.031])
def test_average_pool_count_include_pad(out: float) -> None:
    check_onnx(pool("AveragePool", out=out, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1))


@pytest.mark.parametrize("case", POOLS)
@pytest.mark.parametrize("out", [0.05, 0.04])
def test_max_pool(case: str, out: float) -> None:
    m = Model(12)
    v = m.qdq(m.input([1, 5, 8, 7]), "int8", 0.05, 3)
    check_onnx(m.build(m.qdq(m.node("MaxPool", [v], **POOLS[case]), "int8", out, 3)))


def test_max_pool_dilated() -> None:
    check_onnx(pool("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_global_average_pool(dtype: str) -> None:
    check_onnx(pool("GlobalAveragePool", dtype, out=0.004))


def test_global_max_pool() -> None:
    check_onnx(pool("GlobalMaxPool"))
    for shape in ([1, 5, 8], [1, 3, 2, 4, 5]):
        m = Model(11)
        check_onnx(m.build(m.qdq(m.node("GlobalMaxPool", [m.qdq(m.input(shape))]))))


def test_qlinear_pools() -> None:
    for dtype in ("int8", "uint8"):
        m = Model(13)
        x = m.input([1, 4, 6, 6], dtype)
        p, q, r = m.params(dtype), m.params(dtype), m.params(dtype, 0.01)
        v = m.node("QLinearAveragePool", [x, *p, *q], "com.microsoft", kernel_shape=[2, 2], strides=[2, 2])
        check_onnx(m.build(m.node("QLinearGlobalAveragePool", [v, *q, *r], "com.microsoft")))


@pytest.mark.parametrize("axes", [[2, 3], [1], [3]])
def test_reduce_mean(axes: list[int]) -> None:
    m = Model(14)
    y = m.node("ReduceMean", [m.qdq(m.input([1, 4, 5, 6]))], axes=axes, keepdims=1)
    check_onnx(m.build(m.qdq(y, scale=0.013)), steps=1, share=0.005, count=20)


UNARY: dict[str, dict[str, Any]] = {
    "Sigmoid": {"scale": 1 / 256, "zero": -128},
    "Tanh": {"scale": 1 / 128, "zero": 0},
    "Relu": {"scale": 0.03},
    "LeakyRelu": {"scale": 0.05, "attrs": {"alpha": 0.2}},
    "HardSigmoid": {"scale": 1 / 256, "zero": -128},
    "HardSwish": {"scale": 0.04},
}


@pytest.mark.parametrize("kind", UNARY)
@pytest.mark.parametrize("seed", range(4))
def test_unary(kind: str, seed: int) -> None:
    case = UNARY[kind]
    m = Model(seed)
    v = m.qdq(m.input([1, 256]), scale=float(m.rng.uniform(0.01, 0.09)))
    check_onnx(
        m.build(m.qdq(m.node(kind, [v], **case.get("attrs", {})), "int8", case["scale"], case.get("zero"))), count=12
    )


def test_qlinear_unary() -> None:
    for kind, attrs in (("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.1})):
        m = Model(15)
        x = m.input([1, 256], "uint8")
        check_onnx(
            m.build(m.node(kind, [x, *m.params("uint8"), *m.params("uint8", 0.02)], "com.microsoft", **attrs)), count=12
        )


def relu_after_conv(zero: int, clip: bool = False, separate: bool = False) -> bytes:
    m = Model(16)
    v = m.layer("Conv", m.qdq(m.input([1, 3, 6, 6])), m.weights((4, 3, 3, 3)), 4)
    if separate:
        v = m.qdq(v, scale=0.2, zero=zero)
    v = m.node("Clip", [v, m.const(0, np.float32), m.const(6, np.float32)]) if clip else m.node("Relu", [v])
    return m.build(m.qdq(v, scale=0.05, zero=zero))


@pytest.mark.parametrize("clip", [False, True])
def test_relu_fused_where_the_zero_point_is_the_minimum(clip: bool) -> None:
    graph = check_onnx(relu_after_conv(-128, clip))
    assert [n.op for n in graph.nodes] == ["conv_2d"]


@pytest.mark.parametrize("clip", [False, True])
def test_relu_kept_where_the_zero_point_is_not_the_minimum(clip: bool) -> None:
    graph = check_onnx(relu_after_conv(-20, clip, separate=True))
    assert [n.op for n in graph.nodes] == ["conv_2d", "clip"]


@pytest.mark.parametrize("clip", [False, True])
def test_relu_as_a_clamp(clip: bool) -> None:
    """The runtime computes this convolution in float; the clamp differs from it in ties at most."""
    check_onnx(relu_after_conv(-20, clip), steps=1, share=0.005, count=20)


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_softmax(classes: int, dtype: str) -> None:
    m = Model(17)
    y = m.node("Softmax", [m.qdq(m.input([1, classes]), dtype, 0.1)])
    check_onnx(m.build(m.qdq(y, dtype, 1 / 255, 0 if dtype == "uint8" else -128)), count=20)


def test_softmax_left_in_float() -> None:
    m = Model(18)
    v = m.layer("Gemm", m.qdq(m.input([1, 12])), m.weights((10, 12), axis=None), 10, transB=1)
    graph = check_onnx(m.build(m.node("Softmax", [m.qdq(v, scale=0.1)])), steps=1, share=0.005, count=20)
    assert any("float output" in n for n in graph.notes)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_concat_with_other_scales(dtype: str) -> None:
    m = Model(19)
    parts = [m.qdq(m.input([1, c, 4, 5]), dtype) for c in (2, 3, 4)]
    check_onnx(m.build(m.qdq(m.node("Concat", parts, axis=1), dtype)))


def test_qlinear_concat() -> None:
    m = Model(20)
    p, q, r = m.params("uint8"), m.params("uint8"), m.params("uint8")
    a, b = m.input([1, 2, 4, 5], "uint8"), m.input([1, 3, 4, 5], "uint8")
    check_onnx(m.build(m.node("QLinearConcat", [*r, a, *p, b, *q], "com.microsoft", axis=1)))


def conv_then(tail: Callable[[Model, str], str], scale: float = 0.3, zero: int = 5) -> bytes:
    """conv, tail of float operators, QDQ with the same parameters behind both."""
    m = Model(21)
    v = m.layer("Conv", m.qdq(m.input([1, 3, 6, 6])), m.weights((4, 3, 3, 3)), 4, pads=[1, 1, 1, 1])
    return m.build(m.qdq(tail(m, m.qdq(v, "int8", scale, zero)), "int8", scale, zero))


def i64(m: Model, *values: int) -> str:
    return m.const(list(values), np.int64)


MOVES: dict[str, tuple[Callable[[Model, str], str], int]] = {
    "flatten": (lambda m, v: m.node("Flatten", [v]), 1),
    "reshape": (lambda m, v: m.node("Reshape", [v, i64(m, 1, -1)]), 1),
    "reshape tokens": (lambda m, v: m.node("Transpose", [m.node("Reshape", [v, i64(m, 0, 4, -1)])], perm=[0, 2, 1]), 0),
    "transpose to NHWC": (lambda m, v: m.node("Transpose", [v], perm=[0, 2, 3, 1]), 0),
    "transpose twice": (
        lambda m, v: m.node("Transpose", [m.node("Transpose", [v], perm=[0, 2, 3, 1])], perm=[0, 3, 1, 2]),
        0,
    ),
    "slice": (lambda m, v: m.node("Slice", [v, i64(m, 1, 0), i64(m, 4, 6), i64(m, 2, 3), i64(m, 1, 2)]), 0),
    "slice backwards": (lambda m, v: m.node("Slice", [v, i64(m, -1), i64(m, -100), i64(m, 3), i64(m, -1)]), 0),
    "channels": (lambda m, v: m.node("Slice", [v, i64(m, 1), i64(m, 3), i64(m, 1)]), 0),
    "gather": (lambda m, v: m.node("Gather", [v, m.const(2, np.int64)], axis=2), 0),
    "split": (lambda m, v: m.node("Concat", m.node("Split", [v], outputs=2, axis=1)[::-1], axis=1), 0),
    "pad": (lambda m, v: m.node("Pad", [v, i64(m, 0, 0, 1, 2, 0, 0, 0, 1)]), 0),
    "pad channels": (lambda m, v: m.node("Pad", [v, i64(m, 0, 1, 0, 0, 0, 1, 0, 0), m.const(1.5, np.float32)]), 0),
    "resize sizes": (lambda m, v: m.node("Resize", [v, "", "", i64(m, 1, 4, 12, 12)], mode="nearest"), 0),
    "resize asymmetric": (
        lambda m, v: m.node(
            "Resize",
            [v, "", m.const([1, 1, 2, 2.5], np.float32)],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        0,
    ),
    "resize align": (
        lambda m, v: m.node(
            "Resize", [v, "", "", i64(m, 1, 4, 9, 11)], mode="nearest", coordinate_transformation_mode="align_corners"
        ),
        0,
    ),
    "resize down": (lambda m, v: m.node("Resize", [v, "", "", i64(m, 1, 4, 4, 3)], mode="nearest"), 0),
    "squeeze": (lambda m, v: m.node("Squeeze", [m.node("Slice", [v, i64(m, 1), i64(m, 2), i64(m, 1)]), i64(m, 1)]), 0),
    "unsqueeze": (lambda m, v: m.node("Squeeze", [m.node("Unsqueeze", [v, i64(m, 1)]), i64(m, 1)]), 0),
    "identity": (lambda m, v: m.node("Identity", [v]), 0),
    "dropout": (lambda m, v: m.node("Dropout", [v]), 0),
}


@pytest.mark.parametrize("case", MOVES)
def test_moves(case: str) -> None:
    tail, transposes = MOVES[case]
    check_onnx(conv_then(tail), transposes=transposes)


def shape_chain(m: Model, v: str) -> str:
    """What exporters write for x.view(x.shape[0], -1): Shape, Gather, Unsqueeze, Concat, Reshape."""
    batch = m.node("Gather", [m.node("Shape", [v]), m.const(0, np.int64)], axis=0)
    target = m.node("Concat", [m.node("Unsqueeze", [batch, i64(m, 0)]), i64(m, -1)], axis=0)
    return m.node("Reshape", [v, target])


@pytest.mark.parametrize(
    "flatten", [lambda m, v: m.node("Flatten", [v]), shape_chain, lambda m, v: m.node("Reshape", [v, i64(m, 0, -1)])]
)
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("between", [False, True])
def test_dense_after_flatten_reorders_weights(
    flatten: Callable[[Model, str], str], trans_b: int, between: bool
) -> None:
    m = Model(22)
    v = m.layer("Conv", m.qdq(m.input(["N", 3, 6, 6])), m.weights((4, 3, 3, 3)), 4)
    v = flatten(m, m.qdq(v, "int8", 0.3, -128))
    v = m.node("Relu", [m.qdq(v, "int8", 0.3, -128)]) if between else v
    v = m.qdq(v, "int8", 0.3, -128)
    y = m.layer("Gemm", v, m.weights((10, 64) if trans_b else (64, 10), axis=None), 10, transB=trans_b)
    graph = check_onnx(m.build(m.qdq(y, scale=0.5)), transposes=0)
    assert any("batch" in n for n in graph.notes)


def test_flattened_map_read_by_a_dense_layer_and_by_the_caller() -> None:
    """The dense layer reads the map as it lies; the output must have the file's order all the same."""
    m = Model(36)
    v = m.qdq(m.layer("Conv", m.qdq(m.input([1, 3, 6, 6])), m.weights((4, 3, 3, 3)), 4), scale=0.3)
    f = m.node("Flatten", [v])
    y = m.layer("Gemm", f, m.weights((64, 10), axis=None), 10)
    z = m.layer("Gemm", f, m.weights((7, 64), axis=None), 7, transB=1)
    check_onnx(m.build(m.qdq(y, scale=0.4), m.qdq(z, scale=0.4), f), transposes=1)


def test_flatten_without_qdq_around() -> None:
    m = Model(23)
    v = m.layer("Conv", m.qdq(m.input([1, 3, 6, 6])), m.weights((4, 3, 3, 3)), 4)
    v = m.node("GlobalAveragePool", [m.qdq(v, scale=0.3)])
    v = m.node("Flatten", [m.qdq(v, scale=0.1)])
    y = m.node("MatMul", [v, m.weights((4, 10), axis=None)])
    check_onnx(m.build(m.qdq(y, scale=0.1)), transposes=0)


def test_nhwc_file() -> None:
    """A converter's model with NHWC input and transposes around the convolutions needs no transpose."""
    m = Model(24)
    v = m.node("Transpose", [m.qdq(m.input([1, 6, 7, 3]))], perm=[0, 3, 1, 2])
    v = m.layer("Conv", v, m.weights((4, 3, 3, 3)), 4)
    check_onnx(m.build(m.node("Transpose", [m.qdq(v, scale=0.3)], perm=[0, 2, 3, 1])), transposes=0)


def test_residual_network() -> None:
    m = Model(25)
    x = m.qdq(m.input([1, 3, 8, 8]), "uint8")
    a = m.qdq(m.layer("Conv", x, m.weights((8, 3, 3, 3)), 8, pads=[1, 1, 1, 1]), "uint8", 0.2, 0)
    b = m.qdq(m.layer("Conv", a, m.weights((8, 8, 3, 3)), 8, pads=[1, 1, 1, 1]), "uint8", 0.3)
    c = m.qdq(m.node("Relu", [m.qdq(m.node("Add", [a, b]), "uint8", 0.4)]), "uint8", 0.3, 0)
    d = m.qdq(m.node("AveragePool", [c], kernel_shape=[2, 2], strides=[2, 2]), "uint8", 0.3, 0)
    e = m.qdq(m.node("Flatten", [m.qdq(m.node("GlobalAveragePool", [d]), "uint8", 0.1, 0)]), "uint8", 0.1, 0)
    y = m.layer("Gemm", e, m.weights((10, 8), axis=None), 10, transB=1)
    check_onnx(m.build(m.qdq(y, "uint8", 0.2)), transposes=0)


def test_requantize() -> None:
    m = Model(26)
    v = m.qdq(m.input([1, 300]), "int8", 0.05, 3)
    check_onnx(m.build(m.qdq(v, "uint8", 0.031, 90)))


def test_integer_input_and_output_stay() -> None:
    m = Model(27)
    x = m.input([1, 3, 6, 6], "uint8")
    p = m.params("uint8")
    v = m.layer("Conv", m.node("DequantizeLinear", [x, *p]), m.weights((4, 3, 3, 3)), 4)
    graph = check_onnx(m.build(m.quantize(v, "uint8", 0.3)))
    assert {graph.tensors[n].dtype.value for n in (*graph.inputs, *graph.outputs)} == {"uint8"}
    assert any("channels last" in n for n in graph.notes)


def refused(blob: bytes, code: str, *words: str) -> None:
    with pytest.raises(McucError) as caught:
        load(blob)
    assert caught.value.code == code and caught.value.try_this
    assert all(w in str(caught.value) for w in words), str(caught.value)


def test_float_model_is_refused_with_what_to_do() -> None:
    m = Model(28)
    refused(m.build(m.node("Relu", [m.input([1, 4])])), "not-quantized", "quantize_static")


def test_partly_float_model_names_the_value() -> None:
    m = Model(29)
    v = m.node("Conv", [m.qdq(m.input([1, 3, 6, 6])), m.weights((4, 3, 3, 3))])
    refused(m.build(m.qdq(m.node("Sigmoid", [m.node("Tanh", [v])]))), "not-quantized", v)


def test_free_dimension_is_refused_by_name() -> None:
    m = Model(30)
    refused(
        m.build(m.node("Conv", [m.qdq(m.input([1, 3, "height", 6])), m.weights((4, 3, 3, 3))])),
        "dynamic-shape",
        "height",
    )


def test_blocked_quantization_is_refused() -> None:
    m = Model(31, 21)
    w = m.node(
        "DequantizeLinear", [m.const(m.integers((8, 16))), m.const(np.ones((8, 2)), np.float32)], axis=1, block_size=8
    )
    y = m.node("MatMul", [m.qdq(m.input([1, 8])), w])
    refused(m.build(m.qdq(y)), "unsupported-quantization", "block")


def test_batch_normalization_is_refused() -> None:
    m = Model(32)
    p = [m.const(np.ones(3), np.float32) for _ in range(4)]
    refused(
        m.build(m.qdq(m.node("BatchNormalization", [m.qdq(m.input([1, 3, 4, 4])), *p]))), "unsupported-operator", "fold"
    )


def test_dynamic_quantization_is_refused() -> None:
    m = Model(33)
    q = m.node("DynamicQuantizeLinear", [m.input([1, 8])], outputs=3)
    refused(m.build(m.node("MatMulInteger", [q[0], m.const(m.integers((8, 4)))])), "not-quantized", "dynamic")


def test_old_opsets_are_brought_to_a_newer_one() -> None:
    m = Model(34, 12)
    check_onnx(m.build(m.qdq(m.node("Relu", [m.qdq(m.input([1, 8]))]))))


def test_an_opset_that_cannot_be_converted_is_refused() -> None:
    m = Model(34, 6)
    refused(m.build(m.qdq(m.input([1, 8]))), "unsupported-opset", "6")


def test_16_bit_is_refused() -> None:
    m = Model(35, 21)
    x = m.node("QuantizeLinear", [m.input([1, 8]), m.const(0.1, np.float32), m.const(0, np.int16)])
    refused(
        m.build(m.node("DequantizeLinear", [x, m.const(0.1, np.float32), m.const(0, np.int16)])),
        "unsupported-type",
        "int16",
    )
