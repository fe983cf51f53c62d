"""Attributes of TFLite's convolutions and pools with int16 activations."""

from __future__ import annotations

from mcuc.ir import Tensor
from mcuc.ops._base import Built, Imported
from mcuc.ops._conv import UNIT, ConvAttrs
from mcuc.ops._pool import window_attrs
from mcuc.ops._spatial import tflite_window
from mcuc.ops._tflite import activation_range
from mcuc.ops._wide import wide_activation, wide_requant, wide_tensor


def built(
    op: str,
    node: Imported,
    weights: Tensor,
    bias: Tensor | None,
    kernel: tuple[int, int] | None = None,
    groups: int = 1,
) -> Built:
    """The node with its constants; kernel: of a convolution over x [1, h, w, c]. Raises McucError for an output of
    another type."""
    x = node.input(0)
    wide_tensor(node, node.outputs[0])
    attrs = ConvAttrs(
        requant=wide_requant(node, x, weights, bias),
        output_zero_point=0,
        clamp=activation_range(node.options.fusedActivationFunction, node.outputs[0], node.where),
        window=UNIT
        if kernel is None
        else tflite_window(node.options, (x.shape[1], x.shape[2]), kernel, node.where),
        groups=groups,
    )
    return Built(op, (x.name, weights.name, *(() if bias is None else (bias.name,))), attrs)


def pool_from_tflite(op: str, node: Imported) -> Built:
    """Raises McucError for other types, and as window_attrs."""
    x = wide_activation(node, 0)
    wide_tensor(node, node.outputs[0])
    return Built(op, (x.name,), window_attrs(node, x))
