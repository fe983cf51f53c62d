"""Resize of ONNX in mode linear: ONNX Runtime computes it in float32 between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, activation, not_exportable
from mcuc.ops._resize import real_of
from mcuc.ops.resize_bilinear.attrs import BilinearAttrs, Place
from mcuc.ops.resize_nearest.onnx import COORDINATES, coordinates

KINDS = ("ResizeLinear",)  # the importer's name for Resize in this mode


def places(inputs: int, outputs: int, scale: float, coordinate: str) -> tuple[Place, ...]:
    """SetupUpsampleBilinear of ONNX Runtime, in float32."""
    f32, found = np.float32, []
    raw = np.arange(outputs).astype(f32) if scale == 1.0 else coordinates(inputs, outputs, scale, coordinate)
    for at in np.clip(raw, f32(0), f32(inputs - 1)):
        first = min(int(at), inputs - 1)
        second = min(first + 1, inputs - 1)
        weights = (abs(at - f32(second)), abs(at - f32(first))) if second > first else (f32(0.5), f32(0.5))
        found.append(Place(first, second, (float(weights[0]), float(weights[1]))))
    return tuple(found)


def from_onnx(node: Imported) -> Built:
    """options: size and scales (height, width), coordinate. Raises McucError for other coordinates."""
    o, x = node.options, activation(node, 0)
    if o["coordinate"] not in COORDINATES:
        raise McucError(
            "unsupported-operator",
            f"Resize in mode linear with {o['coordinate']} coordinates is not supported",
            where=node.where,
            try_this="resize with half_pixel, align_corners or asymmetric coordinates",
        )
    rows, columns = (places(x.shape[1 + i], o["size"][i], o["scales"][i], o["coordinate"]) for i in (0, 1))
    return Built("resize_bilinear", (x.name,), BilinearAttrs(rows, columns, real_of(node)))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As the first coordinates of Resize that give these weights. Raises McucError where there are none."""
    x, attrs = graph.tensors[node.inputs[0]], node.attrs
    n, h, w, c = x.shape
    oh, ow = len(attrs.rows), len(attrs.columns)
    for coordinate in COORDINATES if attrs.real is not None else ():
        if (places(h, oh, oh / h, coordinate), places(w, ow, ow / w, coordinate)) == (attrs.rows, attrs.columns):
            sizes = Tensor(f"{node.outputs[0]}/sizes", (4,), DType.INT64, None, np.array([n, c, oh, ow], np.int64))
            options = {"mode": "linear", "coordinate_transformation_mode": coordinate}
            return OnnxNode("Resize", (x.name, "", "", sizes.name), options, (sizes,), after=attrs.real.clamp)
    raise not_exportable(node, "no coordinates of Resize give these weights")
