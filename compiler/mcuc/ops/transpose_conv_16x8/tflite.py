"""TRANSPOSE_CONV of TFLite with int16 activations."""

from __future__ import annotations

from mcuc.ir import DType
from mcuc.ops._base import Built, Imported
from mcuc.ops._tflite import activation_range, weight_tensor
from mcuc.ops._wide import wide_activation, wide_bias, wide_requant, wide_tensor
from mcuc.ops.transpose_conv.attrs import TransposeConvAttrs
from mcuc.ops.transpose_conv.tflite import file_window


def from_tflite(node: Imported) -> Built:
    """Output shape (a constant), weights OHWI, x, bias int64. Raises McucError on other types or misfitting shapes."""
    x, out = wide_activation(node, 2), wide_tensor(node, node.outputs[0])
    weights = weight_tensor(node, 1, 4)
    window, size = file_window(node, x, weights)
    bias = wide_bias(node, 3, weights.shape[0], (DType.INT64,))
    attrs = TransposeConvAttrs(
        requant=wide_requant(node, x, weights, bias),
        output_zero_point=0,
        clamp=activation_range(getattr(node.options, "fusedActivationFunction", 0), out, node.where),
        window=window,
        size=size,
    )
    return Built("transpose_conv_16x8", (x.name, weights.name, *(() if bias is None else (bias.name,))), attrs)
