"""AveragePool of ONNX as ONNX Runtime's QLinearAveragePool computes it."""

from __future__ import annotations

from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._onnx import activation, clamp_of, window_of
from mcuc.ops._qlinear import offset, types_of, zero_in_file
from mcuc.ops.average_pool_2d.onnx import to_onnx as to_onnx
from mcuc.ops.qlinear_average_pool.attrs import QLinearPoolAttrs

KINDS = ("AveragePool",)


def from_onnx(node: Imported) -> Built:
    """options: window, count_include_pad."""
    x, out = activation(node, 0), node.outputs[0]
    shift = offset(types_of(node)[1])
    attrs = QLinearPoolAttrs(
        window_of(node),
        scale_of(x, node.where),
        zero_point_of(x, node.where),
        scale_of(out, node.where),
        zero_in_file(out, shift),
        shift,
        clamp_of(node),
        bool(node.options["count_include_pad"]),
    )
    return Built("qlinear_average_pool", (x.name,), attrs)
