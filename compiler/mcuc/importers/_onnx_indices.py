"""Handlers of ONNX operators that read indices at run time: embedding lookups and one-hot rows."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from mcuc.importers import _onnx_picks as picks
from mcuc.importers._onnx_nodes import Result, broken, finish, goal_of, normal_axis
from mcuc.importers._onnx_picks import in_file_order, moved
from mcuc.importers._onnx_proto import MAX_ELEMENTS, FileNode
from mcuc.importers._onnx_quant import quantize_one
from mcuc.importers._onnx_state import State, constant_of, optional, quant_of, refuse, runtime
from mcuc.importers._onnx_values import Layout, Value, plain


def on_gather(state: State, node: FileNode) -> Result:
    """By indices of run time, or by constants."""
    indices = optional(state, node, 1)
    if indices is not None and indices.array is None:
        return [_by_index(state, node, indices)]
    return picks.on_gather(state, node)


def _by_index(state: State, node: FileNode, indices: Value) -> Value:
    """Data in the file's order; constants (an embedding table) as they are stored, quantized per tensor."""
    x = optional(state, node, 0)
    if x is None or indices.real or indices.tensor is None:
        raise broken(node, "lacks data or integer indices")
    x = runtime(state, node)
    if x.params is not None and len(x.params.scale) > 1:
        raise refuse(
            "unsupported-quantization",
            f"{node.kind} of data quantized per channel",
            node.where,
            "quantize the table per tensor",
        )
    axis = normal_axis(int(node.attrs.get("axis", 0)), len(x.shape), node)
    data = in_file_order(state, x, node.where)
    if x.params is not None:
        data = replace(data, quant=quant_of(x.params))
    places = in_file_order(state, indices, node.where)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    value = moved(state, node, x, "Gather", (data, places), {"axis": axis}, shape, plain(shape))
    return replace(value, array=None)


def on_one_hot(state: State, node: FileNode) -> Result:
    """By indices of run time; the two values become integers as what is behind them says."""
    indices = optional(state, node, 0)
    depth, values = constant_of(state, node, 1).reshape(-1), constant_of(state, node, 2).reshape(-1)
    if indices is None or indices.tensor is None or indices.real or depth.size != 1 or values.size != 2:
        raise broken(node, "lacks integer indices, one depth or two values")
    axis = normal_axis(int(node.attrs.get("axis", -1)), len(indices.shape) + 1, node)
    count = int(depth[0])
    shape = (*indices.shape[:axis], count, *indices.shape[axis:])
    if count < 1 or prod(shape) > MAX_ELEMENTS or values.dtype.kind != "f":
        raise refuse(
            "unsupported-operator",
            f"OneHot of {values.dtype} values, {count} deep, is not supported",
            node.where,
            "one-hot into float values that are quantized",
        )
    goal = goal_of(state, node)
    off, on = (quantize_one(float(v), goal.params) for v in values)
    tensor = in_file_order(state, indices, node.where)
    options = {"depth": count, "on": on, "off": off}
    layout = Layout(shape, (*(i for i in range(len(shape)) if i != axis), axis))  # a row lies in one piece
    return [finish(state, node, "OneHot", (tensor,), options, shape, layout, goal)]
