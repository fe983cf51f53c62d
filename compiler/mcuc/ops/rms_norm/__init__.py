"""RMS normalisation: each row over its root mean square, times gamma."""

from __future__ import annotations

from mcuc.ops._base import Operator, int8_runtime
from mcuc.ops._norm import cost, infer, lower, reference, short_rows
from mcuc.ops.rms_norm.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.rms_norm.tflite import as_tflite

OPERATOR = Operator(
    name="rms_norm",
    summary="division by the root mean square over the last axes, in integers",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, short_rows),
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    as_tflite=as_tflite,
    in_place=True,
)
