"""SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND of TFLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported, zero_point_of
from mcuc.ops._tflite import beyond_micro

if TYPE_CHECKING:
    from mcuc.ops.space_batch import SpaceBatchAttrs

MOST = 1 << 15  # of a block, a padding or a crop


def from_tflite(node: Imported) -> Built:
    """Blocks, paddings and crops are constants. The padding is the output's zero point, as TFLite has it; TFLite Micro
    fills with 0, whatever real number that is (its Prepare leaves output_offset unset), which a note tells.
    """
    from mcuc.ops.space_batch import SpaceBatchAttrs

    x, out = node.input(0), node.outputs[0]
    block = tuple(int(b) for b in node.constant(1).reshape(-1))
    edges = node.constant(2).astype(np.int64)
    rank = len(x.shape)
    fits = 1 <= len(block) <= rank - 1 and edges.shape == (len(block), 2)
    if not fits or min(block) < 1 or max(block) > MOST or edges.min() < 0 or edges.max() > MOST:
        raise McucError(
            "broken-model",
            f"{node.kind} of {x.shape} by blocks {block} and edges {edges.tolist()}",
            where=node.where,
            try_this="check that the model file is complete",
        )
    to_batch = node.kind == "SPACE_TO_BATCH_ND"
    value = zero_point_of(out, node.where) if to_batch and x.dtype is DType.INT8 else 0
    pairs = tuple((int(a), int(b)) for a, b in edges)
    notes = beyond_micro(node, f"padded with the zero point {value}, not with 0") if value and edges.any() else ()
    return Built("space_batch", (x.name,), SpaceBatchAttrs(block, pairs, to_batch, value), notes=notes)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As SPACE_TO_BATCH_ND or BATCH_TO_SPACE_ND."""
    attrs: SpaceBatchAttrs = node.attrs

    def constant(what: str, values: object) -> Tensor:
        data = np.array(values, np.int32)
        return Tensor(f"{node.outputs[0]}/{what}", data.shape, DType.INT32, None, data)

    parts = (constant("block", attrs.block), constant("edges", attrs.edges))
    kind = "SPACE_TO_BATCH_ND" if attrs.to_batch else "BATCH_TO_SPACE_ND"
    return Exported(kind, inputs=(node.inputs[0], *(t.name for t in parts)), constants=parts)
