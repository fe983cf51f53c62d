"""Resize of ONNX in mode cubic: ONNX Runtime computes it in float32 between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, activation, not_exportable
from mcuc.ops._resize import real_of
from mcuc.ops.resize_nearest.onnx import COORDINATES, coordinates

KINDS = ("ResizeCubic",)  # the importer's name for Resize in this mode
A = -0.75  # ONNX's default of the attribute cubic_coeff_a
Places = tuple[tuple[int, tuple[float, float, float, float]], ...]


def places(inputs: int, outputs: int, scale: float, coordinate: str, a: float = A) -> Places:
    """GetCubicCoeffs of ONNX Runtime, in float32 (Keys 1981, the cubic convolution)."""
    f32, found = np.float32, []
    raw = np.arange(outputs).astype(f32) if scale == 1.0 else coordinates(inputs, outputs, scale, coordinate)
    c, one, two = f32(a), f32(1), f32(2)
    for at in raw:
        s = at - np.floor(at)
        weights = (
            ((c * (s + one) - f32(5) * c) * (s + one) + f32(8) * c) * (s + one) - f32(4) * c,
            ((c + two) * s - (c + f32(3))) * s * s + one,
            ((c + two) * (one - s) - (c + f32(3))) * (one - s) * (one - s) + one,
            ((c * (two - s) - f32(5) * c) * (two - s) + f32(8) * c) * (two - s) - f32(4) * c,
        )
        found.append((int(np.floor(at)) - 1, (float(weights[0]), *(float(w) for w in weights[1:]))))
    return tuple(found)  # type: ignore[arg-type]


def from_onnx(node: Imported) -> Built:
    """options: size and scales (height, width), coordinate, cubic_coeff_a. Raises McucError for other coordinates."""
    from mcuc.ops.resize_cubic import CubicAttrs

    o, x = node.options, activation(node, 0)
    if o["coordinate"] not in COORDINATES:
        raise McucError(
            "unsupported-operator",
            f"Resize in mode cubic with {o['coordinate']} coordinates is not supported",
            where=node.where,
            try_this="resize with half_pixel, align_corners or asymmetric coordinates",
        )
    rows, columns = (
        places(x.shape[1 + i], o["size"][i], o["scales"][i], o["coordinate"], o["cubic_coeff_a"]) for i in (0, 1)
    )
    return Built("resize_cubic", (x.name,), CubicAttrs(rows, columns, real_of(node)))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As the first coordinates of Resize that give these weights. Raises McucError where there are none."""
    x, attrs = graph.tensors[node.inputs[0]], node.attrs
    n, h, w, c = x.shape
    oh, ow = len(attrs.rows), len(attrs.columns)
    for coordinate in COORDINATES:
        if (places(h, oh, oh / h, coordinate), places(w, ow, ow / w, coordinate)) == (attrs.rows, attrs.columns):
            sizes = Tensor(f"{node.outputs[0]}/sizes", (4,), DType.INT64, None, np.array([n, c, oh, ow], np.int64))
            options = {"mode": "cubic", "coordinate_transformation_mode": coordinate}
            return OnnxNode("Resize", (x.name, "", "", sizes.name), options, (sizes,), after=attrs.real.clamp)
    raise not_exportable(node, "no coordinates of Resize give these weights")
