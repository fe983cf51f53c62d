"""MEAN of TFLite."""

from __future__ import annotations

from math import prod

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Requant, Tensor
from mcuc.numerics import divide_multiplier, quantize_multiplier
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._tflite import checked_activation
from mcuc.ops.mean.attrs import MeanAttrs


def from_tflite(node: Imported) -> Built:
    """The axes are a constant and become attributes. Raises McucError on float tensors or axes out of range."""
    x, out = checked_activation(node, 0), node.outputs[0]
    rank = len(x.shape)
    raw = [int(a) for a in np.asarray(node.constant(1)).reshape(-1)]
    if any(not -rank <= a < rank for a in raw):
        raise McucError(
            "broken-model",
            f"axes {raw} of a tensor of rank {rank}",
            where=node.where,
            try_this="check that the model file is complete",
        )
    axes = tuple(sorted({a % rank for a in raw}))
    m, s = quantize_multiplier(scale_of(x, node.where) / scale_of(out, node.where))
    m, s = divide_multiplier(m, s, prod(x.shape[a] for a in axes))
    attrs = MeanAttrs(
        axes,
        bool(node.options.keepDims),
        Requant("tflite_double", (m,), (s,)),
        zero_point_of(x, node.where),
        zero_point_of(out, node.where),
    )
    return Built("mean", (x.name,), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As MEAN with a constant of axes."""
    attrs: MeanAttrs = node.attrs
    axes = np.array(attrs.axes, np.int32)
    constant = Tensor(f"{node.outputs[0]}/axes", axes.shape, DType.INT32, None, axes)
    return Exported(
        "MEAN", "ReducerOptions", {"keepDims": attrs.keep_dims}, (node.inputs[0], constant.name), (constant,)
    )
