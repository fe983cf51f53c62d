"""Transpose: any permutation of any number of axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost
from mcuc.ops._move import Axis, element_bytes, gather_call, in_bytes, moved_types, strides
from mcuc.ops.transpose.onnx import KINDS, from_onnx, to_onnx


@dataclass(frozen=True)
class TransposeAttrs:
    """Output axis i is input axis perm[i]."""

    perm: tuple[int, ...]


def from_tflite(node: Imported) -> Built:
    """TRANSPOSE with a constant permutation."""
    x = node.input(0)
    rank = len(x.shape)
    perm = tuple(int(p) + (rank if p < 0 else 0) for p in node.constant(1).reshape(-1))
    if sorted(perm) != list(range(rank)):
        raise McucError(
            "broken-model",
            f"{perm} is no permutation of the axes of {x.shape}",
            where=node.where,
            try_this="check that the model file is complete",
        )
    return Built("transpose", (x.name,), TransposeAttrs(perm))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As TRANSPOSE with a constant permutation."""
    perm = np.array(node.attrs.perm, np.int32)
    constant = Tensor(f"{node.outputs[0]}/perm", perm.shape, DType.INT32, None, perm)
    return Exported("TRANSPOSE", "TransposeOptions", inputs=(node.inputs[0], constant.name), constants=(constant,))


def infer(attrs: TransposeAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The permuted shape."""
    return (tuple(inputs[0].shape[p] for p in attrs.perm),)


def reference(attrs: TransposeAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x of any type with its axes permuted."""
    x = arrays[0]
    assert x is not None
    return (np.ascontiguousarray(x.transpose(attrs.perm)),)


def output_axes(shape: tuple[int, ...], perm: tuple[int, ...]) -> list[Axis]:
    """The output's axes as extents and input strides."""
    steps = strides(shape)
    return [(shape[p], steps[p]) for p in perm]


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One gather of the move family."""
    axes = output_axes(graph.tensors[node.inputs[0]].shape, node.attrs.perm)
    return (gather_call(in_bytes(axes, element_bytes(node, graph)), 0),)


OPERATOR = Operator(
    name="transpose",
    summary="permute axes",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(moved_types,),
    tflite=("TRANSPOSE",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
