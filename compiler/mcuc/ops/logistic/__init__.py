"""The logistic function (sigmoid) as a table."""

from __future__ import annotations

from mcuc.ops._base import Operator, int8_runtime, no_cost
from mcuc.ops._unary import infer, lower, reference
from mcuc.ops.logistic.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.logistic.tflite import as_tflite, from_tflite, to_tflite

OPERATOR = Operator(
    name="logistic",
    summary="logistic function",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime,),
    tflite=("LOGISTIC",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    as_tflite=as_tflite,
)
