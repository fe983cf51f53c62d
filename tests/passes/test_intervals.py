"""No value lies outside its channel's interval, and what must be constant is seen to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness import RNG, activation, constant, samples
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from planted import (
    HUGE,
    NONE,
    SAME,
    VALID,
    Options,
    conv,
    dead,
    depthwise,
    layered,
    network,
    plant,
    unpruned,
    with_constant,
)
from random_networks import networks

from mcuc.ir import DType, Graph, Node, Requant, check
from mcuc.numerics import requantize, wrap32
from mcuc.ops._pool import PoolAttrs
from mcuc.ops._spatial import Window
from mcuc.ops.qlinear_add.attrs import QLinearAddAttrs
from mcuc.ops.qlinear_average_pool.attrs import QLinearPoolAttrs
from mcuc.ops.qlinear_mul.attrs import QLinearMulAttrs
from mcuc.ops.reshape import ReshapeAttrs
from mcuc.ops.transpose import TransposeAttrs
from mcuc.passes._intervals import Interval, intervals, requantized, weighted_layers
from mcuc.verify import reference

CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def bounds(graph: Graph) -> dict[str, Interval]:
    return intervals(graph, weighted_layers(graph))


def contained(graph: Graph, count: int = 6) -> dict[str, Interval]:
    """The intervals, checked against what the reference computes."""
    found = bounds(graph)
    for sample in samples(graph, count):
        for name, value in reference.run(graph, dict(zip(graph.inputs, sample, strict=True))).items():
            if graph.tensors[name].dtype is not DType.INT8:
                continue  # truth values and int16 have no intervals
            low, high = found[name].low, found[name].high
            assert ((value >= low) & (value <= high)).all(), f"{name}: {value} outside {low}..{high}"
    return found


@settings(CHECKED, max_examples=150)
@given(st.one_of(layered(), networks()), st.integers(0, 2**32 - 1))
def test_no_value_of_a_random_network_lies_outside(graph: Graph, seed: int) -> None:
    contained(plant(graph, seed), 4)
    contained(unpruned(plant(graph, seed)), 4)


RULES = st.one_of(
    st.builds(lambda m, s: Requant("tflite_double", (m,), (s,)), st.integers(-(2**31) + 1, 2**31 - 1),
              st.integers(-31, 30)),
    st.builds(lambda m, s: Requant("tflite_single", (m,), (s,)), st.integers(0, 2**31 - 1), st.integers(-31, 30)),
    st.builds(lambda x: Requant("f32_rne", scale=(float(np.float32(x)),)), st.floats(2.0**-40, 2.0**20)),
)
ACCUMULATOR = st.one_of(st.integers(-3000, 3000), st.integers(-(2**33), 2**33))


@settings(CHECKED, max_examples=600)
@given(RULES, st.tuples(ACCUMULATOR, ACCUMULATOR, ACCUMULATOR), st.integers(-128, 127), st.integers(-128, 127))
@example(Requant("tflite_double", (2**30,), (2,)), (0, 2**29 - 1, 2**30), 0, 0)  # shifted left the last one is 0
@example(Requant("tflite_double", (2**30,), (0,)), (0, 2**31 - 1, 2**32), 0, 0)
def test_requantization_keeps_the_order_or_gives_up(rule: Requant, sums: tuple[int, int, int], zero_point: int,
                                                    edge: int) -> None:
    """Any accumulator between two others, wrapped to int32 as the layers do it, ends between their results."""
    low, acc, high = (np.array([v], np.int64) for v in sorted(sums))
    clamp = (min(edge, zero_point), max(edge, zero_point) if edge % 2 else 127)
    found = requantized(low, high, rule, zero_point, clamp)
    for value in (low, acc, high):
        out = requantize(wrap32(value), rule, zero_point, *clamp)
        assert found.low <= out <= found.high


@pytest.mark.parametrize("sign", [-1, 1])
def test_an_accumulator_that_may_wrap_is_not_called_constant(sign: int) -> None:
    """At the end of int32 the sum turns over for some inputs: the reference really takes both ends."""
    x = activation("x", (1, 2, 2, 1), 0.05, 0)
    step = conv(RNG(0), x, "y", 2, Options(activation=NONE))
    graph = network([x], [step], [step[2]])
    graph = with_constant(graph, "y/1", np.full((2, 1, 1, 1), 100, np.int8))
    graph = with_constant(graph, "y/2", np.array([sign * (2**31 - 200), sign * (2**31 - 20000)], np.int32))
    found = contained(graph)["y"]
    assert found.constant.tolist() == [False, True]
    values = [reference.run(graph, {"x": np.full((1, 2, 2, 1), v, np.int8)})["y"][0, 0, 0, 0] for v in (-128, 127)]
    assert sorted(int(v) for v in values) == [-128, 127]


def narrow(shape: tuple[int, ...]) -> tuple[Graph, str]:
    """An input and a tensor whose channels have ranges of every width: constant at both ends, tiny, wide."""
    x = activation("x", shape, 0.05, 3)
    step = depthwise(RNG(3), x, "n", 1, Options(activation=NONE, zero_point=5, dead=((0, -1), (1, 1))))
    graph = network([x], [step], [step[2]])
    w, b = graph.const("n/1").copy(), graph.const("n/2").copy()
    w[..., 2], w[..., 3], w[..., 4] = 0, 2, -128
    b[2:] = 0
    return with_constant(with_constant(graph, "n/1", w), "n/2", b), "n"


def followed(op: str, attrs: Any, shape: tuple[int, ...], *others: Any, width: int = 5) -> Graph:
    """narrow() and one operator on its result (and constants, or the result again where "n")."""
    graph, n = narrow((1, 4, width, 6))
    constants = [o for o in others if not isinstance(o, str)]
    names = (n, *(o if isinstance(o, str) else o.name for o in others))
    out = activation("y", shape)
    tensors = {**graph.tensors, "y": out, **{c.name: c for c in constants}}
    return check(replace(graph, tensors=tensors, nodes=(*graph.nodes, Node("last", op, names, ("y",), attrs)),
                         outputs=("y",)))


CONSTANT = [True, True, True, False, False, False]
ADD = QLinearAddAttrs((1400, 1810), (-3, 12), 5 << 11, 11, 0, 4)
POOL = Window((2, 3), (1, 2), (1, 1), (0, 1, 1, 1))


@pytest.mark.parametrize(
    "op, attrs, shape, others, expected",
    [
        ("qlinear_add", ADD, (1, 4, 5, 6), ("n",), CONSTANT),
        ("qlinear_add", ADD, (1, 4, 5, 6), (constant("c", np.arange(6).astype(np.int8)),), CONSTANT),
        ("qlinear_mul", QLinearMulAttrs((5, -9), 77, 3 << 12, 12, -2), (1, 4, 5, 6),
         (constant("c", np.array([[9]], np.int8)),), CONSTANT),
        ("qlinear_average_pool", QLinearPoolAttrs(POOL, 0.04, 7, 0.05, 100, 96), (1, 4, 3, 6), (), CONSTANT),
        ("qlinear_average_pool", QLinearPoolAttrs(POOL, 0.04, 5, 0.05, 100, 96, count_include_pad=True), (1, 4, 3, 6),
         (), [False, False, True, False, False, False]),
        ("average_pool_2d", PoolAttrs(POOL, (-100, 100)), (1, 4, 3, 6), (), CONSTANT),
        ("average_pool_2d", PoolAttrs(POOL, rounding="half_up_uint8"), (1, 4, 3, 6), (), CONSTANT),
        ("average_pool_2d", PoolAttrs(POOL, count_include_pad=True, pad_value=5), (1, 4, 3, 6), (),
         [False, False, True, False, False, False]),
        ("max_pool_2d", PoolAttrs(POOL), (1, 4, 3, 6), (), CONSTANT),
        ("transpose", TransposeAttrs((0, 2, 1, 3)), (1, 5, 4, 6), (), CONSTANT),
        ("transpose", TransposeAttrs((0, 3, 1, 2)), (1, 6, 4, 5), (), [False] * 5),
    ],
)
def test_constant_channels_stay_constant_through(op: str, attrs: Any, shape: tuple[int, ...], others: tuple[Any, ...],
                                                 expected: list[bool]) -> None:
    found = contained(followed(op, attrs, shape, *others), 12)
    assert found["n"].constant.tolist() == CONSTANT
    assert found["y"].constant.tolist() == expected


@pytest.mark.parametrize("perm, moved", [((0, 2, 1, 3), False), ((0, 1, 3, 2), True)])
def test_a_transpose_that_moves_the_channels_mixes_them(perm: tuple[int, ...], moved: bool) -> None:
    """As many columns as channels: the shapes do not tell."""
    graph = followed("transpose", TransposeAttrs(perm), (1, 4, 6, 6) if moved else (1, 6, 4, 6), width=6)
    assert contained(graph, 12)["y"].constant.tolist() == ([False] * 6 if moved else CONSTANT)


@pytest.mark.parametrize(
    "row, expected",
    [(12, CONSTANT * 2), (6, CONSTANT), (3, [False] * 3), (4, [False] * 4), (24, CONSTANT * 4), (20, [False] * 20)],
)
def test_a_reshape_deals_the_channels_out_in_turn(row: int, expected: list[bool]) -> None:
    shape = (1, 120 // row, row)
    assert contained(followed("reshape", ReshapeAttrs(shape), shape), 12)["y"].constant.tolist() == expected


@pytest.mark.parametrize("k, padding, expected", [(3, VALID, [True] * 3), (1, SAME, [True] * 3),
                                                  (3, SAME, [True, False, False])])
def test_a_depthwise_over_constants_is_constant_where_the_border_agrees(k: int, padding: int,
                                                                        expected: list[bool]) -> None:
    """Channel 0 holds the pad value, the others do not; and one that saturates everywhere is constant all the same."""
    rng = RNG(2)
    x = activation("x", (1, 5, 5, 2), 0.05, 3)
    a = conv(rng, x, "a", 3, Options(dead=((0, -1), (1, 1), (2, 1))))
    b = depthwise(rng, a[2], "b", 1, Options(k=k, padding=padding, activation=NONE))
    graph = with_constant(network([x], [a, b], [b[2]]), "b/1", np.full((1, k, k, 3), 2, np.int8))
    found = contained(graph)
    assert found["a"].constant.all() and found["b"].constant.tolist() == expected
    stuck = with_constant(graph, "b/2", np.full(3, HUGE, np.int32))
    assert contained(stuck)["b"].constant.all()


def test_a_grouped_convolution_reads_its_own_group() -> None:
    x = activation("x", (1, 4, 4, 2), 0.05, 3)
    a = conv(RNG(2), x, "a", 4, Options(dead=dead(0, 1)))
    b = conv(RNG(4), activation("a", (1, 4, 4, 2), 0.05, -20), "b", 4, Options(activation=NONE, padding=VALID))
    graph = network([x], [a], [a[2]])
    second = network([activation("a", (1, 4, 4, 2), 0.05, -20)], [b], [b[2]])
    node = replace(second.nodes[0], name="1", attrs=replace(second.nodes[0].attrs, groups=2))
    whole = check(replace(graph, tensors={**second.tensors, **graph.tensors}, nodes=(*graph.nodes, node),
                          outputs=("b",)))
    assert contained(whole)["b"].constant.tolist() == [True, True, False, False]
