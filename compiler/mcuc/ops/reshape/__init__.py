"""Reshape, squeeze, expand dims: the same bytes under another shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost
from mcuc.ops._move import gather_call, moved_types
from mcuc.ops.reshape.onnx import KINDS, from_onnx, to_onnx


@dataclass(frozen=True)
class ReshapeAttrs:
    """shape: of the output."""

    shape: tuple[int, ...]


def from_tflite(node: Imported) -> Built:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the output's declared shape holds; a computed shape input is kept for folding."""
    x, out = node.input(0), node.outputs[0]
    if x.elements != out.elements:
        raise McucError(
            "broken-model",
            f"{node.kind} turns {x.shape} into {out.shape}",
            where=node.where,
            try_this="export the model with batch size 1; check that the file is complete",
        )
    shape = node.optional(1) if node.kind == "RESHAPE" else None
    computed = (shape.name,) if shape is not None and shape.data is None else ()
    return Built("reshape", (x.name, *computed), ReshapeAttrs(out.shape))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As RESHAPE with a constant shape."""
    shape = np.array(node.attrs.shape, np.int32)
    constant = Tensor(f"{node.outputs[0]}/shape", shape.shape, DType.INT32, None, shape)
    return Exported(
        "RESHAPE",
        "ReshapeOptions",
        {"newShape": list(node.attrs.shape)},
        inputs=(node.inputs[0], constant.name),
        constants=(constant,),
    )


def infer(attrs: ReshapeAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The attribute's shape."""
    return (attrs.shape,)


def reference(attrs: ReshapeAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x of any type, same elements in the same order."""
    x = arrays[0]
    assert x is not None
    return (x.reshape(attrs.shape),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A plain copy, for the places where the bytes cannot be shared."""
    n = graph.tensors[node.inputs[0]].bytes
    return (gather_call([(n, 1)], 0),)


def known_shape(node: Node, graph: Graph) -> str | None:
    """The new shape is known at compile time."""
    if len(node.inputs) > 1 and graph.tensors[node.inputs[1]].data is None:
        return f"the shape {node.inputs[1]!r} is computed at run time"
    return None


OPERATOR = Operator(
    name="reshape",
    summary="reshape, squeeze, expand dims",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(moved_types, known_shape),
    tflite=("EXPAND_DIMS", "RESHAPE", "SQUEEZE"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    alias=True,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
