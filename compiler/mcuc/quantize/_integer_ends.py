"""A QDQ file whose inputs and outputs are the integers themselves: the rounding at its ends is left to the caller."""

from __future__ import annotations

from typing import Any

from mcuc.quantize.qdq import DEQUANTIZED


def with_integer_ends(proto: bytes) -> bytes:
    """What qdq.write made, without QuantizeLinear at float inputs and DequantizeLinear at float outputs; names stay.

    An end that is not quantized (indices, truth values) stays as it is.
    """
    import onnx

    model = onnx.load_from_string(proto)
    graph = model.graph
    types = {i.name: i.data_type for i in graph.initializer}
    producers = {o: n for n in graph.node for o in n.output}
    renamed: dict[str, str] = {}
    gone: list[Any] = []
    for end in graph.input:
        readers = [n for n in graph.node if end.name in n.input]
        if len(readers) == 1 and readers[0].op_type == "QuantizeLinear" and readers[0].output[0] not in renamed:
            renamed[readers[0].output[0]] = end.name
            gone.append(readers[0])
            end.type.tensor_type.elem_type = types[readers[0].input[2]]
    for end in graph.output:
        last = producers.get(end.name)
        if last is None or last.op_type != "DequantizeLinear" or last.input[0] in renamed or last.input[0] in types:
            continue
        renamed[last.input[0]] = end.name
        if any(end.name in n.input for n in graph.node):
            renamed[end.name] = f"{end.name}{DEQUANTIZED}"
        else:
            gone.append(last)
        end.type.tensor_type.elem_type = types[last.input[2]]
    for node in gone:
        graph.node.remove(node)
    for node in graph.node:
        for names in (node.input, node.output):
            changed = [renamed.get(n, n) for n in names]
            del names[:]
            names.extend(changed)
    used = {n for node in graph.node for n in node.input}
    kept = [i for i in graph.initializer if i.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return bytes(model.SerializeToString())
