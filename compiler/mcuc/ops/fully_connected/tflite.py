"""FULLY_CONNECTED of TFLite."""

from __future__ import annotations

from dataclasses import replace

from mcuc.errors import McucError
from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Exported, Imported, zero_point_of
from mcuc.ops._conv import ConvAttrs
from mcuc.ops._tflite import (
    activation_range,
    bias_inputs,
    checked_activation,
    conv_requant,
    fused_activation,
    int8_weights,
)


def from_tflite(node: Imported) -> Built:
    """Weights [oc, k], per tensor or per output channel, constant or (per tensor) computed at run time.

    Raises McucError on float tensors or misfitting shapes.
    """
    x = checked_activation(node, 0)
    weights = int8_weights(node, 1, 2)
    if weights.data is None:
        zero_point_of(weights, node.where)
    oc, k = weights.shape
    if k < 1 or x.elements % k:
        raise McucError(
            "broken-model",
            f"input {x.shape} does not fit weights {weights.shape}",
            where=node.where,
            try_this="check that the model file is complete",
        )
    if getattr(node.options, "weightsFormat", 0) != 0:
        raise McucError(
            "unsupported-weights",
            "shuffled dense weights are not supported",
            where=node.where,
            try_this="convert the model without the shuffled 4x16 weights format",
        )
    requant = conv_requant(node, weights, float32_product=False)
    if node.unsigned:  # TFLite Micro has no uint8 dense layer; LiteRT's reference kernel rounds once
        requant = replace(requant, rule="tflite_single")
    attrs = ConvAttrs(
        requant=requant,
        output_zero_point=zero_point_of(node.outputs[0], node.where),
        clamp=activation_range(node.options.fusedActivationFunction, node.outputs[0], node.where),
        input_zero_point=zero_point_of(x, node.where),
        weight_zero_point=weights.quant.zero_point if weights.quant else (0,),
    )
    return Built("fully_connected", (x.name, weights.name, *bias_inputs(node, 2, oc)), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As FULLY_CONNECTED; keep_num_dims where the output has more than two dimensions."""
    out = graph.tensors[node.outputs[0]]
    return Exported(
        "FULLY_CONNECTED",
        "FullyConnectedOptions",
        {
            "keepNumDims": len(out.shape) != 2,
            "fusedActivationFunction": fused_activation(node.attrs.clamp, out, node.name),
        },
    )
