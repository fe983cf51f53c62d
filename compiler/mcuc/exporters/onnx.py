"""Graph -> .onnx, channels first outside, as QDQ (default) or QOperator. The graph must not have folded zero points.

Operators that move elements (transpose, reshape, slice, pad, max pool, ...) work on the integers between
QuantizeLinear and DequantizeLinear, so that every computing operator stands directly between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcuc import ops
from mcuc.errors import McucError
from mcuc.exporters._names import free, renamed
from mcuc.exporters._onnx_writer import (
    TO_NCHW,
    TO_NHWC,
    Style,
    Writer,
    clamp_integers,
    element_type,
    integers,
    outside_axis,
    outside_shape,
    params_of,
    written,
)
from mcuc.importers._onnx_ports import Port
from mcuc.importers._onnx_values import Layout, plain
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.ops._onnx import FULL, OnnxNode
from mcuc.passes.spell_out import spell_out

OPSET = 17
_OWN = ("Expand", "Gather", "Places", "Reshape", "Tile", "Transpose")  # written in the graph's own order
_MOVES = ("DepthToSpace", "MaxPool", "Pad", "Resize", "Slice", "SpaceToDepth", *_OWN)
_ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Sigmoid", "Identity")
_MICROSOFT = {
    "Gemm": "QGemm",
    "Add": "QLinearAdd",
    "Mul": "QLinearMul",
    "AveragePool": "QLinearAveragePool",
    "GlobalAveragePool": "QLinearGlobalAveragePool",
    "Sigmoid": "QLinearSigmoid",
    "Softmax": "QLinearSoftmax",
}


@dataclass(frozen=True)
class Difference:
    """How many elements of how many the other runtime computes differently, and by how many steps at most."""

    elements: int
    differing: int
    largest: int


def export(graph: Graph, style: Style = "qdq", float_ends: bool = True, name: str | None = None) -> bytes:
    """The graph as an ONNX model of opset 17. float_ends: inputs and outputs are float32, else the graph's integers.

    Rank-4 inputs and outputs are NCHW. Raises McucError("not-exportable") for what ONNX cannot express.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = spell_out(graph)
    real = {n for n in (*graph.inputs, *graph.outputs) if float_ends and graph.tensors[n].quant is not None}
    inner = {n: free(graph, n) for n in real}
    graph, shown = renamed(graph, inner), (graph.inputs, graph.outputs)
    w = Writer(graph, style, frozenset((*shown[0], *shown[1])))
    inputs, outputs = [], []
    for end in shown[0]:
        tensor = graph.tensors[inner.get(end, end)]
        kind = TensorProto.FLOAT if end in real else element_type(tensor)
        inputs.append(helper.make_tensor_value_info(end, kind, outside_shape(tensor.shape)))
        if end in real:
            w.add("QuantizeLinear", [end, *params_of(w, tensor)], tensor.name)
    for node in graph.nodes:
        _node(w, node)
    for end in shown[1]:
        tensor = graph.tensors[inner.get(end, end)]
        kind = TensorProto.FLOAT if end in real else element_type(tensor)
        outputs.append(helper.make_tensor_value_info(end, kind, outside_shape(tensor.shape)))
        if end in real:
            w.add("DequantizeLinear", [tensor.name, *params_of(w, tensor)], end)
    initializers = [numpy_helper.from_array(a, n) for n, a in w.constants.items()]
    body = helper.make_graph(w.nodes, name or graph.name, inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=8, producer_name="mcuc")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise McucError(
            "internal",
            f"the exported model is not valid: {error}",
            where=graph.name,
            try_this="report this as a bug, with the model",
        ) from error
    blob: bytes = model.SerializeToString(deterministic=True)
    return blob


def compare(graph: Graph, blob: bytes, samples: Sequence[Sequence[Array]]) -> Difference:
    """ONNX Runtime on an exported model against the reference of the graph it came from, element by element."""
    from mcuc.importers import onnx as importer
    from mcuc.verify import oracle, reference

    _, ends = importer.parse_with_interface(blob, "exported.onnx", graph.name)
    inputs, outputs = ([_as_written(p) for p in side] for side in (ends.inputs, ends.outputs))
    fed = [[importer.to_file(p, a) for p, a in zip(inputs, s, strict=True)] for s in samples]
    elements = differing = largest = 0
    for sample, answer in zip(samples, oracle.onnxruntime(blob, fed), strict=True):
        values = reference.run(graph, dict(zip(graph.inputs, sample, strict=True)))
        for port, name, array in zip(outputs, graph.outputs, answer, strict=True):
            gap = np.abs(_steps(importer.from_file(port, array)) - _steps(values[name]))
            elements, differing, largest = (
                elements + gap.size,
                differing + int((gap > 0).sum()),
                max(largest, int(gap.max(initial=0))),
            )
    return Difference(elements, differing, largest)


def _as_written(port: Port) -> Port:
    """The port in the order of the graph that was exported, which reading the file back need not choose."""
    shape = port.file_shape
    return replace(port, layout=Layout(shape, TO_NHWC) if len(shape) == 4 else plain(shape))


def _steps(array: Array) -> Array:
    """Integers in the int8 domain, flat."""
    return array.reshape(-1).astype(np.int64) - (128 if array.dtype == np.uint8 else 0)


def _node(w: Writer, node: Node) -> None:
    operator = ops.get(node.op)
    if operator.to_onnx is None:
        raise McucError(
            "not-exportable",
            f"operator {node.op} has no ONNX form",
            where=node.name,
            try_this="export to TFLite instead",
        )
    form: OnnxNode = operator.to_onnx(node, w.graph)
    table = {t.name: t for t in form.constants}
    in_float = form.attrs.get("mode") in ("linear", "cubic")
    if (form.kind in _MOVES and not in_float) or (form.kind == "Concat" and not any(node.attrs.tables)):
        _move(w, node, form, table)
        return
    out = w.graph.tensors[node.outputs[0]]
    final = out.name
    target = final if form.after == FULL else w.name(f"{final}/before")
    _compute(w, node, form, table, target)
    if form.after != FULL:
        clamp_integers(w, out, target, form.after, final)


def _move(w: Writer, node: Node, form: OnnxNode, table: Mapping[str, Tensor]) -> None:
    x, out = w.graph.tensors[node.inputs[0]], w.graph.tensors[node.outputs[0]]
    attrs = dict(form.attrs)
    own = form.kind in _OWN or len(x.shape) != len(out.shape)
    rank = len(x.shape)
    sources = [integers(w, n, own) for n in node.inputs if n and n not in table and n in form.inputs]
    constants: list[str] = []
    if form.kind == "Reshape":
        shape = attrs.pop("shape")
        constants = [w.constant(f"{out.name}/shape", np.array(shape, np.int64))]
        sources = sources[:1]
    elif form.kind in ("Expand", "Gather", "Tile"):
        constants = [w.constant(t.name, t.data) for t in form.constants if t.data is not None]
    elif form.kind == "Places":
        _places(w, node, sources[0], np.asarray(attrs["places"]))
        return
    elif form.kind == "Concat":
        attrs["axis"] = outside_axis(attrs["axis"], rank)
    elif form.kind == "Slice":
        data = [t.data for t in form.constants if t.data is not None]
        if not own:
            data[2] = np.array([outside_axis(int(a), rank) for a in data[2]], np.int64)
        constants = [w.constant(f"{out.name}/slice", d) for d in data]
    elif form.kind == "Pad":
        pads = node.attrs.pads if rank != 4 else [node.attrs.pads[i] for i in TO_NCHW]
        every = np.array([a for a, _ in pads] + [b for _, b in pads], np.int64)
        constants = [
            w.constant(f"{out.name}/pads", every),
            w.constant(f"{out.name}/fill", np.array(node.attrs.value, out.dtype.value)),
        ]
    elif form.kind == "Resize":
        constants = ["", "", *(w.constant(f"{out.name}/sizes", t.data) for t in form.constants if t.data is not None)]
    final_clamp = form.after != FULL
    clamped = w.name(f"{out.name}/before")
    if form.kind == "Slice" and node.attrs.squeeze:
        axes = w.constant(f"{out.name}/axes", np.array(node.attrs.squeeze, np.int64))
        written(
            w,
            node,
            own,
            lambda name: _ignore(
                w.add("Squeeze", [w.add("Slice", [*sources, *constants], w.name(f"{out.name}/slice")), axes], name)
            ),
        )
    elif final_clamp:
        w.add(form.kind, [*sources, *constants], clamped, **attrs)
        clamp_integers(w, out, clamped, form.after, out.name)
    else:
        written(w, node, own, lambda name: _ignore(w.add(form.kind, [*sources, *constants], name, **attrs)))


def _places(w: Writer, node: Node, source: str, places: Array) -> None:
    """Elements by their places in the graph's order: flat, gathered, and shaped."""
    out = node.outputs[0]
    flat, shape = (w.constant(f"{out}/shape", np.array(v, np.int64)) for v in ([-1], places.shape))
    index = w.constant(f"{out}/places", places.reshape(-1).astype(np.int64))
    line = w.add("Reshape", [source, flat], w.name(f"{out}/flat"))
    found = w.add("Gather", [line, index], w.name(f"{out}/found"), axis=0)
    written(w, node, True, lambda name: _ignore(w.add("Reshape", [found, shape], name)))


def _ignore(name: str) -> None:
    """The name is known already."""


def _compute(w: Writer, node: Node, form: OnnxNode, table: Mapping[str, Tensor], final: str) -> None:
    graph, out = w.graph, w.graph.tensors[node.outputs[0]]
    attrs = dict(form.attrs)
    flatten = bool(attrs.pop("flatten", False))
    runtime = [n for n in form.inputs if n and n not in table and graph.tensors[n].data is None]
    ranks = {len(graph.tensors[n].shape) for n in runtime} | {len(out.shape)}
    elementwise = form.kind in (*_ELEMENTWISE, "Softmax", "Concat")
    own = (not form.channels_first and not (elementwise and len(ranks) == 1)) or (elementwise and len(ranks) > 1)
    if "axis" in attrs and not own:
        attrs["axis"] = outside_axis(attrs["axis"], len(out.shape))
    operands = [
        (_operand(w, n, own, table, elementwise, len(out.shape)), _tensor(w, n, table)) if n else ("", None)
        for n in form.inputs
    ]
    if form.kind == "Gemm":
        x = graph.tensors[form.inputs[0]]
        if len(x.shape) != 2:
            k = w.graph.tensors[node.inputs[1]].shape[1]
            shape = w.constant(f"{x.name}/rows", np.array([x.elements // k, k], np.int64))
            operands[0] = (w.add("Reshape", [operands[0][0], shape], w.name(f"{x.name}/rows")), x)
    reshape = flatten or (form.kind == "Gemm" and len(out.shape) != 2)
    back = own and len(out.shape) == 4
    target = final if not reshape and not back else w.name(f"{final}/result")
    _emit(w, node, form, operands, attrs, out, target)
    if reshape:
        shape = w.constant(f"{final}/shape", np.array(out.shape, np.int64))
        target = w.add("Reshape", [target, shape], final if not back else w.name(f"{final}/shaped"))
    if back:
        w.add("Transpose", [target], final, perm=list(TO_NCHW))


def _tensor(w: Writer, name: str, table: Mapping[str, Tensor]) -> Tensor:
    return table[name] if name in table else w.graph.tensors[name]


def _operand(w: Writer, name: str, own: bool, table: Mapping[str, Tensor], elementwise: bool, rank: int) -> str:
    """The integers of an operand: constants of the form as they are, constant operands of Add and Mul at full rank."""
    if name in table:
        data = table[name].data
        assert data is not None
        return w.constant(name, data)
    tensor = w.graph.tensors[name]
    if tensor.data is not None and elementwise and not own and rank == 4:
        return w.constant(
            name,
            np.ascontiguousarray(
                tensor.data.reshape((1,) * (4 - tensor.data.ndim) + tensor.data.shape).transpose(TO_NCHW)
            ),
        )
    return integers(w, name, own)


def _emit(
    w: Writer,
    node: Node,
    form: OnnxNode,
    operands: Sequence[tuple[str, Tensor | None]],
    attrs: Mapping[str, Any],
    out: Tensor,
    target: str,
) -> None:
    """The computing operator between DequantizeLinear and QuantizeLinear, or as a QLinear operator."""
    integers_only = all(t is None or t.dtype is not DType.FLOAT32 for _, t in operands)
    if w.style == "qoperator" and integers_only and (form.kind in _MICROSOFT or form.kind in ("Conv", "Concat")):
        _qlinear(w, form, operands, attrs, out, target)
        return
    reals = []
    for position, (name, tensor) in enumerate(operands):
        if tensor is None:
            reals.append("")
        elif tensor.dtype is DType.INT32:
            scale = _bias_scale(operands)
            params = [
                w.constant(f"{name}/scale", scale),
                w.constant(f"{name}/zero_point", np.zeros(scale.shape, np.int32)),
            ]
            reals.append(w.add("DequantizeLinear", [name, *params], w.name(f"{name}/real"), axis=0))
        elif tensor.dtype in (DType.INT64, DType.FLOAT32):
            reals.append(name)
        else:
            key = name if position == 0 or tensor.data is None else ""
            if key not in w.real or not key:
                real = w.add(
                    "DequantizeLinear",
                    [name, *params_of(w, tensor)],
                    w.name(f"{name}/real"),
                    axis=0 if tensor.quant is not None and len(tensor.quant.scale) > 1 else 1,
                )
                w.real[key or real] = real
                key = key or real
            reals.append(w.real[key])
    result = reals[0] if form.kind == "Identity" else w.add(form.kind, reals, w.name(f"{target}/real"), **attrs)
    w.add("QuantizeLinear", [result, *params_of(w, out)], target)


def _bias_scale(operands: Sequence[tuple[str, Tensor | None]]) -> Array:
    x, weights = operands[0][1], operands[1][1]
    assert x is not None and weights is not None and x.quant is not None and weights.quant is not None
    scale: Array = np.float32(x.quant.scale[0]) * np.array(weights.quant.scale, np.float32)
    return scale if scale.size > 1 else scale.reshape(())


def _qlinear(
    w: Writer,
    form: OnnxNode,
    operands: Sequence[tuple[str, Tensor | None]],
    attrs: Mapping[str, Any],
    out: Tensor,
    target: str,
) -> None:
    def with_params(index: int) -> list[str]:
        name, tensor = operands[index]
        assert tensor is not None
        return [name, *params_of(w, tensor)]

    after = list(params_of(w, out))
    options = dict(attrs)
    match form.kind:
        case "Conv":
            w.add(
                "QLinearConv",
                [*with_params(0), *with_params(1), *after, *(n for n, _ in operands[2:3])],
                target,
                **options,
            )
        case "Gemm":
            bias = operands[2][0] if len(operands) > 2 else ""
            w.add("QGemm", [*with_params(0), *with_params(1), bias, *after], target, "com.microsoft", **options)
        case "Add" | "Mul":
            w.add(_MICROSOFT[form.kind], [*with_params(0), *with_params(1), *after], target, "com.microsoft", **options)
        case "Concat":
            parts = [n for i in range(len(operands)) for n in with_params(i)]
            w.add("QLinearConcat", [*after, *parts], target, "com.microsoft", **options)
        case _:
            if form.kind == "Softmax":
                options["opset"] = OPSET
            w.add(_MICROSOFT[form.kind], [*with_params(0), *after], target, "com.microsoft", **options)
