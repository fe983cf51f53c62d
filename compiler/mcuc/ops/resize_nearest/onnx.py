"""Resize of ONNX in mode nearest."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, not_exportable

KINDS = ("Resize",)
COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def coordinates(inputs: int, outputs: int, scale: float, coordinate: str) -> Array:
    """Where each output position lies in the input, in float32 as ONNX Runtime computes it."""
    f32 = np.float32
    x, s = np.arange(outputs).astype(f32), f32(scale)
    match coordinate:
        case "asymmetric":
            return x / s
        case "align_corners":
            return x * f32(inputs - 1) / f32(outputs - 1) if outputs > 1 else np.zeros_like(x)
        case "pytorch_half_pixel" if outputs <= 1:
            return np.zeros_like(x)
        case "half_pixel_symmetric":
            adjustment = f32(outputs) / (s * f32(inputs))  # the runtime goes on in double precision from here
            offset = inputs / 2 * (1 - float(adjustment))
            return (offset + ((x + 0.5).astype(np.float64) / float(s) - 0.5)).astype(f32)
    return (x + f32(0.5)) / s - f32(0.5)


def positions(inputs: int, outputs: int, scale: float, coordinate: str, nearest: str) -> tuple[int, ...]:
    """Where each output position reads, in float32 as ONNX Runtime computes it."""
    f32, at = np.float32, coordinates(inputs, outputs, scale, coordinate)
    match nearest:
        case "floor":
            index = np.floor(at)
        case "ceil":
            index = np.ceil(at)
        case "round_prefer_ceil":
            index = np.floor(at + f32(0.5))
        case _:
            index = np.ceil(at - f32(0.5))
    if scale == 1.0 and inputs == outputs:
        index = np.arange(outputs)
    return tuple(int(i) for i in np.clip(index, 0, inputs - 1))


def from_onnx(node: Imported) -> Built:
    """options: size and scales (height, width), coordinate, nearest. Raises McucError for other modes."""
    from mcuc.ops.resize_nearest import ResizeAttrs

    o, x = node.options, node.input(0)
    if o["mode"] != "nearest" or o["coordinate"] not in COORDINATES or o["nearest"] not in NEAREST:
        raise McucError(
            "unsupported-operator",
            f"Resize in mode {o['mode']} with {o['coordinate']} coordinates is not supported",
            where=node.where,
            try_this="resize with mode nearest",
        )
    rows, columns = (
        positions(x.shape[1 + i], o["size"][i], o["scales"][i], o["coordinate"], o["nearest"]) for i in (0, 1)
    )
    return Built("resize_nearest", (x.name,), ResizeAttrs(rows, columns))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As the first mode of Resize that picks the node's rows and columns."""
    x, attrs = graph.tensors[node.inputs[0]], node.attrs
    n, h, w, c = x.shape
    oh, ow = len(attrs.rows), len(attrs.columns)
    for coordinate in COORDINATES[:3]:
        for nearest in NEAREST:
            if (positions(h, oh, oh / h, coordinate, nearest), positions(w, ow, ow / w, coordinate, nearest)) == (
                attrs.rows,
                attrs.columns,
            ):
                sizes = Tensor(f"{node.outputs[0]}/sizes", (4,), DType.INT64, None, np.array([n, c, oh, ow], np.int64))
                options = {"mode": "nearest", "coordinate_transformation_mode": coordinate, "nearest_mode": nearest}
                return OnnxNode("Resize", (x.name, "", "", sizes.name), options, (sizes,))
    raise not_exportable(node, "no mode of Resize picks these rows and columns")
