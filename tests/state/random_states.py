"""Random networks that keep states: some inputs of a random network become what an earlier run left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from random_networks import networks
from test_lstm import lstm
from test_svdf import svdf

from mcuc.errors import McucError
from mcuc.importers._tflite_state import _ordered
from mcuc.ir import DType, Graph, Node, State, Tensor, check
from mcuc.ops.assign import AssignAttrs
from mcuc.ops.reshape import ReshapeAttrs


@st.composite
def stateful_networks(draw: Callable[..., Any]) -> Graph:
    """A network of which all inputs but the first are states. A state's next value is any tensor of its shape:
    computed, an input, another state's value in this run, or its own."""
    graph = draw(networks())
    assume(len(graph.inputs) > 1 and all(graph.tensors[n].dtype is DType.INT8 for n in graph.inputs))
    if draw(st.booleans()):
        graph = _with_layer(graph, draw(st.sampled_from(["lstm", "svdf"])), draw(st.integers(0, 99)))
    values = [*graph.inputs, *(node.outputs[0] for node in graph.nodes)]
    tensors: dict[str, Tensor] = dict(graph.tensors)
    states, writers = [], {}
    for name in graph.inputs[1:]:
        current = tensors[name]
        fits = [n for n in values if (tensors[n].shape, tensors[n].dtype) == (current.shape, current.dtype)]
        source = draw(st.sampled_from(fits))
        after = replace(current, name=f"{name}/next")
        tensors[after.name] = after
        writers[name] = Node(f"{name}/assign", "assign", (source,), (after.name,), AssignAttrs())
        values_of = np.random.default_rng(draw(st.integers(0, 99)))
        states.append(State(name, after.name, values_of.integers(-128, 128, current.shape).astype(np.int8)))
    try:
        assigns = _ordered(writers, list(graph.nodes), "case")
    except McucError:  # states that exchange their values, which importers refuse
        assume(False)
    return check(
        replace(
            graph,
            tensors=tensors,
            nodes=(*graph.nodes, *assigns),
            inputs=graph.inputs[:1],
            states=(*graph.states, *states),
        )
    )


def _with_layer(graph: Graph, kind: str, seed: int) -> Graph:
    """With an LSTM or an SVDF that reads one of the network's values; what it computes is an output more."""
    rng = np.random.default_rng(seed)
    values = [*graph.inputs, *(node.outputs[0] for node in graph.nodes)]
    values = [n for n in values if graph.tensors[n].dtype is DType.INT8]
    source = graph.tensors[values[int(rng.integers(len(values)))]]
    n = source.elements
    if kind == "svdf":
        made = svdf(n, int(rng.integers(1, 5)), int(rng.integers(1, 3)), int(rng.integers(1, 6)), "int16", seed=seed)
    else:
        steps = int(rng.choice([d for d in (1, 2, 3, 5) if n % d == 0]))
        made = lstm(steps, n // steps, int(rng.integers(1, 7)), seed=seed)
    own = {name: f"layer/{name}" for name in made.tensors}
    shaped = replace(source, name=own["x"], shape=made.tensors["x"].shape, data=None)
    tensors = {own[t.name]: replace(t, name=own[t.name]) for t in made.tensors.values()} | {shaped.name: shaped}
    nodes = [Node("layer/reshape", "reshape", (source.name,), (shaped.name,), ReshapeAttrs(shaped.shape))]
    nodes += [Node(f"layer/{kind}", n.op, tuple(own[i] for i in n.inputs), tuple(own[o] for o in n.outputs), n.attrs)
              for n in made.nodes]
    states = tuple(State(own[s.current], own[s.next], s.initial) for s in made.states)
    return replace(graph, tensors={**graph.tensors, **tensors}, nodes=(*graph.nodes, *nodes),
                   outputs=(*graph.outputs, own["y"]), states=states)
