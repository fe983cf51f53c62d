"""REDUCE_MAX, REDUCE_MIN, REDUCE_ANY and REDUCE_ALL of TFLite."""

from __future__ import annotations

from typing import Literal

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node
from mcuc.ops._axes import axes_constant, file_axes
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._bool import checked_bool
from mcuc.ops._tflite import checked_activation
from mcuc.ops.reduce.attrs import ReduceAttrs

TFLITE: dict[str, Literal["max", "min"]] = {
    "REDUCE_MAX": "max",
    "REDUCE_MIN": "min",
    "REDUCE_ANY": "max",
    "REDUCE_ALL": "min",
}


def from_tflite(node: Imported) -> Built:
    """The axes are a constant and become attributes. Raises McucError on axes out of range, on other types."""
    kind, out = TFLITE[node.kind], node.outputs[0]
    x = checked_bool(node, 0) if node.kind in ("REDUCE_ANY", "REDUCE_ALL") else checked_activation(node, 0)
    axes, keep = file_axes(node, x), bool(node.options.keepDims)
    if x.quant != out.quant or x.dtype is not out.dtype:
        raise McucError("unsupported-quantization", f"{node.kind} between different scales", where=node.where,
                        try_this="quantize the result as its input, as converters do")
    return Built("reduce", (x.name,), ReduceAttrs(kind, axes, keep))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """The operator of that kind. Raises McucError for norms, which TFLite lacks."""
    attrs: ReduceAttrs = node.attrs
    if attrs.kind == "sum":
        raise McucError("not-exportable", "TFLite has no such norm", where=node.name,
                        try_this="export to ONNX instead")
    names = {"max": "REDUCE_MAX", "min": "REDUCE_MIN"}
    if graph.tensors[node.inputs[0]].dtype is DType.BOOL:
        names = {"max": "REDUCE_ANY", "min": "REDUCE_ALL"}
    constant = axes_constant(node, attrs.axes)
    fields = {"keepDims": attrs.keep_dims}
    return Exported(names[attrs.kind], "ReducerOptions", fields, (node.inputs[0], constant.name), (constant,))
