"""Gemm and MatMul of ONNX."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node
from mcuc.ops._base import Built, Imported, zero_point_of
from mcuc.ops._conv import ConvAttrs
from mcuc.ops._onnx import (
    OnnxNode,
    activation,
    bias_tensor,
    clamp_of,
    not_exportable,
    requant,
    weight_zero_points,
    weights_constant,
)

KINDS = ("Gemm",)


def from_onnx(node: Imported) -> Built:
    """x [..., k], weights already as [oc, k] with scales along axis 0, constant or computed at run time;
    options["alpha"] scales the product."""
    x = activation(node, 0)
    weights, shape = node.input(1), node.input(1).shape
    if len(shape) != 2 or weights.quant is None or weights.dtype is not DType.INT8 or shape[1] < 1 or (
        x.shape[-1] != shape[1]
    ):
        raise McucError(
            "broken-model",
            f"input {x.shape} does not fit weights {weights.dtype.value}{shape}",
            where=node.where,
            try_this="check that the model file is complete and its weights are int8 or uint8",
        )
    oc = shape[0]
    if len(weights.quant.scale) not in (1, oc):
        raise McucError(
            "unsupported-quantization",
            f"{len(weights.quant.scale)} weight scales for {oc} outputs",
            where=node.where,
            try_this="quantize the weights per tensor or per output",
        )
    attrs = ConvAttrs(
        requant=requant(node, weights, float(node.options.get("alpha", 1.0))),
        output_zero_point=zero_point_of(node.outputs[0], node.where),
        clamp=clamp_of(node),
        input_zero_point=zero_point_of(x, node.where),
        weight_zero_point=weight_zero_points(weights),
    )
    bias = bias_tensor(node, 2, weights, oc)
    more = () if bias is None else (bias,)
    if weights.data is None:
        return Built("fully_connected", (x.name, weights.name, *(t.name for t in more)), attrs, more)
    alpha = np.float32(node.options.get("alpha", 1.0))  # a part of the weights from here on
    scaled = replace(weights.quant, scale=tuple(float(alpha * np.float32(s)) for s in weights.quant.scale))
    own = replace(weights, quant=scaled)
    constants = (weights_constant(f"{node.outputs[0].name}/weights", own, weights.data), *more)
    return Built("fully_connected", (x.name, *(t.name for t in constants)), attrs, constants)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Gemm with transB; x must be [rows, k] (the exporter reshapes)."""
    weights = graph.tensors[node.inputs[1]]
    if weights.data is None:
        raise not_exportable(node, "its weights are computed at run time")
    assert weights.quant is not None
    moved = replace(weights, quant=replace(weights.quant, axis=0 if len(weights.quant.scale) > 1 else None))
    return OnnxNode(
        "Gemm",
        (node.inputs[0], moved.name, *node.inputs[2:3]),
        {"transB": 1},
        (moved,),
        channels_first=False,
        after=node.attrs.clamp,
    )
