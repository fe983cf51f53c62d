"""Small networks with states, as graphs of profile tflite."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from harness import RNG, activation, bias, constant, tflite_graph, weights

from mcuc.ir import Graph, Node, State, Tensor, check
from mcuc.ops.assign import AssignAttrs


def with_states(graph: Graph, states: dict[str, str], initial: dict[str, np.ndarray]) -> Graph:  # type: ignore[type-arg]
    """The graph with inputs that are states. states: input -> the tensor that is its next value."""
    tensors = dict(graph.tensors)
    assigns, kept = [], []
    for name, source in states.items():
        after = replace(tensors[name], name=f"{name}/next")
        tensors[after.name] = after
        assigns.append(Node(f"{name}/assign", "assign", (source,), (after.name,), AssignAttrs()))
        kept.append(State(name, after.name, initial[name]))
    inputs = tuple(n for n in graph.inputs if n not in states)
    return check(replace(graph, tensors=tensors, nodes=(*graph.nodes, *assigns), inputs=inputs, states=tuple(kept)))


def joined(name: str, *graphs: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Graph:
    """One-node graphs in a row, by tensor name."""
    tensors: dict[str, Tensor] = {}
    nodes = []
    for i, graph in enumerate(graphs):
        own = {n: f"{i}/{n}" for n, t in graph.tensors.items() if t.data is not None}
        tensors |= {own.get(n, n): replace(t, name=own.get(n, n)) for n, t in graph.tensors.items()}
        nodes += [replace(n, name=f"{i}:{n.op}", inputs=tuple(own.get(x, x) for x in n.inputs)) for n in graph.nodes]
    return check(Graph(name, "tflite", tensors, tuple(nodes), inputs, outputs))


def streaming(rows: int = 4, channels: int = 5) -> Graph:
    """The usual streaming layer: the last rows - 1 rows are kept, a convolution sees them with the new one."""
    rng = RNG(3)
    x = activation("x", (1, 1, 1, channels), 0.05, -4)
    kept, window = replace(x, name="kept", shape=(1, rows - 1, 1, channels)), replace(x, name="window")
    window = replace(window, shape=(1, rows, 1, channels))
    last, out = replace(kept, name="last"), activation("y", (1, 1, 1, 6), 0.1, 3)
    w = weights(rng, (6, rows, 1, channels))
    ends = [constant(n, np.array(v, np.int32)) for n, v in (("begin", [0, 1, 0, 0]), ("size", kept.shape))]
    graph = joined(
        "streaming",
        tflite_graph("CONCATENATION", [kept, x], window, axis=1),
        tflite_graph("SLICE", [window, *ends], last),
        tflite_graph("CONV_2D", [window, w, bias(rng, x, w, 6)], out, strideH=1, strideW=1, padding=1,
                     dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=0),
        inputs=("x", "kept"),
        outputs=("y",),
    )
    return with_states(graph, {"kept": "last"}, {"kept": rng.integers(-128, 128, kept.shape).astype(np.int8)})


def counting() -> Graph:
    """The output is input plus state, and becomes the state: a running sum that saturates."""
    x, total = activation("x", (1, 8), 0.05, 0), activation("total", (1, 8), 0.05, 0)
    graph = joined("counting", tflite_graph("ADD", [x, total], activation("y", (1, 8), 0.05, 0)),
                   inputs=("x", "total"), outputs=("y",))
    return with_states(graph, {"total": "y"}, {"total": np.zeros((1, 8), np.int8)})


def delay_line() -> Graph:
    """Three states, each taking over the one before it; the output adds the newest and the oldest."""
    x = activation("x", (1, 6), 0.05, 0)
    states = [replace(x, name=n) for n in ("one", "two", "three")]
    graph = joined("delay", tflite_graph("ADD", [x, states[2]], activation("y", (1, 6), 0.1, 0)),
                   inputs=("x", "three"), outputs=("y",))
    every = {**graph.tensors, **{t.name: t for t in states}}
    graph = replace(graph, tensors=every, inputs=("x", "one", "two", "three"))
    order = {"three": "two", "two": "one", "one": "x"}
    return with_states(graph, order, {n: np.full((1, 6), i, np.int8) for i, n in enumerate(order)})
