"""Parts of an int8 network with int16 activations (TFLite's 16x8): Graph of profile tflite -> Graph.

A chosen node reads and writes int16; what only moves elements follows its inputs; QUANTIZE stands where int8 and int16
meet. Weights stay as they are, biases become int64 in the finer scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

import numpy as np

from mcuc import ops
from mcuc.errors import McucError
from mcuc.exporters.tflite import options
from mcuc.ir import DType, Graph, Node, Quant, Tensor, check
from mcuc.ops._base import Exported, Imported
from mcuc.ops._move import moved_types
from mcuc.quantize.params import wide_quant

EXACT = 128  # steps of an int16 value in one of the int8 value that it repeats
_LAYERS = {  # where their input, weights and bias stand
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}
_ONE_SCALE = ("MAXIMUM", "MINIMUM", "MAX_POOL_2D", "AVERAGE_POOL_2D")  # TFLite's do not rescale
_NONE, _RELU, _RELU6 = 0, 1, 3  # TFLite's fused activations


def widenable(graph: Graph) -> tuple[str, ...]:
    """The outputs of nodes that have a form with int16 activations and compute something, in order."""
    return tuple(n.outputs[0] for n in graph.nodes if not follows(n) and _has_form(n, graph))


def follows(node: Node) -> bool:
    """Whether the node only hands on elements: it is of its inputs' type."""
    return node.op == "quantize" or moved_types in ops.get(node.op).limits or ops.get(node.op).alias


def _has_form(node: Node, graph: Graph) -> bool:
    operator = ops.get(node.op)
    if operator.to_tflite is None or any(graph.tensors[n].dtype is not DType.INT8 for n in node.outputs):
        return False
    try:
        kind = operator.to_tflite(node, graph).kind
    except McucError:  # a table that no operator of TFLite computes
        return False
    if kind in _LAYERS and graph.tensors[node.inputs[1]].data is None:
        return False
    if kind == "BATCH_MATMUL" and any(graph.tensors[n].data is not None for n in node.inputs):
        return False
    return kind in ops.wide_kinds()


def widen(graph: Graph, chosen: Set[str], peaks: Mapping[Quant, float]) -> Graph:
    """The network with the nodes that write `chosen` in int16.

    peaks: see params.wide_quant. Raises McucError("no-int16-form") for a chosen value whose node has none.
    """
    missing = sorted(chosen - set(widenable(graph)))
    if missing:
        raise McucError(
            "no-int16-form",
            f"TFLite has no int16 form of what computes {missing[0]!r}",
            where=missing[0],
            try_this="leave this value in int8: --activations mixed",
        )
    work = _Work(graph, dict(graph.tensors), [], peaks)
    for node in graph.nodes:
        runtime = [n for n in graph.runtime_inputs(node) if graph.tensors[n].dtype is DType.INT8]
        moved = follows(node) and bool(runtime) and all(work.table[n].dtype is DType.INT16 for n in runtime)
        if node.outputs[0] in chosen or (moved and graph.tensors[node.outputs[0]].dtype is DType.INT8):
            work.nodes.append(_wide_node(node, work))
        else:
            names = tuple(_narrow(n, work) if n in runtime else n for n in node.inputs)
            work.nodes.append(replace(node, inputs=names))
    used = {n for node in work.nodes for n in (*node.inputs, *node.outputs) if n} | {*graph.given, *graph.kept}
    return check(replace(graph, nodes=tuple(work.nodes), tensors={k: v for k, v in work.table.items() if k in used}))


@dataclass(frozen=True, eq=False)
class _Work:
    """The graph before, the tensors and nodes of the one after."""

    graph: Graph
    table: dict[str, Tensor]
    nodes: list[Node]
    peaks: Mapping[Quant, float]


def _wide_node(node: Node, work: _Work) -> Node:
    """The node made again by the import of its TFLite form, with int16 tensors."""
    operator = ops.get(node.op)
    assert operator.to_tflite is not None
    exported = operator.to_tflite(node, work.graph)
    work.table.update({t.name: t for t in exported.constants})
    names = list(node.inputs if exported.inputs is None else exported.inputs)
    for name in node.outputs:
        before = work.graph.tensors[name]
        assert before.quant is not None
        work.table[name] = replace(before, dtype=DType.INT16, quant=wide_quant(before.quant, work.peaks))
    one_scale = exported.kind in _ONE_SCALE or (follows(node) and node.op != "quantize")
    x, weights, bias = _LAYERS.get(exported.kind, (0, -1, -1))
    for i, name in enumerate(names):
        quantized = name and work.table[name].dtype in (DType.INT8, DType.INT16) and i not in (weights, bias)
        if quantized and one_scale:
            names[i] = _rescaled(name, work.table[node.outputs[0]], work)
        elif quantized:
            names[i] = _widened(name, work)
    if 0 <= bias < len(names) and names[bias]:
        names[bias] = _wide_bias(names[x], names[weights], names[bias], node.outputs[0], work)
    if exported.kind == "RELU6":  # TFLite Micro's int16 RELU6 does not rescale; the output's range is the bound
        exported = replace(exported, kind="RELU")
    if "fusedActivationFunction" in exported.fields:
        fused = _fused(node, work.graph.tensors[node.outputs[0]])
        exported = replace(exported, fields={**exported.fields, "fusedActivationFunction": fused})
    return _imported(node, exported, tuple(names), work)


def _imported(node: Node, exported: Exported, names: tuple[str, ...], work: _Work) -> Node:
    inputs = tuple(work.table[n] if n else None for n in names)
    outputs = tuple(work.table[n] for n in node.outputs)
    operator = ops.find_tflite(exported.kind, node.name, wide=True)
    assert operator.from_tflite is not None
    built = operator.from_tflite(Imported(exported.kind, options(exported), inputs, outputs, node.name))
    work.table.update({t.name: t for t in built.constants})
    return Node(node.name, built.op, built.inputs, node.outputs, built.attrs)


def _fused(node: Node, out: Tensor) -> int:
    """The activation that the int8 node has by its clamp or by where its range ends."""
    assert out.quant is not None
    low, high = getattr(node.attrs, "clamp", (-128, 127))
    scale, zero = out.quant.scale[0], out.quant.zero_point[0]
    if low != zero:
        return _NONE
    return _RELU6 if abs((high - zero) * scale - 6.0) < scale else _RELU


def _widened(name: str, work: _Work) -> str:
    """The int16 tensor of the same values, exactly: itself where it is one."""
    tensor = work.table[name]
    if tensor.dtype is DType.INT16:
        return name
    assert tensor.quant is not None
    label, zero = f"{name}/int16", tensor.quant.zero_point[0]
    if label in work.table:
        return label
    quant = Quant((float(np.float32(tensor.quant.scale[0] / EXACT)),), (0,))
    data = None if tensor.data is None else ((tensor.data.astype(np.int16) - zero) * EXACT).astype(np.int16)
    work.table[label] = Tensor(label, tensor.shape, DType.INT16, quant, data)
    if data is None:
        work.nodes.append(_quantize(name, label, work))
    return label


def _rescaled(name: str, out: Tensor, work: _Work) -> str:
    """The int16 tensor in the output's scale, of what is handed on to it."""
    tensor = work.table[name]
    if (tensor.dtype, tensor.quant) == (DType.INT16, out.quant):
        return name
    label = f"{out.name}/of/{name}"
    if label not in work.table:
        assert tensor.quant is not None and out.quant is not None
        data = None
        if tensor.data is not None:
            real = (tensor.data.astype(np.float64) - tensor.quant.zero_point[0]) * tensor.quant.scale[0]
            data = np.clip(np.rint(real / out.quant.scale[0]), *DType.INT16.limits).astype(np.int16)
        work.table[label] = Tensor(label, tensor.shape, DType.INT16, out.quant, data)
        if data is None:
            work.nodes.append(_quantize(name, label, work))
    return label


def _narrow(name: str, work: _Work) -> str:
    """The int8 tensor of a value, in its quantization of before."""
    if work.table[name].dtype is not DType.INT16:
        return name
    label = f"{name}/int8"
    if label not in work.table:
        work.table[label] = replace(work.graph.tensors[name], name=label)
        work.nodes.append(_quantize(name, label, work))
    return label


def _quantize(source: str, to: str, work: _Work) -> Node:
    node = Node(f"{to}/quantize", "quantize", (source,), (to,), None)
    return _imported(node, Exported("QUANTIZE", "QuantizeOptions"), (source,), work)


def _wide_bias(x: str, weights: str, bias: str, output: str, work: _Work) -> str:
    """The bias as int64, in the scale of the int16 input times the weights'."""
    before, by, steps = work.table[bias], work.table[weights].quant, work.table[x].quant
    assert before.data is not None and before.quant is not None  # what retarget gives every bias
    assert by is not None and steps is not None
    real = before.data.astype(np.float64) * np.array(before.quant.scale, np.float64)
    scale = np.array([steps.scale[0] * s for s in by.scale], np.float64)
    label = f"{output}/int64_bias"
    stored = Quant(tuple(float(np.float32(s)) for s in scale), (0,), 0 if len(scale) > 1 else None)
    work.table[label] = Tensor(label, before.shape, DType.INT64, stored, np.rint(real / scale).astype(np.int64))
    return label
