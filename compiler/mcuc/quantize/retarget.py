"""The same quantized network under TFLite's rounding: Graph of profile onnx -> Graph of profile tflite.

Scales, weights and biases stay; each node becomes the TFLite operator of the same real function, made by that
operator's own import, so that the graph is what importing its exported file gives. What TFLite spells with more than
one operator gets them: padding that is neither SAME nor VALID, parts of a concatenation of other scales, an index that
keeps its axis. A function of one byte that TFLite lacks stays the table that it is, written as a look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mcuc import ops
from mcuc.errors import McucError
from mcuc.exporters.tflite import options
from mcuc.ir import Graph, Node, Quant, Requant, Tensor, check
from mcuc.ops._base import Exported, Imported
from mcuc.ops._spatial import same_padding
from mcuc.ops._unary import table_lookup
from mcuc.passes._tables import table_of

MOST_STEPS = 3  # by which a rounding of TFLite's can differ: its LOGISTIC and TANH interpolate
_WINDOWED = ("conv_2d", "depthwise_conv_2d", "max_pool_2d")
_PRODUCTS = ("batch_matmul", "fully_connected")
_BIASED = ("conv_2d", "depthwise_conv_2d", "fully_connected", "transpose_conv")


def retarget(graph: Graph) -> Graph:
    """The network of profile tflite. Raises McucError("not-exportable") naming a node that TFLite cannot express."""
    table = dict(graph.tensors)
    nodes: list[Node] = []
    for node in graph.nodes:
        for step in _steps(node, graph, table):
            nodes.append(_retargeted(step, graph, table))
    used = {n for node in nodes for n in (*node.inputs, *node.outputs) if n} | {*graph.inputs, *graph.outputs}
    return check(
        replace(graph, profile="tflite", nodes=tuple(nodes), tensors={k: v for k, v in table.items() if k in used})
    )


def _retargeted(node: Node, graph: Graph, table: dict[str, Tensor]) -> Node:
    """The node under TFLite's rounding; one that is a table and has no operator there as it is."""
    try:
        return _built(node, _exported(node, replace(graph, tensors=table)), table)
    except McucError:
        if node.op == "unary" and table_of(node):
            return node
        raise


def _steps(node: Node, graph: Graph, table: dict[str, Tensor]) -> list[Node]:
    """The node, and nodes in front of it where TFLite needs them. Adds their tensors to the table."""
    if node.op in _BIASED and len(node.inputs) > 2 and node.inputs[2]:
        table[node.inputs[2]] = _with_scale(node, table)
    if node.op in _WINDOWED:
        return _padded(node, table)
    if node.op == "concat":
        return _rescaled(node, table)
    if node.op == "argmax" and node.attrs.keep_dims:
        return _flattened(node, table)
    return [node]


def _with_scale(node: Node, table: Mapping[str, Tensor]) -> Tensor:
    """The bias with its scale, input's times weights'."""
    x, w, bias = (table[n] for n in node.inputs[:3])
    assert x.quant is not None and w.quant is not None
    scales = tuple(float(np.float32(x.quant.scale[0]) * np.float32(s)) for s in w.quant.scale)
    return replace(bias, quant=Quant(scales, (0,), 0 if len(scales) > 1 else None))


def _padded(node: Node, table: dict[str, Tensor]) -> list[Node]:
    """A PAD in front of a window whose padding TFLite cannot say."""
    x, window = table[node.inputs[0]], node.attrs.window
    top, left, bottom, right = window.pad
    same = same_padding((x.shape[1], x.shape[2]), window.kernel, window.stride, window.dilation)
    if window.pad in ((0, 0, 0, 0), same):
        return [node]
    from mcuc.ops.pad import PadAttrs

    pads = ((0, 0), (top, bottom), (left, right), (0, 0))
    value = -128 if node.op == "max_pool_2d" else x.quant.zero_point[0] if x.quant is not None else 0
    name = f"{node.outputs[0]}/padded"
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, pads, strict=True))
    table[name] = replace(x, name=name, shape=shape)
    pad = Node(f"{node.name}/pad", "pad", (x.name,), (name,), PadAttrs(pads, value))
    bare = replace(node.attrs, window=replace(window, pad=(0, 0, 0, 0)))
    return [pad, replace(node, inputs=(name, *node.inputs[1:]), attrs=bare)]


def _rescaled(node: Node, table: dict[str, Tensor]) -> list[Node]:
    """A QUANTIZE in front of every part of a concatenation that has another scale; constants are rescaled now."""
    from mcuc.ops.quantize import QuantizeAttrs

    out, steps, names = table[node.outputs[0]], [], []
    for i, name in enumerate(node.inputs):
        part = table[name]
        if part.quant == out.quant:
            names.append(name)
            continue
        label = f"{out.name}/part{i}"
        data = None if part.data is None else table_lookup(node.attrs.tables[i], part.data)
        table[label] = replace(part, name=label, quant=out.quant, data=data)
        if data is None:
            steps.append(Node(f"{node.name}/quantize{i}", "quantize", (name,), (label,), QuantizeAttrs(bytes(256))))
        names.append(label)
    same = replace(node.attrs, tables=(b"",) * len(names))
    return [*steps, replace(node, inputs=tuple(names), attrs=same)]


def _flattened(node: Node, table: dict[str, Tensor]) -> list[Node]:
    """An ARG_MAX, which drops the axis, and a RESHAPE that puts it back."""
    from mcuc.ops.reshape import ReshapeAttrs

    out, axis = table[node.outputs[0]], node.attrs.axis % len(table[node.inputs[0]].shape)
    flat = replace(out, name=f"{out.name}/index", shape=(*out.shape[:axis], *out.shape[axis + 1 :]))
    table[flat.name] = flat
    first = replace(node, outputs=(flat.name,), attrs=replace(node.attrs, keep_dims=False))
    return [first, Node(f"{node.name}/reshape", "reshape", (flat.name,), node.outputs, ReshapeAttrs(out.shape))]


def require_forms(graph: Graph) -> None:
    """Raises McucError("not-exportable") naming the first node whose operator TFLite lacks, whatever its scales are."""
    for node in graph.nodes:
        _form(node)


def _form(node: Node) -> Callable[[Node, Graph], Exported]:
    operator = ops.get(node.op)
    form = operator.as_tflite or operator.to_tflite
    if form is None:
        raise McucError(
            "not-exportable",
            f"operator {node.op} has no TFLite form",
            where=node.name,
            try_this="write an .onnx file instead, which says it: mcuc export MODEL -o FILE.onnx",
        )
    return form


def _exported(node: Node, graph: Graph) -> Exported:
    return _form(node)(node, graph)


def _built(node: Node, exported: Exported, table: dict[str, Tensor]) -> Node:
    """The node as importing the exported one makes it; its constants go into the table."""
    table.update({t.name: t for t in exported.constants})
    names = node.inputs if exported.inputs is None else exported.inputs
    operator = ops.find_tflite(exported.kind, node.name)
    assert operator.from_tflite is not None
    inputs = tuple(table[n] if n else None for n in names)
    outputs = tuple(table[n] for n in node.outputs)
    built = operator.from_tflite(Imported(exported.kind, options(exported), inputs, outputs, node.name))
    table.update({t.name: t for t in built.constants})
    _require_same_function(node, built.attrs)
    return Node(node.name, built.op, built.inputs, node.outputs, built.attrs)


def _factor(requant: Requant) -> float:
    """What a sum is multiplied by (of the first channel)."""
    if requant.rule == "f32_rne":
        return requant.scale[0]
    return requant.multiplier[0] * 2.0 ** (requant.shift[0] - 31)


def _require_same_function(node: Node, attrs: Any) -> None:
    """A function of one byte must be the same one, and so must what sums are multiplied by, but for rounding."""
    if node.op in _PRODUCTS and abs(_factor(attrs.requant) / _factor(node.attrs.requant) - 1) > 1e-3:
        raise McucError(
            "not-exportable",
            "TFLite cannot scale the product (alpha of Gemm) where both operands are computed at run time",
            where=node.name,
            try_this="write an .onnx file instead, or quantize the result with another scale",
        )
    before, after = getattr(node.attrs, "table", b""), getattr(attrs, "table", b"")
    if isinstance(before, bytes) and isinstance(after, bytes) and len(before) == len(after) == 256 and any(before):
        old, new = (np.frombuffer(t, np.int8).astype(np.int64) for t in (before, after))
        if np.abs(old - new).max() > MOST_STEPS:
            raise McucError(
                "not-exportable",
                f"TFLite has no int8 operator for this function ({node.op})",
                where=node.name,
                try_this="write an .onnx file instead, which says it: mcuc export MODEL -o FILE.onnx",
            )
