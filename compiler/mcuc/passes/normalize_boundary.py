"""Float inputs and outputs of an int8 model become int8.

before: input x:float32; q = quantize(x); y = conv(q); z = dequantize(y)   output z
after:  input q:int8;                     y = conv(q)                      output y
Reshapes and transposes between a float end and its (de)quantize node are moved inside first.
"""

from __future__ import annotations

from dataclasses import replace

from mcuc.ir import Graph, Node, Tensor, rebuild

_MOVES = ("reshape", "transpose")


def normalize_boundary(graph: Graph) -> Graph:
    """Quantize nodes at float inputs and dequantize nodes at float outputs removed; float elsewhere stays as it is.

    The new input or output keeps the int8 tensor's name, scale and zero point.
    """
    return _outputs(_inputs(_sink(graph)))


def _is_entry(node: Node) -> bool:
    return node.op == "quantize" and not node.attrs.table


def _inputs(graph: Graph) -> Graph:
    consumers = graph.consumers()
    renamed: dict[str, str] = {}
    inputs = []
    dropped: set[str] = set()
    for name in graph.inputs:
        readers = consumers[name]
        targets = [graph.tensors[n.outputs[0]] for n in readers]
        plain = name not in graph.outputs and readers and all(_is_entry(n) for n in readers)
        if not plain or any(t.quant != targets[0].quant or t.name in graph.outputs for t in targets):
            inputs.append(name)
            continue
        inputs.append(targets[0].name)
        renamed.update((t.name, targets[0].name) for t in targets)
        dropped.update(n.outputs[0] for n in readers)
    nodes = [replace(n, inputs=tuple(renamed.get(i, i) for i in n.inputs))
             for n in graph.nodes if n.outputs[0] not in dropped]
    were_float = frozenset(renamed.values()) & frozenset(inputs)
    return replace(rebuild(graph, nodes, inputs=inputs), float_inputs=graph.float_inputs | were_float)


def _outputs(graph: Graph) -> Graph:
    producers, consumers = graph.producers(), graph.consumers()
    outputs: list[str] = []
    for name in graph.outputs:
        node = producers.get(name)
        source = node.inputs[0] if node is not None and node.op == "dequantize" else name
        free = source not in graph.inputs and source not in graph.outputs and source not in outputs
        outputs.append(source if free and graph.tensors[source].data is None else name)
    gone = {old for old, new in zip(graph.outputs, outputs, strict=True) if old != new and not consumers[old]}
    return rebuild(graph, [n for n in graph.nodes if n.outputs[0] not in gone], outputs=outputs)


def _sink(graph: Graph) -> Graph:
    """Moves float reshapes and transposes to the int8 side, as far as they hang on a float end alone."""
    nodes, tensors = list(graph.nodes), dict(graph.tensors)
    for at in range(len(nodes) - 1, -1, -1):  # quantize(move(x)) -> move(quantize(x)), nearest to the quantize first
        if nodes[at].op in _MOVES:
            _swap(nodes, tensors, graph, at, _after(nodes, at), "quantize")
    for at in range(len(nodes)):  # move(dequantize(x)) -> dequantize(move(x))
        if nodes[at].op == "dequantize":
            _swap(nodes, tensors, graph, at, _after(nodes, at), "dequantize")
    return rebuild(graph, nodes, tensors.values())


def _after(nodes: list[Node], at: int) -> int | None:
    """The place of the only reader of node at's result."""
    readers = [i for i in range(at + 1, len(nodes)) if nodes[at].outputs[0] in nodes[i].inputs]
    return readers[0] if len(readers) == 1 else None


def _swap(nodes: list[Node], tensors: dict[str, Tensor], graph: Graph, first: int, second: int | None,
          kind: str) -> None:
    """Exchanges a float move and a (de)quantize node; the tensor between them takes the type of the other side."""
    if second is None:
        return
    a, b = nodes[first], nodes[second]
    wanted = _is_entry(b) if kind == "quantize" else b.op in _MOVES
    if not wanted or len(a.inputs) != 1 or len(b.inputs) != 1 or a.outputs[0] in graph.outputs:
        return
    int8 = tensors[b.outputs[0]] if kind == "quantize" else tensors[a.inputs[0]]
    shape = tensors[a.inputs[0]].shape if kind == "quantize" else tensors[b.outputs[0]].shape
    between = replace(tensors[a.outputs[0]], dtype=int8.dtype, quant=int8.quant, shape=shape)
    tensors[between.name] = between
    nodes[first] = replace(b, inputs=a.inputs, outputs=(between.name,))
    nodes[second] = replace(a, inputs=(between.name,), outputs=b.outputs)
