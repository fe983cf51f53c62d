"""MEAN and SUM of TFLite."""

from __future__ import annotations

from math import prod

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Requant, Tensor
from mcuc.numerics import divide_multiplier, quantize_multiplier
from mcuc.ops._axes import axes_constant, file_axes
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._tflite import checked_activation
from mcuc.ops.mean.attrs import MeanAttrs, is_sum


def from_tflite(node: Imported) -> Built:
    """The axes are a constant and become attributes. Raises McucError on float tensors or axes out of range."""
    x = checked_activation(node, 0)
    if node.kind == "SUM" and node.unsigned:
        raise McucError(
            "unsupported-operator",
            "SUM of uint8 tensors is not supported",
            where=node.where,
            try_this="convert the model again with int8 activations",
        )
    return Built("mean", (x.name,), mean_attrs(node, x))


def mean_attrs(node: Imported, x: Tensor) -> MeanAttrs:
    """The attributes over x of any type. Raises McucError for axes out of range."""
    out, axes = node.outputs[0], file_axes(node, x)
    m, s = quantize_multiplier(scale_of(x, node.where) / scale_of(out, node.where))
    if node.kind == "MEAN":
        m, s = divide_multiplier(m, s, prod(x.shape[a] for a in axes))
    return MeanAttrs(
        axes,
        bool(node.options.keepDims),
        Requant("tflite_double", (m,), (s,)),
        zero_point_of(x, node.where),
        zero_point_of(out, node.where),
    )


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As MEAN or SUM with a constant of axes."""
    attrs: MeanAttrs = node.attrs
    constant = axes_constant(node, attrs.axes)
    kind = "SUM" if is_sum(attrs, graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]) else "MEAN"
    return Exported(
        kind, "ReducerOptions", {"keepDims": attrs.keep_dims}, (node.inputs[0], constant.name), (constant,)
    )
