"""CONV_2D of TFLite with int16 activations."""

from __future__ import annotations

from mcuc.ir import DType
from mcuc.ops._base import Built, Imported
from mcuc.ops._conv_tflite import misfit
from mcuc.ops._tflite import weight_tensor
from mcuc.ops._wide import wide_activation, wide_bias
from mcuc.ops._wide_tflite import built


def from_tflite(node: Imported) -> Built:
    """Weights OHWI, bias int64 or int32. Raises McucError on other types or misfitting shapes."""
    x = wide_activation(node, 0)
    weights = weight_tensor(node, 1, 4)
    oc, kh, kw, cg = weights.shape
    channels = x.shape[-1]
    if len(x.shape) != 4 or cg < 1 or channels % cg or oc % max(1, channels // cg):
        raise misfit(node, x, weights)
    bias = wide_bias(node, 2, oc, (DType.INT64, DType.INT32))
    return built("conv_2d_16x8", node, weights, bias, (kh, kw), channels // cg)
