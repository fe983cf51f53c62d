"""Layer normalisation: each row less its mean, over its standard deviation, times gamma plus beta."""

from __future__ import annotations

from mcuc.ops._base import Operator, int8_runtime
from mcuc.ops._norm import cost, infer, lower, reference, short_rows
from mcuc.ops.layer_norm.onnx import KINDS, from_onnx, to_onnx

OPERATOR = Operator(
    name="layer_norm",
    summary="layer normalisation over the last axes, in integers",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, short_rows),
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    in_place=True,
)
