"""The operators: one folder each, listed once below."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from mcuc.errors import McucError
from mcuc.ops._base import Operator

# keep sorted
NAMES = (
    "add",
    "add_n",
    "argmax",
    "assign",
    "average_pool_2d",
    "batch_matmul",
    "cast",
    "clip",
    "compare",
    "concat",
    "conv_2d",
    "conv_2d_add",
    "conv_3d",
    "cumsum",
    "depthwise_conv_2d",
    "dequantize",
    "divide",
    "extremum",
    "fill",
    "float_math",
    "fully_connected",
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
    "mean",
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
    "space_batch",
    "split",
    "squared_difference",
    "svdf",
    "take",
    "transpose",
    "transpose_conv",
    "unary",
    "update_slice",
)


@cache
def get(name: str) -> Operator:
    """The operator of that name in NAMES."""
    operator: Operator = import_module(f"mcuc.ops.{name}").OPERATOR
    return operator


@cache
def _tflite_table() -> dict[str, str]:
    return {kind: name for name in NAMES for kind in get(name).tflite}


@cache
def _onnx_table() -> dict[str, str]:
    return {kind: name for name in NAMES for kind in get(name).onnx}


def find_tflite(kind: str, where: str) -> Operator:
    """The operator for a TFLite builtin name. Raises McucError("unsupported-operator")."""
    return _find(_tflite_table(), kind, where, "TFLite")


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
