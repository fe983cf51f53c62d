"""Clamping of real values (relu, relu6, clip) with requantization, as a table."""

from __future__ import annotations

from mcuc.ops._base import Operator, int8_runtime, no_cost
from mcuc.ops._unary import infer, lower, reference
from mcuc.ops.clip.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.clip.tflite import as_tflite, from_tflite, to_tflite

OPERATOR = Operator(
    name="clip",
    summary="relu, relu6, clip",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime,),
    tflite=("RELU", "RELU6", "RELU_N1_TO_1"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    as_tflite=as_tflite,
)
