"""The order found is never worse than the file's, and the lowest of all where it says so.

Two oracles that share no code with the search: a simulation of one order, tensor by tensor, tried on every topological
order; and, for graphs with too many orders, the same simulation under a plain recursion over sets of nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcuc import passes
from mcuc.importers import load
from mcuc.ir import Graph, Node, check
from mcuc.schedule import order as order_module
from mcuc.schedule.order import Ordered, order, peak
from order import cells, network, random_dag
from zoo import ZOO

OVERLAID, ALIAS = ("add", "clip", "logistic", "mul", "quantize", "softmax"), "reshape"
CHECKED = settings(deadline=None, derandomize=True, database=None)


def words(graph: Graph, name: str) -> int:
    return (graph.tensors[name].bytes + 3) // 4 * 4


def bytes_of_steps(graph: Graph, nodes: Sequence[Node]) -> list[int]:
    """Bytes alive at each of these nodes, which run first, in this order; the graph's other nodes run later."""
    outputs = set(graph.outputs)
    behind = set(outputs)  # outputs and the tensors that become one without a copy
    for node in reversed(graph.nodes):
        if node.op == ALIAS and node.outputs[0] in behind:
            behind.add(node.inputs[0])
    buffer = {name: name for name in graph.inputs}
    rest = list(nodes) + [n for n in graph.nodes if n not in nodes]
    found = []
    for step, node in enumerate(nodes):
        (out,) = node.outputs
        reads = graph.runtime_inputs(node)
        later = {name for other in rest[step + 1 :] for name in other.inputs} | outputs
        kept = {buffer[n] for n in buffer if n in later}
        dying = [n for n in dict.fromkeys(reads) if buffer[n] not in kept]
        taken = [b for n, b in buffer.items() if n in graph.inputs or n in outputs]
        buffer[out] = out
        if node.op == ALIAS:
            if not (out in outputs and buffer[node.inputs[0]] in taken):
                buffer[out] = buffer[node.inputs[0]]
        elif node.op in (*OVERLAID, "conv_2d_add") and out not in behind:
            may = node.inputs[3:] if node.op == "conv_2d_add" else node.inputs  # there the residual alone
            same = [n for n in dying if n in may and graph.tensors[n].bytes == graph.tensors[out].bytes]
            free = [n for n in same if node.inputs.count(n) == 1 and buffer[n] not in graph.inputs]
            buffer[out] = buffer[free[0]] if free else out
        unread = set(graph.inputs) if step == 0 else set()
        alive = {buffer[n]: n for n in buffer if n in later or n in reads or n == out or n in unread}
        found.append(sum(words(graph, name) for name in alive.values()))
    return found


def all_orders(graph: Graph) -> Iterator[list[Node]]:
    def go(ran: list[Node], known: frozenset[str]) -> Iterator[list[Node]]:
        if len(ran) == len(graph.nodes):
            yield ran
        for node in graph.nodes:
            if node not in ran and known.issuperset(node.inputs):
                yield from go([*ran, node], known | set(node.outputs))

    yield from go([], frozenset(graph.inputs))


def lowest_of_all_orders(graph: Graph) -> int:
    return min(max(bytes_of_steps(graph, nodes)) for nodes in all_orders(graph))


def lowest_by_recursion(graph: Graph) -> int:
    """Over sets of nodes that have run: bytes alive at the next node do not depend on the order within the set."""

    @cache
    def best(ran: frozenset[int]) -> int:
        """The lowest peak of the nodes that have not run."""
        if len(ran) == len(graph.nodes):
            return 0
        done = [graph.nodes[i] for i in sorted(ran)]
        known = {*graph.inputs, *(n for node in done for n in node.outputs)}
        can = [i for i, node in enumerate(graph.nodes) if i not in ran and known.issuperset(node.inputs)]
        return min(max(bytes_of_steps(graph, [*done, graph.nodes[i]])[-1], best(ran | {i})) for i in can)

    return best(frozenset())


@st.composite
def small_graphs(draw: st.DrawFn, most: int) -> Graph:
    """Up to `most` nodes over one to three inputs: joins, element-wise nodes that may overwrite, reshapes."""
    sizes = {f"x{i}": draw(st.integers(1, 40)) for i in range(draw(st.integers(1, 3)))}
    inputs = list(sizes)
    steps = []
    for i in range(draw(st.integers(1, most))):
        op = draw(st.sampled_from(["conv_2d", "concat", "add", "clip", ALIAS]))
        count = draw(st.integers(1, 3)) if op in ("concat", "add") else 1
        reads = [draw(st.sampled_from(list(sizes))) for _ in range(count)]
        same = op == ALIAS or (op in OVERLAID and draw(st.integers(0, 3)))
        sizes[f"t{i}"] = sizes[reads[0]] if same else draw(st.integers(1, 40))
        steps.append((op, reads, f"t{i}"))
    made = [out for _, _, out in steps]
    read = {name for _, reads, _ in steps for name in reads}
    outputs = [n for n in made if n not in read and draw(st.integers(0, 4))]
    outputs += [n for n in made if n in read and not draw(st.integers(0, 4))]
    return network(steps, sizes, " ".join(inputs), " ".join(outputs or made[-1:]))


def assert_sound(graph: Graph, found: Ordered) -> None:
    """Same nodes, valid, peak as simulated, not below the bound, not above the file's."""
    assert check(found.graph) is found.graph
    assert sorted(n.name for n in found.graph.nodes) == sorted(n.name for n in graph.nodes)
    assert found.graph.tensors is graph.tensors
    own = max(bytes_of_steps(graph, graph.nodes))
    assert found.peak == max(bytes_of_steps(found.graph, found.graph.nodes)) == peak(found.graph)
    assert peak(graph) == own
    assert found.bound <= found.peak <= own
    assert found.exact == (found.bound == found.peak)
    assert (found.graph is graph) == (found.peak == own)


@settings(CHECKED, max_examples=400)
@given(small_graphs(most=6))
def test_the_peak_is_the_lowest_of_all_orders(graph: Graph) -> None:
    found = order(graph)
    assert_sound(graph, found)
    assert found.exact
    assert found.peak == lowest_of_all_orders(graph)


@settings(CHECKED, max_examples=150)
@given(small_graphs(most=10))
def test_the_peak_of_larger_graphs_is_the_lowest_over_sets_of_nodes(graph: Graph) -> None:
    found = order(graph)
    assert_sound(graph, found)
    assert found.exact
    assert found.peak == lowest_by_recursion(graph)


@settings(CHECKED, max_examples=100)
@given(small_graphs(most=9), st.integers(0, 30), st.integers(0, 60))
def test_a_search_cut_short_stays_between_the_bound_and_the_file_s_order(graph: Graph, tries: int, beam: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_module, "TRIES", tries)
        patch.setattr(order_module, "QUICK_TRIES", beam)
        patch.setattr(order_module, "WIDE_TRIES", beam)
        found = order(graph)
    assert_sound(graph, found)
    assert found.bound <= lowest_by_recursion(graph) <= found.peak


def branches(wide: int = 100) -> Graph:
    """Two branches, each wide and then thin, that the file runs side by side."""
    steps = [("conv_2d", "x", "a"), ("conv_2d", "x", "b"), ("conv_2d", "a", "c"), ("conv_2d", "b", "d"),
             ("concat", ("c", "d"), "y")]
    return network([(op, tuple(reads), out) for op, reads, out in steps],
                   {"x": 4, "a": wide, "b": wide, "c": 4, "d": 4, "y": 8}, "x", "y")


def test_one_branch_is_finished_before_the_next_begins() -> None:
    """By hand: x and a, then c, x and b, then c, b and d: 4 + 100 + 4 bytes instead of x, a and b."""
    found = order(branches())
    assert peak(branches()) == 204
    assert (found.peak, found.bound, found.exact) == (108, 108, True)
    assert [n.outputs[0] for n in found.graph.nodes] == ["a", "c", "b", "d", "y"]


def test_the_branch_with_the_higher_peak_and_the_smaller_rest_runs_first() -> None:
    """By hand: with a first c lies beside b, 40 + 80 + 4 bytes; with b first x, b and d are the most."""
    steps = [("conv_2d", "x", "a"), ("conv_2d", "a", "c"), ("conv_2d", "x", "b"), ("conv_2d", "b", "d"),
             ("concat", ("c", "d"), "y")]
    graph = network([(op, tuple(reads), out) for op, reads, out in steps],
                    {"x": 4, "a": 24, "c": 40, "b": 80, "d": 4, "y": 44}, "x", "y")
    found = order(graph)
    assert peak(graph) == 124
    assert (found.peak, found.exact) == (88, True)
    assert [n.outputs[0] for n in found.graph.nodes] == ["b", "d", "a", "c", "y"]


def test_a_node_that_overwrites_its_input_runs_when_the_input_dies() -> None:
    """By hand: the relu of a can take a's bytes only after the other reader of a."""
    steps = [("conv_2d", ("x",), "a"), ("clip", ("a",), "r"), ("conv_2d", ("a",), "s"), ("concat", ("r", "s"), "y")]
    graph = network(steps, {"x": 4, "a": 100, "r": 100, "s": 8, "y": 4}, "x", "y")
    found = order(graph)
    assert peak(graph) == 208
    assert (found.peak, found.exact) == (112, True)
    assert [n.outputs[0] for n in found.graph.nodes] == ["a", "s", "r", "y"]


def test_the_second_of_two_outputs_with_the_same_bytes_is_a_copy_that_can_wait() -> None:
    """By hand: p and q are t reshaped; whichever runs first costs nothing, so q goes first and p waits for z to die."""
    steps = [("conv_2d", ("x",), "t"), ("reshape", ("t",), "p"), ("reshape", ("t",), "q"), ("conv_2d", ("q",), "z"),
             ("mean", ("z",), "y")]
    graph = network(steps, {"x": 4, "t": 100, "p": 100, "q": 100, "z": 200, "y": 4}, "x", "p q y")
    found = order(graph)
    assert peak(graph) == 404
    assert (found.peak, found.exact) == (304, True)
    assert [n.outputs[0] for n in found.graph.nodes] == ["t", "q", "z", "y", "p"]


def test_a_file_s_order_that_is_as_low_is_kept() -> None:
    """Both branches are alike: many orders have the lowest peak, and the graph comes back as it is."""
    once = order(branches()).graph
    assert order(once).graph is once


def test_only_the_part_of_the_file_that_causes_the_peak_is_reordered() -> None:
    """The second pair of branches is as bad in the file, but small."""
    first, second = branches(), branches(wide=20)
    renamed = {n: "x2" if n == "x" else f"{n}2" for n in second.tensors}
    steps = [(n.op, n.inputs, n.outputs[0]) for n in first.nodes] + [("conv_2d", ("y",), "x2")]
    steps += [(n.op, tuple(renamed[i] for i in n.inputs), renamed[n.outputs[0]]) for n in second.nodes]
    sizes = {n: t.bytes for n, t in first.tensors.items()} | {renamed[n]: t.bytes for n, t in second.tensors.items()}
    found = order(network(steps, sizes, "x", "y2"))
    assert [n.outputs[0] for n in found.graph.nodes] == ["a", "c", "b", "d", "y", "x2", "a2", "b2", "c2", "d2", "y2"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count, recent", [(40, 6), (40, 12), (80, 6)])
def test_irregular_graphs_are_ordered_exactly(seed: int, count: int, recent: int) -> None:
    graph = random_dag(seed, count, recent)
    found = order(graph)
    assert_sound(graph, found)
    assert found.exact


@pytest.mark.parametrize("seed", range(3))
def test_networks_of_search_cells_are_ordered_exactly(seed: int) -> None:
    graph = cells(seed, 5, 4)
    found = order(graph)
    assert_sound(graph, found)
    assert found.exact
    assert found.peak < peak(graph)


@pytest.mark.parametrize("seed", range(2))
def test_a_graph_too_large_for_the_exact_search_is_still_improved(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_module, "TRIES", 20_000)
    graph = random_dag(seed, 120, 40)
    found = order(graph)
    assert_sound(graph, found)
    assert not found.exact
    assert found.bound < found.peak < peak(graph)
    again = order(graph)
    assert [n.name for n in found.graph.nodes] == [n.name for n in again.graph.nodes]
    assert (found.peak, found.bound, found.states) == (again.peak, again.bound, again.states)


def test_no_time_at_all_still_gives_a_valid_order() -> None:
    graph = random_dag(0, 120, 40)
    assert_sound(graph, order(graph, time_limit_s=0.0))


def test_a_graph_without_nodes() -> None:
    found = order(network([], {"x": 5}, "x", ""))
    assert (found.peak, found.bound, found.exact, found.graph.nodes) == (0, 0, True, ())


@pytest.mark.parametrize("name", [e.name for e in ZOO])
def test_the_models_are_ordered_exactly_and_not_above_their_file_s_order(name: str, shared_data: Path) -> None:
    graph = passes.optimize(load(shared_data / "models" / f"{name}.tflite"))
    found = order(graph)
    assert_sound(graph, found)
    assert found.exact
