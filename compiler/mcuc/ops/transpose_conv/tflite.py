"""TRANSPOSE_CONV of TFLite."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported, zero_point_of
from mcuc.ops._conv_tflite import misfit
from mcuc.ops._spatial import Window, same_padding
from mcuc.ops._tflite import (
    activation_range,
    bias_inputs,
    checked_activation,
    fused_activation,
    weight_requant,
    weight_tensor,
)
from mcuc.ops.transpose_conv.attrs import TransposeConvAttrs


def from_tflite(node: Imported) -> Built:
    """Output shape (a constant), weights OHWI, x, bias. The padding is that of the convolution from output to input.

    Raises McucError on float tensors, on misfitting shapes and on uint8, which TFLite Micro has no kernel for.
    """
    x = checked_activation(node, 2)
    weights = weight_tensor(node, 1, 4)
    if node.unsigned:
        raise McucError(
            "unsupported-type",
            "TRANSPOSE_CONV of uint8 tensors",
            where=node.where,
            try_this="convert the model to int8",
        )
    window, size = file_window(node, x, weights)
    zero_point = zero_point_of(x, node.where)
    attrs = TransposeConvAttrs(
        requant=weight_requant(node, x, weights),
        output_zero_point=zero_point_of(node.outputs[0], node.where),
        clamp=activation_range(getattr(node.options, "fusedActivationFunction", 0), node.outputs[0], node.where),
        input_zero_point=zero_point,
        pad_value=zero_point,
        weight_zero_point=weights.quant.zero_point if weights.quant else (0,),
        window=window,
        size=size,
    )
    return Built("transpose_conv", (x.name, weights.name, *bias_inputs(node, 3, weights.shape[0])), attrs)


def file_window(node: Imported, x: Tensor, weights: Tensor) -> tuple[Window, tuple[int, int]]:
    """The window and the output's height and width, from the constant shape. Raises McucError where they do not fit."""
    shape = node.constant(0).reshape(-1).tolist()
    _, kh, kw, cg = weights.shape
    if len(x.shape) != 4 or cg < 1 or x.shape[3] != cg or len(shape) != 4 or shape != list(node.outputs[0].shape):
        raise misfit(node, x, weights)
    options = node.options
    stride = (int(options.strideH), int(options.strideW))
    if min(*stride, kh, kw, *shape) < 1 or max(*stride, kh, kw) > 1 << 15:
        raise McucError(
            "broken-model",
            f"stride {stride}, kernel {(kh, kw)}, output {shape} must be positive and not above 32768",
            where=node.where,
            try_this="check that the model file is complete",
        )
    size = (int(shape[1]), int(shape[2]))
    pad = same_padding(size, (kh, kw), stride) if options.padding == 0 else (0, 0, 0, 0)
    return Window((kh, kw), stride, (1, 1), pad), size


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As TRANSPOSE_CONV. Raises McucError where TFLite cannot express groups, dilation, the padding or the clamp."""
    attrs: TransposeConvAttrs = node.attrs
    out, window = graph.tensors[node.outputs[0]], attrs.window
    same = same_padding(attrs.size, window.kernel, window.stride)
    if attrs.groups != 1 or window.dilation != (1, 1) or window.pad[:2] not in ((0, 0), same[:2]):
        raise McucError(
            "not-exportable",
            f"TFLite has no transposed convolution in {attrs.groups} groups, dilated by {window.dilation} and padded "
            f"by {window.pad}",
            where=node.name,
            try_this="use one group, no dilation, and SAME or VALID padding",
        )
    shape = Tensor(f"{out.name}/shape", (4,), DType.INT32, None, np.array(out.shape, np.int32))
    fields = {
        "padding": 0 if window.pad[:2] == same[:2] and any(window.pad) else 1,
        "strideH": window.stride[0],
        "strideW": window.stride[1],
        "fusedActivationFunction": fused_activation(attrs.clamp, out, node.name),
    }
    x, w, *rest = node.inputs
    return Exported("TRANSPOSE_CONV", "TransposeConvOptions", fields, (shape.name, w, x, *rest), (shape,))
