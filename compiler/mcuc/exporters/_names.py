"""Inputs and outputs under the names that the model's own file gives them, which callers of a runtime ask for."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace

from mcuc.ir import Graph


def with_end_names(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with its inputs and outputs renamed (tensor -> name); what else had such a name gets another one."""
    ends = {n: names[n] for n in (*graph.inputs, *graph.outputs) if names.get(n, n) != n}
    taken = {n for n in (*graph.inputs, *graph.outputs) if n not in ends}
    if len(set(ends.values())) < len(ends) or taken & set(ends.values()):
        return graph
    chosen = frozenset(ends.values())
    others = {n: free(graph, n, chosen) for n in ends.values() if n in graph.tensors and n not in ends}
    return renamed(graph, {**others, **ends})


def free(graph: Graph, name: str, chosen: Set[str] = frozenset()) -> str:
    """A name like this one that no tensor has, and none gets."""
    label = f"{name}/inner"
    while label in graph.tensors or label in chosen:
        label = f"{label}#"
    return label


def renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with other names for some tensors."""

    def all_of(old: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(n, n) for n in old)

    nodes = tuple(replace(n, inputs=all_of(n.inputs), outputs=all_of(n.outputs)) for n in graph.nodes)
    states = tuple(
        replace(s, current=names.get(s.current, s.current), next=names.get(s.next, s.next)) for s in graph.states
    )
    return replace(
        graph,
        tensors={names.get(k, k): replace(t, name=names.get(k, k)) for k, t in graph.tensors.items()},
        nodes=nodes,
        inputs=all_of(graph.inputs),
        outputs=all_of(graph.outputs),
        float_inputs=frozenset(all_of(tuple(graph.float_inputs))),
        states=states,
    )
