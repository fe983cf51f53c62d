"""Functions of one value as tables of 256 bytes: tanh, hard-swish, gelu, elu, exp, abs and their like."""

from __future__ import annotations

from mcuc.ops._base import Operator, int8_runtime, no_cost
from mcuc.ops._unary import infer, lower, reference
from mcuc.ops.unary.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.unary.tflite import TABLES, as_tflite, from_tflite, to_tflite

OPERATOR = Operator(
    name="unary",
    summary="tanh, hard-swish, leaky relu, gelu, elu, exp, log, abs and other functions of one value",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime,),
    tflite=tuple(TABLES),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    as_tflite=as_tflite,
    in_place=True,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
