"""Dead channels go wherever that is exact, stay where it is not, and no number changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import (
    RNG,
    activation,
    assert_equal,
    check_c,
    constant,
    run_reference,
    samples,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted import (
    NONE,
    RELU,
    SAME,
    VALID,
    Options,
    Step,
    channels,
    conv,
    dead,
    dense,
    depthwise,
    layered,
    network,
    plant,
    unpruned,
    with_constant,
)
from random_networks import networks

from mcuc import ops, passes
from mcuc.exporters import tflite as exporter
from mcuc.importers import tflite as importer
from mcuc.ir import Array, Graph, Tensor, check
from mcuc.passes import remove_dead_channels
from mcuc.passes.fuse_add import split_add
from mcuc.verify import oracle, reference

CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
PLAIN = Options(activation=NONE)


def pruned(graph: Graph, count: int = 6) -> Graph:
    """The optimized graph, checked against the reference of the graph as it was."""
    after = passes.optimize(graph)
    inputs = samples(graph, count)
    assert_equal(run_reference(graph, inputs), run_reference(after, inputs), "after the passes")
    for name in (*graph.inputs, *graph.outputs):
        assert after.tensors[name].shape == graph.tensors[name].shape
    assert all(t.elements for t in after.tensors.values())
    for node in after.nodes:
        shapes = ops.get(node.op).infer(node.attrs, [after.tensors[n] for n in node.inputs if n])
        assert [np.prod(s) for s in shapes] == [after.tensors[n].elements for n in node.outputs]
    return after


def left(graph: Graph, *names: str) -> list[int]:
    """Channels that are left of the tensors."""
    found = channels(split_add(pruned(graph)))
    return [found[n] for n in names]


def image(c: int = 2, side: int = 5) -> Tensor:
    return activation("x", (1, side, side, c), 0.05, 3)


@pytest.mark.parametrize("at, k, padding, kept", [(-1, 1, SAME, 4), (-1, 3, SAME, 4), (1, 1, SAME, 4),
                                                  (1, 3, VALID, 4), (1, 3, SAME, 6)])
def test_a_constant_goes_into_the_bias_unless_padding_reads_otherwise(at: int, k: int, padding: int,
                                                                      kept: int) -> None:
    """At its lowest a channel holds the pad value, at its highest it does not."""
    rng = RNG(1)
    a = conv(rng, image(), "a", 6, Options(k=3, dead=dead(1, 4, at=at)))
    b = conv(rng, a[2], "b", 3, Options(k=k, padding=padding, activation=NONE))
    graph = network([image()], [a, b], [b[2]])
    assert left(graph, "a") == [kept]
    after = passes.optimize(graph)
    weights_left = [after.tensors[n.inputs[1]].shape for n in after.nodes]
    assert weights_left == [(kept, 3, 3, 2), (3, k, k, kept)]
    assert [len(n.attrs.requant.multiplier) for n in after.nodes] == [kept, 3]


def test_where_the_border_forbids_it_a_naive_fold_would_be_wrong() -> None:
    """The same fold as without padding: right in the middle of the image, wrong along its border."""
    rng = RNG(1)
    a = conv(rng, image(), "a", 3, Options(k=3, dead=dead(1, at=1)))
    b = conv(rng, a[2], "b", 2, Options(k=3, activation=NONE))
    graph = unpruned(network([image()], [a, b], [b[2]]))
    assert remove_dead_channels(graph) is graph
    last = graph.nodes[1]
    w, folded = graph.const(last.inputs[1]), graph.const(last.inputs[2])
    read = 127 * w[..., 1].astype(np.int32).sum((1, 2))
    naive = with_constant(graph, last.inputs[1], w * np.array([1, 0, 1], np.int8))
    naive = with_constant(naive, last.inputs[2], (folded + read).astype(np.int32))
    wrong = np.zeros((5, 5), bool)
    for sample in samples(graph, 8):
        right, found = (reference.run(g, {"x": sample[0]})["b"][0] for g in (graph, naive))
        wrong |= (right != found).any(axis=-1)
    assert wrong[[0, 0, 2, 4], [0, 2, 0, 4]].all() and not wrong[1:-1, 1:-1].any()


def test_padding_that_adds_nothing_forbids_nothing() -> None:
    """Only the middle tap reads the channel, or its taps along each border cancel out."""
    rng = RNG(1)
    a = conv(rng, image(), "a", 4, Options(dead=dead(1, 2, at=1)))
    b = conv(rng, a[2], "b", 2, Options(k=3, activation=NONE))
    graph = network([image()], [a, b], [b[2]])
    w = graph.const("b/1").copy()
    w[..., 1] = np.array([[0, 0, 0], [0, 77, 0], [0, 0, 0]])
    w[..., 2] = np.array([[5, -5, 0], [-5, 5, 0], [0, 0, 0]])
    assert left(with_constant(graph, "b/1", w), "a") == [3], "a corner sees 5 + -5 + -5 of the second one, not 0"
    w[..., 2] = 0
    assert left(with_constant(graph, "b/1", w), "a") == [2]


@pytest.mark.parametrize("at, k, padding, kept", [(-1, 3, SAME, 4), (1, 3, VALID, 4), (1, 1, SAME, 4), (1, 3, SAME, 6)])
def test_a_depthwise_loses_its_channel_on_both_sides(at: int, k: int, padding: int, kept: int) -> None:
    rng = RNG(1)
    a = conv(rng, image(), "a", 6, Options(dead=dead(1, 4, at=at)))
    b = depthwise(rng, a[2], "b", 1, Options(k=k, padding=padding, activation=NONE))
    c = conv(rng, b[2], "c", 3, PLAIN)
    graph = network([image()], [a, b, c], [c[2]])
    if k == 3:  # so small that nothing saturates
        graph = with_constant(graph, "b/1", np.sign(graph.const("b/1")) * np.int8(2))
    assert left(graph, "a", "b") == [kept, kept]


def test_a_dead_depthwise_output_takes_its_live_input_along() -> None:
    rng = RNG(1)
    a = conv(rng, image(), "a", 6)
    b = depthwise(rng, a[2], "b", 1, Options(k=3, stride=2, dead=dead(0, 5)))
    c = conv(rng, b[2], "c", 3, Options(k=3, activation=NONE))
    assert left(network([image()], [a, b, c], [c[2]]), "a", "b") == [4, 4]
    also = conv(rng, a[2], "d", 2, PLAIN)
    assert left(network([image()], [a, b, c, also], [c[2], also[2]]), "a", "b") == [6, 6]


def test_a_depthwise_with_a_multiplier_loses_whole_groups_only() -> None:
    rng = RNG(1)
    a = conv(rng, image(), "a", 4)
    b = depthwise(rng, a[2], "b", 2, Options(k=3, dead=dead(0, 1, 2, 7)))
    c = conv(rng, b[2], "c", 3, PLAIN)
    assert left(network([image()], [a, b, c], [c[2]]), "a", "b") == [3, 6]


def test_what_nobody_reads_goes() -> None:
    """Zero weights in every reader, or a reader's output that is dead itself; chains of them in one pass."""
    rng = RNG(1)
    a = conv(rng, image(), "a", 5)
    b, c = conv(rng, a[2], "b", 4, Options(k=3)), conv(rng, a[2], "c", 2, PLAIN)
    d = conv(rng, b[2], "d", 2, PLAIN)
    graph = network([image()], [a, b, c, d], [c[2], d[2]])
    wb, wc, wd = (graph.const(f"{n}/1").copy() for n in "bcd")
    wc[..., [1, 3]], wd[..., 2] = 0, 0
    assert left(with_constant(with_constant(graph, "c/1", wc), "d/1", wd), "a", "b") == [5, 3]
    wb[[0, 1, 3]] *= np.array([1, 0, 1, 0, 1], np.int8)  # only b's unread channel 2 reads a's 1 and 3
    wb[:, 1, 1, [0, 2, 4]] |= 1
    whole = with_constant(with_constant(with_constant(graph, "b/1", wb), "c/1", wc), "d/1", wd)
    assert left(whole, "a", "b") == [3, 3]


def _residual(first: Sequence[int], second: Sequence[int], kind: str = "ADD") -> Graph:
    rng = RNG(1)
    a, b = (conv(rng, image(), n, 6, Options(dead=dead(*gone))) for n, gone in (("a", first), ("b", second)))
    s = (kind, (a[2], b[2]), activation("s", (1, 5, 5, 6), 0.07, -10), {})
    c = conv(rng, s[2], "c", 3, PLAIN)
    return network([image()], [a, b, s, c], [c[2]])


@pytest.mark.parametrize("kind, kept", [("ADD", [5, 6]), ("SUB", [5, 6]), ("MUL", [3, 2])])
def test_operands_lose_a_channel_together(kind: str, kept: list[int]) -> None:
    """Of a sum both must be dead; of a product one that stands for 0 is enough."""
    assert left(_residual((0, 3), (3, 4), kind), "a", "b", "s") == [kept[0]] * 3
    assert left(_residual((0, 3), (1, 4), kind), "a", "b", "s") == [kept[1]] * 3


@pytest.mark.parametrize("shape", [(6,), (1, 5, 5, 6), (1,), (5, 5, 1)])
def test_a_constant_operand_is_cut_along(shape: tuple[int, ...]) -> None:
    rng = RNG(1)
    a = conv(rng, image(), "a", 6, Options(dead=dead(0, 3)))
    operand = constant("", rng.integers(-99, 99, shape).astype(np.int8), (0.03,), (4,))
    if shape == (1, 5, 5, 6):
        operand = replace(operand, data=np.broadcast_to(operand.data[:, :1, :1], shape).copy())  # type: ignore[index]
    s: Step = ("ADD", (operand, a[2]), activation("s", (1, 5, 5, 6), 0.07, -10), {})
    c = conv(rng, s[2], "c", 3, PLAIN)
    varies = shape == (5, 5, 1)  # no channel of the sum is constant
    assert left(network([image()], [a, s, c], [c[2]]), "a", "s") == [6 if varies else 4] * 2


def _then(step: Callable[[Tensor], Step], last: Callable[[np.random.Generator, Tensor], list[Step]]) -> Graph:
    rng = RNG(1)
    a = conv(rng, image(), "a", 6, Options(dead=dead(0, 4)))
    s = step(a[2])
    rest = last(rng, s[2])
    return network([image()], [a, s, *rest], [rest[-1][2]])


def _pointwise(rng: np.random.Generator, x: Tensor) -> list[Step]:
    return [conv(rng, x, "c", 3, PLAIN)]


def _like(x: Tensor, *shape: int) -> Tensor:
    return replace(x, name="s", shape=shape)


POOL = {"padding": SAME, "strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 3}


@pytest.mark.parametrize(
    "step, kept",
    [
        (lambda x: ("MAX_POOL_2D", (x,), _like(x, 1, 3, 3, 6), POOL), [4, 4]),
        (lambda x: ("AVERAGE_POOL_2D", (x,), _like(x, 1, 3, 3, 6), POOL), [4, 4]),
        (lambda x: ("MEAN", (x, constant("", np.array([1, 2], np.int32))), activation("s", (1, 1, 1, 6), 0.03, 4),
                    {"keepDims": True}), [4, 4]),
        (lambda x: ("MEAN", (x, constant("", np.array([3], np.int32))), activation("s", (1, 5, 5, 1), 0.03, 4),
                    {"keepDims": True}), [6, 1]),
        (lambda x: ("LOGISTIC", (x,), activation("s", x.shape, 1 / 256, -128), {}), [4, 4]),
        (lambda x: ("QUANTIZE", (x,), activation("s", x.shape, 0.09, 6), {}), [4, 4]),
        (lambda x: ("TRANSPOSE", (x, constant("", np.array([0, 2, 1, 3], np.int32))), _like(x, 1, 5, 5, 6), {}),
         [4, 4]),
        (lambda x: ("TRANSPOSE", (x, constant("", np.array([0, 3, 1, 2], np.int32))), _like(x, 1, 6, 5, 5), {}),
         [6, 5]),
        (lambda x: ("RESIZE_NEAREST_NEIGHBOR", (x, constant("", np.array([7, 9], np.int32))), _like(x, 1, 7, 9, 6),
                    {}), [4, 4]),
        (lambda x: ("PAD", (x, constant("", np.array([[0, 0], [0, 0], [0, 0], [1, 2]], np.int32))),
                    _like(x, 1, 5, 5, 9), {}), [4, 7]),
        (lambda x: ("CONCATENATION", (x, x), _like(x, 1, 5, 5, 12), {"axis": 3}), [4, 8]),
        (lambda x: ("CONCATENATION", (x, x), _like(x, 1, 10, 5, 6), {"axis": 1}), [4, 4]),
        (lambda x: ("SOFTMAX", (x,), activation("s", x.shape, 1 / 256, -128), {"beta": 1.0}), [6, 6]),
        # 0 and 5 lie outside the slice, 4 is constant
        (lambda x: ("SLICE", (x, *(constant("", np.array(v, np.int32)) for v in ((0, 1, 0, 1), (1, 4, 5, 4)))),
                    _like(x, 1, 4, 5, 4), {}), [3, 3]),
    ],
)
def test_layers_in_between_pass_it_on(step: Callable[[Tensor], Step], kept: list[int]) -> None:
    """Or, where they mix channels, keep them all."""
    assert left(_then(step, _pointwise), "a", "s") == kept


def test_a_transpose_of_as_many_columns_as_channels_mixes_them() -> None:
    rng = RNG(1)
    a = conv(rng, image(2, 6), "a", 6, Options(dead=dead(0, 1, 2, 3, 4)))
    s: Step = ("TRANSPOSE", (a[2], constant("", np.array([0, 1, 3, 2], np.int32))), _like(a[2], 1, 6, 6, 6), {})
    c = conv(rng, s[2], "c", 3, PLAIN)
    assert left(network([image(2, 6)], [a, s, c], [c[2]]), "a", "s") == [6, 6]


def test_a_slice_in_steps_keeps_its_channels() -> None:
    ends = [constant("", np.array(v, np.int32)) for v in ((0, 0, 0, 0), (1, 5, 5, 6), (1, 1, 1, 2))]
    graph = _then(lambda x: ("STRIDED_SLICE", (x, *ends), _like(x, 1, 5, 5, 3), {}), _pointwise)
    assert left(graph, "a", "s") == [6, 3]


@pytest.mark.parametrize("value, kept", [(-20, 4), (5, 6)])
def test_padding_around_a_constant_leaves_it_one_where_it_is_the_same(value: int, kept: int) -> None:
    pads = constant("", np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32))
    fill = constant("", np.array([value], np.int8), (0.05,), (-20,))

    def behind(rng: np.random.Generator, x: Tensor) -> list[Step]:
        between: Step = ("QUANTIZE", (x,), activation("t", x.shape, 0.04, -20), {})  # no window to fuse the pad into
        return [between, *_pointwise(rng, between[2])]

    assert left(_then(lambda x: ("PADV2", (x, pads, fill), _like(x, 1, 8, 6, 6), {}), behind), "a", "s") == [kept] * 2


def test_flattened_channels_go_from_a_dense_layer() -> None:
    def flatten(x: Tensor) -> Step:
        return "RESHAPE", (x, constant("", np.array([1, 150], np.int32))), activation("s", (1, 150), 0.05, -20), {}

    graph = _then(flatten, lambda rng, x: [dense(rng, x, "d", 5, Options(activation=NONE, dead=dead(2))),
                                           dense(rng, replace(activation("d", (1, 5), 0.05, 3)), "e", 4, PLAIN)])
    after = pruned(graph)
    assert [channels(after)[n] for n in ("a", "s", "d")] == [4, 100, 4]
    assert [after.tensors[n.inputs[1]].shape for n in after.nodes if n.op == "fully_connected"] == [(4, 100), (4, 4)]
    assert next(n for n in after.nodes if n.op == "reshape").attrs.shape == (1, 100)


def test_a_tensor_keeps_at_least_one_channel_and_the_ends_keep_all() -> None:
    rng = RNG(1)
    a = conv(rng, image(), "a", 4, Options(dead=dead(0, 1, 2, 3)))
    b = depthwise(rng, a[2], "b", 1, Options(k=3))
    c = conv(rng, b[2], "c", 3, Options(dead=dead(0, 2)))
    assert left(network([image()], [a, b, c], [c[2]]), "x", "a", "b", "c") == [2, 1, 1, 3]
    assert left(network([image()], [a, b, c], [c[2], a[2]]), "x", "a", "b", "c") == [2, 4, 4, 3]


def test_a_grouped_convolution_keeps_its_channels() -> None:
    rng = RNG(1)
    a = conv(rng, image(), "a", 4, Options(dead=dead(0, 1)))
    half = activation("a", (1, 5, 5, 2), 0.05, -20)
    b = conv(rng, half, "b", 4, Options(dead=dead(3)))
    c = conv(rng, b[2], "c", 2, PLAIN)
    first, rest = network([image()], [a], [a[2]]), network([half], [b, c], [c[2]])
    grouped = replace(rest.nodes[0], name="grouped", attrs=replace(rest.nodes[0].attrs, groups=2))
    nodes = (*first.nodes, grouped, replace(rest.nodes[1], name="last"))
    graph = check(replace(first, tensors={**rest.tensors, **first.tensors}, nodes=nodes, outputs=("c",)))
    assert left(graph, "a", "b") == [4, 4]


def test_weight_zero_points_are_taken_off_before_folding() -> None:
    """A raw weight of 0 reads its channel when the zero point is not 0; one equal to it does not."""
    rng = RNG(1)
    a = conv(rng, image(), "a", 4, Options(dead=dead(1, at=1)))
    b = conv(rng, a[2], "b", 3, PLAIN)
    graph = network([image()], [a, b], [b[2]])
    attrs = replace(graph.nodes[1].attrs, weight_zero_point=(7, -3, 0))
    w = graph.const("b/1").copy()
    w[..., 2] = np.array([7, -3, 0], np.int8).reshape(3, 1, 1)
    w[..., 3] = 0
    graph = replace(graph, nodes=(graph.nodes[0], replace(graph.nodes[1], attrs=attrs)))
    after = pruned(with_constant(graph, "b/1", w))
    assert channels(after)["a"] == 2 and after.nodes[1].attrs.weight_zero_point == (7, -3, 0)


def test_the_note_says_what_was_saved_and_costs_follow_the_shapes() -> None:
    rng = RNG(1)
    a = conv(rng, image(), "a", 6, Options(k=3, dead=dead(1, 4)))
    b = conv(rng, a[2], "b", 3, PLAIN)
    graph = network([image()], [a, b], [b[2]])
    after = passes.optimize(graph)
    assert after.notes == ("2 of 9 channels are constant or unused and were folded away: "
                           "MACs 3,150 -> 2,100, weight bytes 126 -> 84",)
    assert [ops.get(n.op).cost(n, after).macs for n in after.nodes] == [25 * 4 * 9 * 2, 25 * 3 * 4]
    assert str(passes.optimize(after)) == str(after) and passes.optimize(after).notes == after.notes
    lively = network([image()], [conv(rng, image(), "a", 6), b], [b[2]])
    assert passes.optimize(lively).notes == ()


@settings(CHECKED, max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_nothing_is_removed_from_networks_without_dead_channels(seed: int) -> None:
    rng = RNG(seed)
    a = conv(rng, image(), "a", 5, Options(k=3, activation=NONE))
    b = depthwise(rng, a[2], "b", 1, Options(k=3, activation=NONE))
    c = conv(rng, b[2], "c", 4, PLAIN)
    graph = unpruned(network([image()], [a, b, c], [c[2]]))
    assert remove_dead_channels(graph) is graph


def test_random_networks_with_planted_channels_keep_every_number() -> None:
    """All three rounding rules, whatever is dead and wherever: see planted.plant. Many of them do shrink."""
    shrunk = []

    @settings(CHECKED, max_examples=250)
    @given(st.one_of(layered(), layered(), networks()), st.integers(0, 2**32 - 1))
    def each(graph: Graph, seed: int) -> None:
        dying = plant(graph, seed)
        after = pruned(dying, 4)
        shrunk.append(channels(after) != channels(unpruned(dying)))
        assert str(passes.optimize(dying)) == str(after), "the same again"

    each()
    assert sum(shrunk) > 50


CHAIN = ("max", "average", "depthwise", "double", "relu", "add", "twice", "pad")


def _chain_step(draw: Callable[..., Any], rng: np.random.Generator, kind: str, x: Tensor, name: str) -> Step:
    def like(*shape: int) -> Tensor:
        return replace(x, name=name, shape=shape)

    _, h, w, c = x.shape
    if kind in ("max", "average"):
        k = draw(st.sampled_from([1, 2, 3]))
        fields = {"padding": SAME, "strideH": 1, "strideW": 1, "filterHeight": k, "filterWidth": k}
        return ("MAX_POOL_2D" if kind == "max" else "AVERAGE_POOL_2D"), (x,), like(1, h, w, c), fields
    if kind in ("depthwise", "double"):
        o = Options(k=draw(st.sampled_from([1, 3])), padding=draw(st.sampled_from([SAME, VALID] if h > 2 else [SAME])),
                    stride=draw(st.sampled_from([1, 2])), activation=draw(st.sampled_from([NONE, RELU])))
        o = o if h > 2 else replace(o, k=1)
        return depthwise(rng, x, name, 2 if kind == "double" and c <= 8 else 1, o)
    if kind == "relu":
        return "RELU", (x,), activation(name, x.shape, 0.08, -50), {}
    if kind == "add":
        return "ADD", (x, x), activation(name, x.shape, 0.15, 5), {}
    if kind == "twice" and c <= 8:
        return "CONCATENATION", (x, x), like(1, h, w, 2 * c), {"axis": 3}
    pads = constant("", np.array([[0, 0], [1, 0], [0, 1], [0, 0]], np.int32))
    return "PAD", (x, pads), like(1, h + 1, w + 1, c), {}


@st.composite
def chains(draw: Callable[..., Any]) -> tuple[Graph, list[str], int]:
    """A convolution with planted channels, layers that keep channels apart, and one that mixes them: the network, the
    tensors in between, and how many channels are planted."""
    rng = RNG(draw(st.integers(0, 2**32 - 1)))
    x = activation("x", (1, draw(st.integers(3, 6)), draw(st.integers(3, 6)), 2), 0.05, 3)
    count = draw(st.integers(2, 6))
    stuck = draw(st.lists(st.sampled_from([-1, 1]), min_size=1, max_size=count - 1))
    steps = [conv(rng, x, "t0", count, Options(k=draw(st.sampled_from([1, 3])), activation=draw(st.sampled_from(
        [NONE, RELU])), dead=tuple(enumerate(stuck))))]
    for n in range(draw(st.integers(0, 3))):
        steps.append(_chain_step(draw, rng, draw(st.sampled_from(CHAIN)), steps[-1][2], f"t{n + 1}"))
    last = steps[-1][2]
    k, padding = draw(st.sampled_from([(1, SAME), (3, SAME), (3, VALID) if min(last.shape[1:3]) > 2 else (1, VALID)]))
    steps.append(conv(rng, last, "y", 2, Options(k=k, padding=padding, activation=NONE)))
    return network([x], steps, [steps[-1][2]]), [s[2].name for s in steps[:-1]], len(stuck)


def test_planted_channels_go_wherever_they_stay_constant() -> None:
    """Judged by what the reference computes: a planted channel that is one value throughout every tensor of the chain,
    and that the last layer reads without padding or as the pad value, must be gone."""
    went = []

    @settings(CHECKED, max_examples=300)
    @given(chains())
    def each(case: tuple[Graph, list[str], int]) -> None:
        graph, names, planted = case
        values = [reference.run(graph, {"x": s[0]}) for s in samples(graph, 5)]
        gone = 0
        for channel in range(planted):
            slots = [channel]
            good = True
            for before, name in zip([None, *names[:-1]], names, strict=True):
                if before is not None and graph.tensors[name].shape[3] == 2 * graph.tensors[before].shape[3]:
                    half = graph.tensors[before].shape[3]
                    concatenated = graph.producers()[name].op == "concat"
                    slots = [t for s in slots for t in ((s, s + half) if concatenated else (2 * s, 2 * s + 1))]
                found = np.stack([v[name][..., slots].reshape(-1, len(slots)) for v in values])
                good = good and all(len(np.unique(found[..., i])) == 1 for i in range(len(slots)))
            reader = graph.nodes[-1].attrs
            good = good and (not any(reader.window.pad) or bool((found == reader.pad_value).all()))
            gone += good
        went.append(gone)
        count = channels(graph)["t0"]
        assert channels(pruned(graph, 5))["t0"] <= count - gone

    each()
    assert sum(went) > 100


def mobile(seed: int) -> Graph:
    """Convolution, padded depthwise, residual, concatenation, pool, flatten, dense; c's channel 2 must stay, for d pads
    with another value."""
    rng = RNG(seed)
    x = image(3, 6)
    a = conv(rng, x, "a", 9, Options(k=3, stride=2, dead=((0, -1), (4, -1), (6, 1))))
    b = depthwise(rng, a[2], "b", 1, Options(k=3, dead=dead(2)))
    c = conv(rng, b[2], "c", 7, Options(zero_point=-128, dead=((1, -1), (2, 1), (5, -1))))
    d = conv(rng, c[2], "d", 7, Options(k=3, zero_point=-128, dead=((1, -1), (2, -1), (5, -1))))
    s: Step = ("ADD", (c[2], d[2]), activation("s", c[2].shape, 0.09, -128), {})
    t: Step = ("CONCATENATION", (s[2], s[2]), replace(s[2], name="t", shape=(1, 3, 3, 14)), {"axis": 3})
    p: Step = ("AVERAGE_POOL_2D", (t[2],), replace(s[2], name="p", shape=(1, 2, 2, 14)),
               {"padding": SAME, "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2})
    f: Step = ("RESHAPE", (p[2], constant("", np.array([1, 56], np.int32))), replace(s[2], name="f", shape=(1, 56)), {})
    e = dense(rng, f[2], "e", 5, PLAIN)
    return network([x], [a, b, c, d, s, t, p, f, e], [e[2]])


def test_a_pruned_network_computes_what_tflite_micro_does() -> None:
    """The outside oracle runs the file as it was."""
    for seed in range(4):
        blob = exporter.export(mobile(seed))
        graph = importer.parse(blob, "mobile.tflite", "mobile")
        after = passes.optimize(graph)
        assert [channels(after)[n] for n in ("a", "b", "c", "d", "s", "t", "p", "f")] == [6, 6, 5, 5, 5, 10, 10, 40]
        inputs = samples(graph, 12, seed)
        assert_equal(oracle.tflite_micro(blob, inputs), run_reference(after, inputs), "pruned against TFLite Micro")


def test_the_c_of_pruned_networks_equals_the_reference(tmp_path: Path) -> None:
    check_c([mobile(0), mobile(1), _residual((0, 3), (3, 4), "MUL")], tmp_path, optimize=True)


def _saved(graph: Graph) -> tuple[int, int]:
    """MACs, bytes of the weights without biases."""
    layers = [n for n in graph.nodes if n.op in ("conv_2d", "conv_2d_add", "depthwise_conv_2d", "fully_connected")]
    return (sum(ops.get(n.op).cost(n, graph).macs for n in layers),
            sum(graph.tensors[n.inputs[1]].bytes for n in layers))


@pytest.mark.shared
@pytest.mark.slow
def test_half_of_the_visual_wake_words_network_goes_and_no_answer_changes(shared_data: Path) -> None:
    graph = importer.load(shared_data / "models" / "vww96_int8.tflite")
    before, after = unpruned(graph), passes.optimize(graph)
    assert _saved(before) == (7_489_664, 208_112)
    macs, size = _saved(after)
    assert macs <= 3_773_843 and size <= 30_984, "the figures of a pruning by hand"
    golden: Any = np.load(shared_data / "models" / "golden_vww96_int8.npz")
    name, out = graph.inputs[0], graph.outputs[0]
    for x, y in zip(golden["x"], golden["t0"], strict=True):
        assert np.array_equal(reference.run(after, {name: x})[out].reshape(-1), y), "TFLite Micro's answer"
    images: Array = np.load(shared_data / "images" / "mlperf_vww01_a.npz")["x"][::8]
    answers = set()
    for x in (images ^ 0x80).view(np.int8):
        wanted, found = (reference.run(g, {name: x})[out] for g in (before, after))
        assert np.array_equal(wanted, found)
        answers.add(found.tobytes())
    assert len(images) == 63 and len(answers) > 20


@pytest.mark.shared
@pytest.mark.parametrize("name, most", [("te_vww80", 10_931_325), ("tm_mbv1_025_128_int8", 12_461_824),
                                        ("mbv1_025_128_u8", 12_868_864), ("te_persondet", 18_202_380)])
def test_published_models_shrink_and_keep_their_numbers(shared_data: Path, name: str, most: int) -> None:
    graph = importer.load(shared_data / "models" / f"{name}.tflite")
    before, after = unpruned(graph), passes.optimize(graph)
    assert _saved(after)[0] <= most < _saved(before)[0]
    inputs = samples(before, 3)
    assert_equal(run_reference(before, inputs), run_reference(after, inputs), name)
