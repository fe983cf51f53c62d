"""ONNX's matrix products and transposed convolutions agree with ONNX Runtime, one line per case."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import Model, check_onnx, load

from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.quantize.retarget import retarget

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))

from harness import check_c

# ONNX Runtime has no integer kernel of ConvTranspose: what it computes in float may round a sum near a tie otherwise.
FLOAT = {"steps": 1, "share": 0.005}
SIGNS = [("int8", "int8"), ("uint8", "int8"), ("uint8", "uint8")]

TRANSPOSED: dict[str, dict[str, Any]] = {
    "plain": {},
    "stride 2": {"strides": [2, 2]},
    "pads": {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    "odd pads": {"strides": [2, 3], "pads": [0, 2, 1, 0]},
    "output padding": {"strides": [3, 2], "output_padding": [2, 1], "pads": [1, 1, 1, 1]},
    "dilation": {"dilations": [2, 2], "strides": [2, 2]},
    "dilation 2, stride 3": {"dilations": [2, 3], "strides": [3, 2]},
    "dilation 4, stride 6": {"dilations": [4, 1], "strides": [6, 1]},
    "kernel below stride": {"strides": [4, 5]},
    "group 2": {"group": 2, "strides": [2, 2]},
    "depthwise": {"group": 4, "strides": [2, 1], "pads": [1, 0, 0, 1]},
    "same upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "same lower": {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    "output shape": {"output_shape": [9, 13], "strides": [2, 2]},
    "output shape, same upper": {"output_shape": [10, 13], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "valid": {"auto_pad": "VALID", "strides": [2, 2]},
}


def transposed(x: str = "int8", w: str = "int8", axis: int | None = None, bias: bool = True, **attrs: Any) -> bytes:
    m = Model(3)
    v = m.qdq(m.input([1, 4, 5, 6]), x)
    group = attrs.get("group", 1)
    inputs = [v, m.weights((4, 8 // group, 3, 3), w, axis)]
    if bias:
        scale = np.float32(m.scales[v]) * np.float32(0.01)
        data = m.const(m.rng.integers(-3000, 3000, 8), np.int32)
        inputs.append(m.node("DequantizeLinear", [data, m.const(scale), m.const(np.int32(0))]))
    return m.build(m.qdq(m.node("ConvTranspose", inputs, **attrs), x, 0.3))


@pytest.mark.parametrize("case", TRANSPOSED)
@pytest.mark.parametrize("signs", SIGNS)
def test_conv_transpose(case: str, signs: tuple[str, str]) -> None:
    check_onnx(transposed(*signs, **TRANSPOSED[case]), **FLOAT)


@pytest.mark.parametrize("group", (1, 2))
def test_conv_transpose_per_channel(group: int) -> None:
    check_onnx(transposed(axis=1, bias=False, group=group, strides=[2, 2]), **FLOAT)


def test_conv_transpose_of_a_sequence() -> None:
    m = Model(5)
    v = m.qdq(m.input([1, 4, 9]))
    w = m.weights((4, 6, 4), axis=None)
    blob = m.build(m.qdq(m.node("ConvTranspose", [v, w], strides=[2], pads=[1, 1]), scale=0.3))
    check_onnx(blob, transposes=1, **FLOAT)  # the sequence comes channels first


def test_a_transposed_convolution_of_a_volume_is_refused() -> None:
    m = Model(5)
    v = m.qdq(m.input([1, 4, 3, 3, 3]))
    w = m.weights((4, 6, 2, 2, 2), axis=None)
    with pytest.raises(McucError, match="1D or 2D"):
        load(m.build(m.qdq(m.node("ConvTranspose", [v, w]))))


def agrees(blob: bytes, **allowed: Any) -> Graph:
    """As check_onnx; values of rank 4 are channels last in C, so that some of these products need transposes."""
    return check_onnx(blob, transposes=sum(n.op == "transpose" for n in load(blob)[0].nodes), **allowed)


# Shapes of x and y, how they come: "xy" both at run time, "x" or "y" one of them, the other a constant.
MATMUL: dict[str, tuple[tuple[int, ...], tuple[int, ...], str]] = {
    "matrices": ((5, 9), (9, 6), "xy"),
    "batches": ((1, 3, 5, 8), (1, 3, 8, 6), "xy"),
    "broadcast": ((2, 1, 5, 8), (3, 8, 6), "xy"),
    "matrix on the right": ((1, 3, 5, 8), (8, 6), "xy"),
    "row": ((8,), (8, 6), "xy"),
    "column": ((1, 5, 8), (8,), "xy"),
    "constant on the left": ((5, 9), (1, 2, 9, 6), "y"),
    "constant in batches": ((1, 3, 5, 8), (3, 8, 6), "x"),
    "constant column": ((1, 5, 8), (8,), "x"),
    "five axes": ((1, 2, 2, 3, 4), (1, 2, 2, 4, 5), "xy"),
}


def matmul(case: str, left: str, right: str) -> bytes:
    m = Model(7)
    x_shape, y_shape, runtime = MATMUL[case]
    x = m.qdq(m.input(x_shape), left) if "x" in runtime else m.weights(x_shape, left, None)
    y = m.qdq(m.input(y_shape), right) if "y" in runtime else m.weights(y_shape, right, None)
    return m.build(m.qdq(m.node("MatMul", [x, y]), left, 0.3))


@pytest.mark.parametrize("case", MATMUL)
@pytest.mark.parametrize("signs", SIGNS)
def test_matmul(case: str, signs: tuple[str, str]) -> None:
    agrees(matmul(case, *signs))


@pytest.mark.parametrize("types", [("int8", "int8"), ("uint8", "uint8"), ("uint8", "int8")])
def test_qlinear_matmul_of_two_inputs(types: tuple[str, str]) -> None:
    m = Model(8)
    x, y = m.input((2, 3, 5, 8), types[0]), m.input((2, 3, 8, 6), types[1])
    out = m.node("QLinearMatMul", [x, *m.params(types[0]), y, *m.params(types[1]), *m.params(types[0], 0.3)])
    agrees(m.build(out))


def test_a_transposed_operand_is_read_as_it_lies() -> None:
    """Attention's query times key: the transpose is the product's."""
    m = Model(9)
    q, k = m.qdq(m.input((2, 5, 8))), m.qdq(m.input((2, 6, 8)))
    turned = m.node("Transpose", [k], perm=[0, 2, 1])
    graph = check_onnx(m.build(m.qdq(m.node("MatMul", [q, turned]), scale=0.3)))
    assert [n.attrs.adj_y for n in graph.nodes if n.op == "batch_matmul"] == [True]


GEMM: dict[str, dict[str, Any]] = {
    "plain": {},
    "transB": {"transB": 1},
    "transA": {"transA": 1},
    "both": {"transA": 1, "transB": 1},
    "alpha": {"alpha": 0.5, "transB": 1},
}


@pytest.mark.parametrize("case", GEMM)
def test_gemm_of_two_inputs(case: str) -> None:
    """ONNX Runtime computes it in float where both operands are run-time values."""
    m = Model(10)
    attrs = GEMM[case]
    x = m.qdq(m.input((8, 5) if attrs.get("transA") else (5, 8)))
    y = m.qdq(m.input((6, 8) if attrs.get("transB") else (8, 6)))
    bias = m.const(m.rng.uniform(-2, 2, 6), np.float32)
    blob = m.build(m.qdq(m.node("Gemm", [x, y, bias], **attrs), scale=0.3))
    turns = bool(attrs.get("transA")) + (not attrs.get("transB"))
    check_onnx(blob, transposes=turns, **FLOAT)


def test_a_scaled_product_of_two_inputs_is_refused_under_tflites_rounding() -> None:
    m = Model(10)
    x, y = m.qdq(m.input((5, 8))), m.qdq(m.input((6, 8)))
    graph, _ = load(m.build(m.qdq(m.node("Gemm", [x, y], alpha=0.5, transB=1), scale=0.3)))
    with pytest.raises(McucError, match="factor of the sums"):
        retarget(graph)


EINSUM = {
    "bij,bjk->bik": ((2, 5, 8), (2, 8, 6)),
    "bhid,bhjd->bhij": ((1, 2, 5, 8), (1, 2, 6, 8)),
    "ij,jk->ik": ((5, 8), (8, 6)),
    "bij,bjk->bki": ((2, 5, 8), (2, 8, 6)),
    "bjhd,bkhd->bhjk": ((1, 5, 2, 8), (1, 6, 2, 8)),
}


@pytest.mark.parametrize("equation", EINSUM)
def test_einsum(equation: str) -> None:
    m = Model(11)
    x_shape, y_shape = EINSUM[equation]
    x, y = m.qdq(m.input(x_shape)), m.qdq(m.input(y_shape))
    blob = m.build(m.qdq(m.node("Einsum", [x, y], equation=equation), scale=0.3))
    agrees(blob, **FLOAT)


@pytest.mark.parametrize("equation", ("ij,jk->i", "ii,ij->ij", "ij,kl->ijkl", "ij,ij->ij", "...ij,jk->...ik"))
def test_an_einsum_that_is_no_product_of_matrices_is_refused(equation: str) -> None:
    m = Model(12)
    x, y = m.qdq(m.input((5, 5))), m.qdq(m.input((5, 5)))
    with pytest.raises(McucError, match="not a product of two matrices"):
        load(m.build(m.qdq(m.node("Einsum", [x, y], equation=equation))))


VOLUMES: dict[str, dict[str, Any]] = {
    "plain": {},
    "pads": {"pads": [1, 1, 1, 1, 1, 1]},
    "odd pads": {"pads": [1, 0, 2, 0, 1, 0]},
    "strides": {"strides": [2, 1, 2]},
    "dilations": {"dilations": [2, 1, 2], "pads": [2, 1, 2, 2, 1, 2]},
    "groups": {"group": 2},
    "same": {"auto_pad": "SAME_UPPER", "strides": [2, 2, 2]},
    "1x1x1": {"kernel": (1, 1, 1)},
    "1x1x1, padded in depth": {"kernel": (1, 1, 1), "pads": [1, 0, 0, 1, 0, 0]},
}


def volume(x: str = "int8", w: str = "int8", **attrs: Any) -> bytes:
    """The input comes as NDHWC, which the file's own transpose says."""
    m = Model(13)
    v = m.node("Transpose", [m.qdq(m.input((1, 4, 5, 6, 4)), x)], perm=[0, 4, 1, 2, 3])
    weights = m.weights((6, 4 // attrs.get("group", 1), *attrs.pop("kernel", (3, 2, 3))), w)
    return m.build(m.qdq(m.node("Conv", [v, weights, m.bias(6, v, weights)], **attrs), x, 0.3))


@pytest.mark.parametrize("case", VOLUMES)
@pytest.mark.parametrize("signs", SIGNS)
def test_convolution_of_a_volume(case: str, signs: tuple[str, str]) -> None:
    agrees(volume(*signs, **VOLUMES[case]))


def test_c_equals_reference(tmp_path: Path) -> None:
    """Transposed convolutions and products with ONNX Runtime's rounding, in every tiling."""
    blobs = [transposed(**TRANSPOSED[c]) for c in ("dilation 2, stride 3", "group 2", "depthwise", "output padding")]
    blobs += [matmul(c, "int8", "int8") for c in ("batches", "broadcast", "constant on the left", "column")]
    blobs += [volume(**VOLUMES[case]) for case in VOLUMES]
    check_c([load(blob)[0] for blob in blobs], tmp_path, optimize=True)
