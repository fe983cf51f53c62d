"""The operators: one folder each, listed once below."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module

from mcuc.errors import McucError
from mcuc.ir import DType, Tensor
from mcuc.ops._base import Operator

# keep sorted
NAMES = (
    "add",
    "add_n",
    "argmax",
    "assign",
    "average_pool_2d",
    "average_pool_2d_16",
    "batch_matmul",
    "batch_matmul_16",
    "binary_16",
    "cast",
    "clip",
    "compare",
    "concat",
    "concat_dense",
    "conv_2d",
    "conv_2d_16x8",
    "conv_2d_add",
    "conv_3d",
    "cumsum",
    "depthwise_conv_2d",
    "depthwise_conv_2d_16x8",
    "dequantize",
    "divide",
    "extremum",
    "fill",
    "float_math",
    "fully_connected",
    "fully_connected_16x8",
    "gather",
    "gather_nd",
    "integer_math",
    "l2_normalization",
    "layer_norm",
    "log_softmax",
    "logical",
    "logistic",
    "lstm",
    "max_pool_2d",
    "max_pool_2d_16",
    "mean",
    "mean_16",
    "mul",
    "one_hot",
    "pack",
    "pad",
    "prelu",
    "qlinear_add",
    "qlinear_average_pool",
    "qlinear_mul",
    "qlinear_softmax",
    "quantize",
    "quantize_16",
    "rearrange",
    "recurrent",
    "reduce",
    "reduce_prod",
    "reshape",
    "resize_bilinear",
    "resize_cubic",
    "resize_nearest",
    "rms_norm",
    "scatter_nd",
    "select",
    "shape",
    "slice",
    "softmax",
    "softmax_16",
    "space_batch",
    "split",
    "squared_difference",
    "svdf",
    "take",
    "transpose",
    "transpose_conv",
    "transpose_conv_16x8",
    "unary",
    "unary_16",
    "update_slice",
)


@cache
def get(name: str) -> Operator:
    """The operator of that name in NAMES."""
    operator: Operator = import_module(f"mcuc.ops.{name}").OPERATOR
    return operator


@cache
def _tflite_table(wide: bool = False) -> dict[str, str]:
    return {kind: name for name in NAMES for kind in get(name).tflite if get(name).wide == wide}


@cache
def _onnx_table() -> dict[str, str]:
    return {kind: name for name in NAMES for kind in get(name).onnx}


def find_tflite(kind: str, where: str, wide: bool = False) -> Operator:
    """The operator for a TFLite builtin name; wide: of a node with int16 activations, which has operators of its own
    where it computes. Raises McucError("unsupported-operator")."""
    if wide and kind in _tflite_table(wide):
        return get(_tflite_table(wide)[kind])
    return _find(_tflite_table(), kind, where, "TFLite")


def wide_kinds() -> frozenset[str]:
    """The TFLite operators that have operators of their own for int16 activations."""
    return frozenset(_tflite_table(True))


def is_wide(inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> bool:
    """Whether the activations of a node are int16: what it writes, or what it reads first."""
    return any(t is not None and t.dtype is DType.INT16 for t in (*inputs[:2], *outputs[:1]))


def find_onnx(kind: str, where: str) -> Operator:
    """The operator for an ONNX op type. Raises McucError("unsupported-operator")."""
    return _find(_onnx_table(), kind, where, "ONNX")


def _find(table: dict[str, str], kind: str, where: str, family: str) -> Operator:
    if kind not in table:
        raise McucError(
            "unsupported-operator",
            f"{family} operator {kind} is not supported",
            where=where,
            try_this="run `mcuc check MODEL` for every node's verdict and `mcuc ops` for what is supported",
        )
    return get(table[kind])
