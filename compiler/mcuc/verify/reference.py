"""The NumPy integer reference of a whole graph."""

from __future__ import annotations

from collections.abc import Mapping

from mcuc import ops
from mcuc.ir import Array, Graph


def run(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every run-time tensor of the graph for one sample.

    inputs: graph input name -> array of the input tensor's shape and type. The result maps tensor name -> array.
    """
    values: dict[str, Array] = {n: t.data for n, t in graph.tensors.items() if t.data is not None}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        values[name] = inputs[name].reshape(tensor.shape).astype(tensor.dtype.value, copy=False)
    for node in graph.nodes:
        arrays = [values[n] if n else None for n in node.inputs]
        for name, out in zip(node.outputs, ops.get(node.op).reference(node.attrs, arrays), strict=True):
            values[name] = out.reshape(graph.tensors[name].shape)
    return {n: v for n, v in values.items() if graph.tensors[n].data is None}
