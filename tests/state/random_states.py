"""Random networks that keep states: some inputs of a random network become what an earlier run left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from random_networks import networks

from mcuc.errors import McucError
from mcuc.importers._tflite_state import _ordered
from mcuc.ir import Graph, Node, State, Tensor, check
from mcuc.ops.assign import AssignAttrs


@st.composite
def stateful_networks(draw: Callable[..., Any]) -> Graph:
    """A network of which all inputs but the first are states. A state's next value is any tensor of its shape:
    computed, an input, another state's value in this run, or its own."""
    graph = draw(networks())
    assume(len(graph.inputs) > 1)
    values = [*graph.inputs, *(n for node in graph.nodes for n in node.outputs)]
    tensors: dict[str, Tensor] = dict(graph.tensors)
    states, writers = [], {}
    for name in graph.inputs[1:]:
        current = tensors[name]
        fits = [n for n in values if tensors[n].shape == current.shape]
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
            states=tuple(states),
        )
    )
