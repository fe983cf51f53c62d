"""Elements of a tensor along affine axes: depth to space and back, tiles, broadcasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops._move import Axis, element_bytes, gather_call, in_bytes, moved_types
from mcuc.ops.rearrange.axes import places
from mcuc.ops.rearrange.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.rearrange.tflite import from_tflite, to_tflite


@dataclass(frozen=True)
class RearrangeAttrs:
    """Output element (i, j, ...) of axes (extent, step) is input element i * step + j * step' + ..., in dense order.

    shape: of the output. A step of 0 repeats.
    """

    axes: tuple[Axis, ...]
    shape: tuple[int, ...]


def infer(attrs: RearrangeAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The attribute's shape. Raises ValueError where the axes reach outside the input."""
    last = sum((n - 1) * step for n, step in attrs.axes)
    if min((step for _, step in attrs.axes), default=0) < 0 or last >= inputs[0].elements:
        raise ValueError(f"axes {attrs.axes} reach outside {inputs[0].shape}")
    return (attrs.shape,)


def reference(attrs: RearrangeAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x of any type."""
    x = arrays[0]
    assert x is not None
    return (x.reshape(-1)[places(attrs.axes).reshape(attrs.shape)],)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One gather of the move family."""
    return (gather_call(in_bytes(node.attrs.axes, element_bytes(node, graph)), 0),)


OPERATOR = Operator(
    name="rearrange",
    summary="depth to space, space to depth, tile, broadcast",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(moved_types,),
    tflite=("BROADCAST_TO", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "TILE"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
