"""FULLY_CONNECTED of TFLite with int16 activations."""

from __future__ import annotations

from mcuc.ir import DType
from mcuc.ops._base import Built, Imported
from mcuc.ops._conv_tflite import misfit
from mcuc.ops._tflite import weight_tensor
from mcuc.ops._wide import wide_activation, wide_bias
from mcuc.ops._wide_tflite import built


def from_tflite(node: Imported) -> Built:
    """Weights [oc, k], per tensor or per output channel, bias int64. Raises McucError on other types or misfitting
    shapes."""
    x = wide_activation(node, 0)
    weights = weight_tensor(node, 1, 2)
    oc, k = weights.shape
    if k < 1 or x.elements % k:
        raise misfit(node, x, weights)
    return built("fully_connected_16x8", node, weights, wide_bias(node, 2, oc, (DType.INT64,)))
