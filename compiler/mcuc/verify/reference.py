"""The NumPy integer reference of a whole graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mcuc import ops
from mcuc.ir import Array, Graph


def run(graph: Graph, inputs: Mapping[str, Array], states: Mapping[str, Array] | None = None) -> dict[str, Array]:
    """Every run-time tensor of the graph for one sample.

    inputs: graph input name -> array of the input tensor's shape and type. states: what the run before left (see
    `after`), None for the initial values. The result maps tensor name -> array.
    """
    values: dict[str, Array] = {n: t.data for n, t in graph.tensors.items() if t.data is not None}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        values[name] = inputs[name].reshape(tensor.shape).astype(tensor.dtype.value, copy=False)
    for state in graph.states:
        values[state.current] = state.initial if states is None else states[state.current]
    for node in graph.nodes:
        arrays = [values[n] if n else None for n in node.inputs]
        for name, out in zip(node.outputs, ops.get(node.op).reference(node.attrs, arrays), strict=True):
            values[name] = out.reshape(graph.tensors[name].shape)
    return {n: v for n, v in values.items() if graph.tensors[n].data is None}


def after(graph: Graph, values: Mapping[str, Array]) -> dict[str, Array]:
    """The states as a run leaves them for the next one. values: of run."""
    return {state.current: values[state.next] for state in graph.states}


def sequence(graph: Graph, samples: Iterable[Sequence[Array]]) -> Iterator[dict[str, Array]]:
    """The values of one run after the other, from the initial states on; each sample has an array per input."""
    states = None
    for sample in samples:
        values = run(graph, dict(zip(graph.inputs, sample, strict=True)), states)
        states = after(graph, values)
        yield values
