"""Tensors inside other tensors: which may be, where they lie, and that no byte is written while another needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from harness import activation, constant, run_reference, samples, tflite_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import networks

from mcuc import ops, passes
from mcuc.ir import Array, Graph, Tensor, check
from mcuc.ops.slice import SliceAttrs
from mcuc.schedule.views import View, moved_inputs, views

CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
Step = tuple[str, Sequence[str], str, Sequence[int], dict[str, object]]


def network(steps: Sequence[Step], inputs: dict[str, Sequence[int]], outputs: str) -> Graph:
    """Steps (TFLite operator, run-time inputs, output, its shape, options), imported one by one; all tensors of one
    scale. SLICE takes begin, CONCATENATION axis and, for another scale, `rescaled`."""
    known: dict[str, Tensor] = {n: activation(n, s, 0.05, 3) for n, s in inputs.items()}
    tensors, nodes = dict(known), []
    for number, (kind, reads, out, shape, given_fields) in enumerate(steps):
        fields = dict(given_fields)
        y = activation(out, shape, 0.1 if fields.pop("rescaled", False) else 0.05, 3)
        arguments = [known[n] for n in reads]
        vectors = {"RESHAPE": [shape], "SLICE": [fields.pop("begin", ()), shape]}.get(kind, [])
        arguments += [constant(f"{out}/{i}", np.array(v, np.int32)) for i, v in enumerate(vectors)]
        made = tflite_graph(kind, arguments, y, **fields)
        known[out] = y
        tensors.update(made.tensors)
        nodes.append(replace(made.nodes[0], name=str(number)))
    return check(Graph("net", "tflite", tensors, tuple(nodes), tuple(inputs), tuple(outputs.split())))


def relu(reads: str, out: str, shape: Sequence[int]) -> Step:
    return ("RELU", [reads], out, shape, {})


def concat(reads: str, out: str, shape: Sequence[int], axis: int, **fields: object) -> Step:
    return ("CONCATENATION", reads.split(), out, shape, {"axis": axis, **fields})


def cut(reads: str, out: str, begin: Sequence[int], shape: Sequence[int]) -> Step:
    return ("SLICE", [reads], out, shape, {"begin": begin})


A, B, BOTH = (1, 2, 3, 4), (1, 3, 3, 4), (1, 5, 3, 4)
INPUTS = {"x": A, "z": B}
PARTS = [relu("x", "a", A), relu("z", "b", B)]


def test_the_parts_of_a_concatenation_along_the_outermost_axis_lie_in_its_output() -> None:
    graph = network([*PARTS, concat("a b", "y", BOTH, 1)], INPUTS, "y")
    found = views(graph)
    assert found == {"a": View("y", 0), "b": View("y", 24)}
    assert moved_inputs(graph.nodes[2], graph, found) == ()


def test_views_of_views_are_followed_to_the_root() -> None:
    """y in w, the reshaped b in y, and a slice of b wherever b lies."""
    steps = [*PARTS, ("RESHAPE", ["b"], "r", (1, 36), {}), relu("x", "c", A), ("RESHAPE", ["a"], "s", (1, 24), {}),
             concat("s r", "y", (1, 60), 1), ("RESHAPE", ["c"], "t", (1, 24), {}), concat("t y", "w", (1, 84), 1),
             cut("b", "h", (0, 1, 0, 0), (1, 1, 3, 4)), relu("h", "o", (1, 1, 3, 4)), relu("w", "v", (1, 84))]
    found = views(network(steps, INPUTS, "o v"))
    assert found == {"c": View("w", 0), "t": View("w", 0), "y": View("w", 24), "a": View("w", 24), "s": View("w", 24),
                     "b": View("w", 48), "r": View("w", 48), "h": View("w", 60)}


@pytest.mark.parametrize(
    ("begin", "shape", "offset"),
    [
        ((0, 1, 0, 0), (1, 2, 3, 4), 12),
        ((0, 0, 0, 0), (1, 3, 3, 4), 0),
        ((0, 2, 1, 0), (1, 1, 2, 4), 28),
        ((0, 1, 2, 1), (1, 1, 1, 3), 21),
        ((0, 0, 1, 0), (1, 2, 2, 4), None),
        ((0, 0, 0, 0), (1, 3, 3, 2), None),
        ((0, 1, 0, 1), (1, 1, 2, 2), None),
    ],
)
def test_a_slice_lies_in_its_source_where_it_is_one_run_of_bytes(
    begin: Sequence[int], shape: Sequence[int], offset: int | None
) -> None:
    graph = network([relu("z", "b", B), cut("b", "s", begin, shape), relu("s", "y", shape)], INPUTS, "y")
    found = views(graph)
    assert found == ({} if offset is None else {"s": View("b", offset)})
    assert moved_inputs(graph.nodes[1], graph, found) == (() if offset is not None else (0,))


@pytest.mark.parametrize(("first", "rows", "step", "offset"), [(0, 2, 2, None), (2, 3, -1, None), (2, 1, -1, 24)])
def test_a_slice_with_steps_lies_in_its_source_where_it_takes_one_element_of_the_axis(
    first: int, rows: int, step: int, offset: int | None
) -> None:
    shape = (1, rows, 3, 4)
    graph = network([relu("z", "b", B), cut("b", "s", (0, 0, 0, 0), shape), relu("s", "y", shape)], INPUTS, "y")
    attrs = SliceAttrs((0, first, 0, 0), shape, (1, step, 1, 1))
    nodes = (graph.nodes[0], replace(graph.nodes[1], attrs=attrs), graph.nodes[2])
    graph = check(replace(graph, nodes=nodes))
    assert views(graph) == ({} if offset is None else {"s": View("b", offset)})
    assert_same_inside_roots(graph)


def test_slices_of_a_model_input_lie_in_it() -> None:
    graph = network([cut("z", "s", (0, 1, 0, 0), A), relu("s", "y", A)], INPUTS, "y")
    assert views(graph) == {"s": View("z", 12)}


WIDE = (1, 2, 3, 8)
REFUSED = {
    "another axis": ([relu("x", "a", A), relu("x", "b", A), concat("a b", "y", WIDE, 3)], "y", {}),
    "another scale": ([*PARTS, concat("a b", "y", BOTH, 1, rescaled=True)], "y", {}),
    "a model input": ([relu("x", "a", A), concat("a z", "y", BOTH, 1)], "y", {"a": View("y", 0)}),
    "a model output": ([*PARTS, concat("a b", "y", BOTH, 1)], "y a", {"b": View("y", 24)}),
    "a reshaped model output": (
        [*PARTS, ("RESHAPE", ["a"], "r", (1, 24), {}), concat("a b", "y", BOTH, 1)], "y r", {"b": View("y", 24)}
    ),
    "twice a part": ([relu("x", "a", A), concat("a a", "y", (1, 4, 3, 4), 1)], "y", {}),
    "a part of two": (
        [*PARTS, concat("a b", "y", BOTH, 1), concat("b a", "w", BOTH, 1)], "y w", {}
    ),
    "a slice to an output": ([relu("z", "b", B), cut("b", "s", (0, 1, 0, 0), A)], "s", {}),
    "two outputs with the same bytes": (
        [*PARTS, concat("a b", "y", BOTH, 1),
         ("RESHAPE", ["y"], "r", (1, 60), {}), ("RESHAPE", ["y"], "q", (5, 12), {})],
        "r q",
        {},
    ),
    "a slice of an output that is a copy of the input": (
        [("RESHAPE", ["z"], "r", (1, 9, 4), {}), cut("r", "s", (0, 3, 0), (1, 2, 4)), relu("s", "y", (1, 2, 4))],
        "r y",
        {},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_view(name: str) -> None:
    steps, outputs, wanted = REFUSED[name]
    assert views(network(steps, INPUTS, outputs)) == wanted


def test_a_slice_that_is_a_part_stays_in_its_source_and_is_moved_once() -> None:
    graph = network([relu("z", "b", B), cut("b", "s", (0, 1, 0, 0), A), relu("z", "c", B),
                     concat("s c", "y", BOTH, 1)], INPUTS, "y")
    found = views(graph)
    assert found == {"s": View("b", 12), "c": View("y", 24)}
    assert moved_inputs(graph.nodes[1], graph, found) == ()
    assert moved_inputs(graph.nodes[3], graph, found) == (0,)


def test_halves_put_together_again_in_the_other_order_are_moved() -> None:
    """The slices of a part of the same output lie at other places than the output wants them."""
    half = (1, 1, 3, 4)
    graph = network([relu("x", "a", A), cut("a", "s", (0, 0, 0, 0), half), cut("a", "t", (0, 1, 0, 0), half),
                     concat("t s", "y", A, 1), relu("a", "w", A)], INPUTS, "y w")
    found = views(graph)
    assert found == {"s": View("a", 0), "t": View("a", 12)}
    assert moved_inputs(graph.nodes[3], graph, found) == (0, 1)


def run_inside_roots(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """Runs the reference on bytes: a tensor's are those of its view or base, and nothing else is ever reused.

    Every tensor that is yet to be read must be whole after every write.
    """
    found = views(graph)
    home: dict[str, View] = {n: View(n, 0) for n in graph.inputs}
    memory = {n: np.array(x).reshape(-1).copy() for n, x in zip(graph.inputs, inputs, strict=True)}
    value: dict[str, Array] = dict(zip(graph.inputs, inputs, strict=True))
    for name, view in found.items():
        assert view.root not in found, "a root has bytes of its own"
        assert 0 <= view.offset <= view.offset + graph.tensors[name].bytes <= graph.tensors[view.root].bytes
        assert name not in graph.inputs and name not in graph.outputs

    def bytes_of(name: str, view: View) -> Array:
        whole = memory.setdefault(view.root, np.zeros(graph.tensors[view.root].elements, np.int8))
        return whole[view.offset : view.offset + graph.tensors[name].elements]

    for step, node in enumerate(graph.nodes):
        (out,) = node.outputs
        reads = [graph.tensors[n].data if n and graph.tensors[n].data is not None
                 else bytes_of(n, home[n]).reshape(graph.tensors[n].shape) if n else None for n in node.inputs]
        (value[out],) = ops.get(node.op).reference(node.attrs, reads)
        alias = ops.get(node.op).alias and out not in graph.outputs and node.inputs[0] in home
        home[out] = found.get(out, home[node.inputs[0]] if alias else View(out, 0))
        target = bytes_of(out, home[out])
        if node.op == "concat":
            axis, moved, at = node.attrs.axis, moved_inputs(node, graph, found), 0
            for index, name in enumerate(node.inputs):
                size = graph.tensors[name].shape[axis]
                place = (slice(None),) * axis + (slice(at, at + size),)
                if index in moved:
                    target.reshape(graph.tensors[out].shape)[place] = value[out][place]
                at += size
        elif not alias and not (node.op == "slice" and moved_inputs(node, graph, found) == ()):
            target[:] = value[out].reshape(-1)
        later = {n for other in graph.nodes[step + 1 :] for n in other.inputs} | set(graph.outputs) | {out}
        for name in later & home.keys():
            assert (bytes_of(name, home[name]) == value[name].reshape(-1)).all(), f"{node.name} destroys {name}"
    return [bytes_of(n, home[n]).reshape(graph.tensors[n].shape) for n in graph.outputs]


def assert_same_inside_roots(graph: Graph) -> None:
    (inputs,) = samples(graph, 4)[3:]
    (wanted,) = run_reference(graph, [inputs])
    for expected, actual in zip(wanted, run_inside_roots(graph, inputs), strict=True):
        assert (expected == actual).all()


@st.composite
def cut_and_joined(draw: st.DrawFn) -> Graph:
    """Up to twelve steps that cut, join, reshape and copy matrices, most of them by whole rows."""
    shapes: dict[str, Sequence[int]] = {"x": (1, 3, 2), "z": (1, 2, 2)}
    steps: list[Step] = []
    for number in range(draw(st.integers(2, 12))):
        x, out = draw(st.sampled_from(list(shapes)[-5:])), f"t{number}"
        _, rows, columns = shapes[x]
        kind = draw(st.sampled_from(["relu", "relu", "reshape", "cut", "cut", "join", "join", "join"]))
        if kind == "cut":
            first = draw(st.integers(0, rows - 1))
            left = draw(st.sampled_from([0, 0, 0, columns - 1]))
            shape = (1, draw(st.integers(1, rows - first)), columns - left)
            steps.append(cut(x, out, (0, first, left), shape))
        elif kind == "join":
            axis = draw(st.sampled_from([1, 1, 1, 2]))
            fits = [n for n, s in shapes.items() if s[3 - axis] == shapes[x][3 - axis]]
            parts = [x, *draw(st.lists(st.sampled_from(fits), min_size=1, max_size=2))]
            if sum(shapes[n][1] * shapes[n][2] for n in parts) > 200:
                continue
            joined = sum(shapes[n][axis] for n in parts)
            shape = (1, joined, columns) if axis == 1 else (1, rows, joined)
            steps.append(concat(" ".join(parts), out, shape, axis, rescaled=not draw(st.integers(0, 5))))
        elif kind == "reshape":
            shape = draw(st.sampled_from([(1, columns, rows), (1, 1, rows * columns), (1, rows * columns, 1)]))
            steps.append(("RESHAPE", [x], out, shape, {}))
        else:
            shape = shapes[x]
            steps.append(relu(x, out, shape))
        shapes[out] = shape
    made = [out for _, _, out, _, _ in steps]
    read = {name for _, reads, _, _, _ in steps for name in reads}
    outputs = [n for n in made if n not in read or not draw(st.integers(0, 7))]
    return network(steps, {"x": (1, 3, 2), "z": (1, 2, 2)}, " ".join(outputs))


@settings(CHECKED, max_examples=400)
@given(cut_and_joined())
def test_networks_that_cut_and_join_compute_the_same_inside_their_roots(graph: Graph) -> None:
    assert_same_inside_roots(graph)


@settings(CHECKED, max_examples=100)
@given(networks())
def test_random_networks_compute_the_same_inside_their_roots(graph: Graph) -> None:
    assert_same_inside_roots(graph)
    assert_same_inside_roots(passes.optimize(graph))


def test_the_same_graph_has_the_same_views() -> None:
    steps = [*PARTS, concat("a b", "y", BOTH, 1), cut("y", "s", (0, 1, 0, 0), A), relu("s", "v", A)]
    graph = network(steps, INPUTS, "v")
    again = network(steps, INPUTS, "v")
    assert list(views(graph).items()) == list(views(again).items())
    assert views(graph) == {"a": View("y", 0), "b": View("y", 24), "s": View("y", 12)}
