"""BATCH_MATMUL of TFLite."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Requant, Tensor
from mcuc.numerics import quantize_multiplier
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._matmul import MatmulAttrs
from mcuc.ops._tflite import FULL, checked_activation

MOST_RANK = 5


def from_tflite(node: Imported) -> Built:
    """x and y int8 of rank 2 to 5. Raises McucError on float tensors, other ranks, and uint8, which TFLite Micro has no
    kernel for."""
    x, y, out = checked_activation(node, 0), checked_activation(node, 1), node.outputs[0]
    if node.unsigned:
        raise McucError(
            "unsupported-type",
            "BATCH_MATMUL of uint8 tensors",
            where=node.where,
            try_this="convert the model to int8",
        )
    checked_ranks(node, x, y)
    attrs = MatmulAttrs(
        requant=float32_requant(x, y, out, node.where),
        output_zero_point=zero_point_of(out, node.where),
        clamp=FULL,
        input_zero_point=zero_point_of(x, node.where),
        weight_zero_point=(zero_point_of(y, node.where),),
        adj_x=bool(node.options.adjX),
        adj_y=bool(node.options.adjY),
    )
    return Built("batch_matmul", (x.name, y.name), attrs)


def checked_ranks(node: Imported, x: Tensor, y: Tensor) -> None:
    """Raises McucError for an operand of a rank other than 2 to 5."""
    for tensor in (x, y):
        if not 2 <= len(tensor.shape) <= MOST_RANK:
            raise McucError(
                "unsupported-rank",
                f"BATCH_MATMUL of tensor {tensor.name!r} of shape {tensor.shape}, rank 2 to {MOST_RANK} is supported",
                where=node.where,
                try_this="reshape the operands to [batch, rows, columns]",
            )


def float32_requant(x: Tensor, y: Tensor, out: Tensor, where: str) -> Requant:
    """The multiplier of x times y: the scales' product in float32 first (GetQuantizedConvolutionMultipler)."""
    product = float(np.float32(scale_of(x, where)) * np.float32(scale_of(y, where)))
    multiplier, shift = quantize_multiplier(product / scale_of(out, where))
    return Requant("tflite_double", (multiplier,), (shift,))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As BATCH_MATMUL. Raises McucError for a clamp, which TFLite has not."""
    attrs: MatmulAttrs = node.attrs
    if attrs.clamp != FULL:
        raise McucError(
            "not-exportable",
            f"TFLite's BATCH_MATMUL has no activation for the clamp {attrs.clamp}",
            where=node.name,
            try_this="put a RELU behind it",
        )
    return Exported("BATCH_MATMUL", "BatchMatMulOptions", {"adjX": attrs.adj_x, "adjY": attrs.adj_y})
