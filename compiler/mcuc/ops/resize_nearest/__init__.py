"""Nearest-neighbour resize: the input row of every output row, and likewise for columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call, Rows, Table
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost
from mcuc.ops._move import element_bytes, moved_types
from mcuc.ops.resize_nearest.onnx import KINDS, from_onnx, to_onnx

_MODES = ((False, False), (True, False), (False, True), (True, True))  # align_corners, half_pixel_centers


@dataclass(frozen=True)
class ResizeAttrs:
    """rows[y], columns[x]: where output row y and column x come from."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]


def nearest(inputs: int, outputs: int, align_corners: bool, half_pixel: bool) -> tuple[int, ...]:
    """TFLite's GetNearestNeighbor in float32, for every output position."""
    aligned = align_corners and outputs > 1
    scale = np.float32(inputs - 1) / np.float32(outputs - 1) if aligned else np.float32(inputs) / np.float32(outputs)
    at = ((np.arange(outputs).astype(np.float32) + np.float32(0.5 if half_pixel else 0.0)) * scale).astype(np.float64)
    found = np.floor(at + 0.5) if align_corners else np.floor(at)
    return tuple(int(v) for v in np.clip(found, 0, inputs - 1))


def from_tflite(node: Imported) -> Built:
    """RESIZE_NEAREST_NEIGHBOR with a constant size."""
    x = node.input(0)
    size = [int(v) for v in node.constant(1).reshape(-1)]
    if len(x.shape) != 4 or len(size) != 2 or min(*size, *x.shape) < 1 or max(*size, *x.shape) >= 1 << 15:
        raise McucError(
            "broken-model",
            f"cannot resize {x.shape} to {size}",
            where=node.where,
            try_this="resize a tensor of shape [1, h, w, c] to a constant height and width",
        )
    o = node.options
    rows, columns = (nearest(x.shape[1 + i], size[i], bool(o.alignCorners), bool(o.halfPixelCenters)) for i in (0, 1))
    return Built("resize_nearest", (x.name,), ResizeAttrs(rows, columns))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As RESIZE_NEAREST_NEIGHBOR. Raises McucError where none of its modes picks these rows and columns."""
    attrs: ResizeAttrs = node.attrs
    _, h, w, _ = graph.tensors[node.inputs[0]].shape
    size = np.array([len(attrs.rows), len(attrs.columns)], np.int32)
    constant = Tensor(f"{node.outputs[0]}/size", (2,), DType.INT32, None, size)
    for align, half in _MODES:
        if ResizeAttrs(nearest(h, int(size[0]), align, half), nearest(w, int(size[1]), align, half)) == attrs:
            return Exported(
                "RESIZE_NEAREST_NEIGHBOR",
                "ResizeNearestNeighborOptions",
                {"alignCorners": align, "halfPixelCenters": half},
                inputs=(node.inputs[0], constant.name),
                constants=(constant,),
            )
    raise McucError(
        "not-exportable",
        "TFLite has no nearest-neighbour mode that picks these rows and columns",
        where=node.name,
        try_this="resize with half_pixel or align_corners coordinates",
    )


def infer(attrs: ResizeAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """x [1, h, w, c] -> [1, rows, columns, c]."""
    n, _, _, c = inputs[0].shape
    return ((n, len(attrs.rows), len(attrs.columns), c),)


def reference(attrs: ResizeAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x of any type at the listed rows and columns."""
    x = arrays[0]
    assert x is not None
    return (x[:, list(attrs.rows)][:, :, list(attrs.columns)],)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the move family; rows by the emitter's index, columns by a table."""
    attrs: ResizeAttrs = node.attrs
    _, h, w, c = graph.tensors[node.inputs[0]].shape
    run = c * element_bytes(node, graph)
    rows = Rows(0, w * run, h, index=attrs.rows)
    oh, ow = len(attrs.rows), len(attrs.columns)
    columns = Table("columns", "int16_t", np.array(attrs.columns, np.int16))
    return (Call("move", {"kind": "columns", "in_c": run}, (columns,), (rows,), oh, ow, run, ow * run, run),)


def one_image(node: Node, graph: Graph) -> str | None:
    """The batch is 1."""
    batch = graph.tensors[node.inputs[0]].shape[0]
    return f"the batch is {batch}" if batch != 1 else None


OPERATOR = Operator(
    name="resize_nearest",
    summary="nearest-neighbour resize",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(moved_types, one_image),
    tflite=("RESIZE_NEAREST_NEIGHBOR",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
