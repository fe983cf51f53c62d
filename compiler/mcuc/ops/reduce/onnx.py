"""ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSum, ReduceMax and ReduceMin of ONNX.

ONNX Runtime sums float32 values one after the other; here the integers are summed exactly and scaled once, which may
differ by the rounding of the float sum. The largest and the smallest are chosen, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array
from mcuc.ops._axes import thresholds
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._onnx import activation
from mcuc.ops.reduce.attrs import ReduceAttrs

KINDS = ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceMax", "ReduceMin")


def _function(kind: str, scale: float) -> Callable[[Array], Array]:
    """The real result for sums of steps, of their magnitudes, or of their squares."""
    match kind:
        case "ReduceL2":
            return lambda s: np.sqrt(s.astype(np.float64)) * scale
        case "ReduceSumSquare":
            return lambda s: s.astype(np.float64) * scale * scale
        case "ReduceLogSum":
            return lambda s: np.log(np.maximum(s.astype(np.float64) * scale, 0.0))
    return lambda s: s.astype(np.float64) * scale


def from_onnx(node: Imported) -> Built:
    """options: axes (stored), keep_dims. The steps from the input's zero point are what is summed."""
    x, out = activation(node, 0), node.outputs[0]
    axes, keep = tuple(node.options["axes"]), bool(node.options["keep_dims"])
    if node.kind in ("ReduceMax", "ReduceMin"):
        return Built("reduce", (x.name,), ReduceAttrs("max" if node.kind == "ReduceMax" else "min", axes, keep))
    zero, count = zero_point_of(x, node.where), prod(x.shape[a] for a in axes)
    if node.kind == "ReduceLogSum" and zero != -128:
        raise McucError("unsupported-quantization", "ReduceLogSum of values that may be negative", where=node.where,
                        try_this="quantize its input to positive values only (zero point -128, or 0 of uint8)")
    steps = np.arange(-128, 128) - zero
    if node.kind == "ReduceL1":
        steps = np.abs(steps)
    elif node.kind in ("ReduceL2", "ReduceSumSquare"):
        steps = steps**2
    real = _function(node.kind, scale_of(x, node.where))
    below, to_zero = scale_of(out, node.where), zero_point_of(out, node.where)

    def function(sums: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(np.rint(real(sums) / below) + to_zero)

    limits = thresholds(function, int(steps.min()) * count, int(steps.max()) * count)
    return Built("reduce", (x.name,), ReduceAttrs("sum", axes, keep, tuple(int(v) for v in steps), limits))
