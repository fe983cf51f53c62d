"""RESIZE_BILINEAR of TFLite: positions and weights in units of 1/1024."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._tflite import checked_activation
from mcuc.ops.resize_bilinear.attrs import BilinearAttrs, Place
from mcuc.ops.resize_bilinear.onnx import places as real_places

_MODES = ((False, False), (True, False), (False, True))  # align_corners, half_pixel_centers
ONE = 1 << 10


def places(inputs: int, outputs: int, align_corners: bool, half_pixel: bool) -> tuple[Place, ...]:
    """ResizeBilinearInteger of TFLite's reference kernels (ComputeInterpolationValues), for every output position.

    Before the first element both neighbours are the first one. Raises ValueError where rounding of the step leads
    behind the last one, which the kernel would read.
    """
    scale = (ONE * inputs + outputs // 2) // outputs
    if align_corners and outputs > 1:
        scale = (ONE * (inputs - 1) + (outputs - 1) // 2) // (outputs - 1)
    found = []
    for n in range(outputs):
        at = n * scale + (scale // 2 - ONE // 2 if half_pixel else 0)
        first = max(at // ONE, 0)
        second = min(max((at + ONE - 1) // ONE, 0), inputs - 1)
        if first >= inputs:
            raise ValueError(f"position {n} of {outputs} lies behind the last of {inputs}")
        weight = at - ONE * first if second > first else 0
        found.append(Place(first, second, (ONE - weight, weight)))
    return tuple(found)


def from_tflite(node: Imported) -> Built:
    """A constant size; input and output have one scale."""
    x, out = checked_activation(node, 0), node.outputs[0]
    size = [int(v) for v in node.constant(1).reshape(-1)]
    o = node.options
    align, half = bool(o.alignCorners), bool(o.halfPixelCenters)
    fits = len(x.shape) == 4 and len(size) == 2 and min(*size, *x.shape) >= 1 and max(*size, *x.shape) < 1 << 15
    if not fits or (align and half):
        raise _refuse(node, f"cannot resize {x.shape} to {size}, align_corners {align}, half_pixel_centers {half}")
    if x.quant != out.quant:
        raise _refuse(node, f"{x.name!r} and {out.name!r} have different scales or zero points")
    if node.unsigned:
        raise _refuse(node, "RESIZE_BILINEAR of uint8 tensors")
    try:
        rows, columns = (places(x.shape[1 + i], size[i], align, half) for i in (0, 1))
    except ValueError as error:
        raise _refuse(node, f"RESIZE_BILINEAR of {x.shape} to {size}: {error}") from error
    return Built("resize_bilinear", (x.name,), BilinearAttrs(rows, columns))


def _refuse(node: Imported, found: str) -> McucError:
    return McucError(
        "unsupported-resize",
        found,
        where=node.where,
        try_this="resize an int8 tensor of shape [1, h, w, c] to a constant height and width with the same scale",
    )


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As RESIZE_BILINEAR. Raises McucError where none of its modes has these weights."""
    attrs: BilinearAttrs = node.attrs
    _, h, w, _ = graph.tensors[node.inputs[0]].shape
    oh, ow = len(attrs.rows), len(attrs.columns)
    size = Tensor(f"{node.outputs[0]}/size", (2,), DType.INT32, None, np.array([oh, ow], np.int32))
    for align, half in _MODES:
        if attrs == BilinearAttrs(places(h, oh, align, half), places(w, ow, align, half)):
            fields = {"alignCorners": align, "halfPixelCenters": half}
            return Exported("RESIZE_BILINEAR", "ResizeBilinearOptions", fields, (node.inputs[0], size.name), (size,))
    raise McucError(
        "not-exportable",
        "TFLite has no bilinear mode with these weights",
        where=node.name,
        try_this="export to ONNX instead",
    )


def as_tflite(node: Node, graph: Graph) -> Exported:
    """RESIZE_BILINEAR with the coordinates that a float32 resize has. Raises McucError where there is none."""
    attrs: BilinearAttrs = node.attrs
    if attrs.real is None:
        return to_tflite(node, graph)
    _, h, w, _ = graph.tensors[node.inputs[0]].shape
    oh, ow = len(attrs.rows), len(attrs.columns)
    size = Tensor(f"{node.outputs[0]}/size", (2,), DType.INT32, None, np.array([oh, ow], np.int32))
    for (align, half), coordinate in zip(_MODES, ("asymmetric", "align_corners", "half_pixel"), strict=True):
        rows, columns = real_places(h, oh, oh / h, coordinate), real_places(w, ow, ow / w, coordinate)
        if (rows, columns) == (attrs.rows, attrs.columns) and attrs.real.clamp == (-128, 127):
            fields = {"alignCorners": align, "halfPixelCenters": half}
            return Exported("RESIZE_BILINEAR", "ResizeBilinearOptions", fields, (node.inputs[0], size.name), (size,))
    raise McucError(
        "not-exportable",
        "TFLite has no bilinear mode with these coordinates",
        where=node.name,
        try_this="compile with --profile onnx",
    )
