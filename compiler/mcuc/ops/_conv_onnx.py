"""What Conv, over images and over volumes, and ConvTranspose of ONNX share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, Tensor
from mcuc.ops._base import Built, Imported, zero_point_of
from mcuc.ops._onnx import activation, bias_tensor, clamp_of, requant, weight_zero_points, weights_constant, window_of


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution as it was read: its input, its weights in the node's order, their array, the fields of ConvAttrs
    and the bias as int32."""

    x: Tensor
    weights: Tensor
    array: Array
    attrs: dict[str, Any]
    bias: Tensor | None

    def built(self, op: str, node: Imported, attrs: Any, weights: Array, axis: int | None = None) -> Built:
        """The operator with its weights in another order. axis: that of their channels, where it is not the file's."""
        moved = weights_constant(f"{node.outputs[0].name}/weights", self.weights, weights, axis)
        constants = (moved,) if self.bias is None else (moved, self.bias)
        return Built(op, (self.x.name, *(t.name for t in constants)), attrs, constants)


def convolution(node: Imported, rank: int, inputs: int) -> Convolution:
    """x with its channels last, weights of that rank with outputs along axis 0 and a group's inputs along axis
    `inputs`. Raises McucError where they do not belong together."""
    x, weights, w = activation(node, 0), node.input(1), node.constant(1)
    group = int(node.options["group"])
    fits = w.ndim == rank and len(x.shape) == rank and weights.quant is not None and w.dtype == np.int8 and group > 0
    if not fits or w.shape[inputs] * group != x.shape[-1] or w.shape[0] % group:
        raise McucError(
            "broken-model",
            f"input {x.shape} does not fit weights {w.dtype}{w.shape} in {group} groups",
            where=node.where,
            try_this="check that the model file is complete and its weights are int8 or uint8",
        )
    channels = w.shape[0]
    assert weights.quant is not None
    if len(weights.quant.scale) not in (1, channels):
        raise McucError(
            "unsupported-quantization",
            f"{len(weights.quant.scale)} weight scales for {channels} output channels",
            where=node.where,
            try_this="quantize the weights per tensor or per output channel (axis 0)",
        )
    zero_point = zero_point_of(x, node.where)
    attrs = {
        "requant": requant(node, weights),
        "output_zero_point": zero_point_of(node.outputs[0], node.where),
        "clamp": clamp_of(node),
        "input_zero_point": zero_point,
        "pad_value": zero_point,
        "weight_zero_point": weight_zero_points(weights),
        "window": window_of(node),
        "groups": group,
    }
    return Convolution(x, weights, w, attrs, bias_tensor(node, 2, weights, channels))
