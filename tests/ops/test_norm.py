"""Layer norm and RMS norm in integers are within half a step and a hundredth of the real result; C equals them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import RNG, TILINGS, activation, check_c, run_reference

from mcuc.errors import McucError
from mcuc.ir import Array, Graph, Node, Tensor, check
from mcuc.ops._base import Imported
from mcuc.ops._norm import built
from mcuc.ops.layer_norm import OPERATOR as LAYER
from mcuc.ops.quantize import QuantizeAttrs
from mcuc.ops.rms_norm import OPERATOR as RMS
from mcuc.plan import plan
from mcuc.schedule.explore import layer_by_layer

OPERATORS = {"layer_norm": LAYER, "rms_norm": RMS}
BOUND = 0.51


def _graph(op: str, x: Tensor, y: Tensor, gamma: Array, beta: Array | None, epsilon: float = 1e-5,
           axes: int = 1) -> Graph:
    options = {"axes": axes, "epsilon": epsilon, "gamma": gamma, "beta": beta}
    made = built(op, Imported(OPERATORS[op].onnx[0], options, (x,), (y,), "case"), op == "layer_norm")
    tensors = {t.name: t for t in (x, y, *made.constants)}
    node = Node("0", made.op, made.inputs, (y.name,), made.attrs)
    return check(Graph("case", "onnx", tensors, (node,), (x.name,), (y.name,)))


def _real(op: str, q: Array, x: Tensor, y: Tensor, gamma: Array, beta: Array | None, epsilon: float) -> Array:
    """The result in steps of the output, float64, saturated."""
    assert x.quant is not None and y.quant is not None
    v = (q.astype(np.float64) - x.quant.zero_point[0]) * x.quant.scale[0]
    v = v - v.mean(axis=-1, keepdims=True) if op == "layer_norm" else v
    v = v / np.sqrt((v * v).mean(axis=-1, keepdims=True) + epsilon) * gamma + (0 if beta is None else beta)
    return np.clip(v / y.quant.scale[0] + y.quant.zero_point[0], -128, 127)


def _rows(rng: np.random.Generator, count: int) -> Array:
    """Rows of all kinds: random ones, narrow ones, one outlier, all equal, two values, the extremes."""
    wide = rng.integers(-128, 128, (12, count))
    narrow = np.clip(rng.integers(-2, 3, (12, count)) + rng.integers(-120, 120, (12, 1)), -128, 127)
    outlier = narrow.copy()
    outlier[:, rng.integers(0, count)] = rng.integers(-128, 128, 12)
    normal = np.clip(rng.normal(0, rng.uniform(3, 40, (12, 1)), (12, count)), -128, 127)
    ends = np.stack([np.full(count, v) for v in (-128, 0, 127)] + [np.where(np.arange(count) % 2, 127, -128)])
    return np.concatenate([wide, narrow, outlier, np.rint(normal), ends]).astype(np.int8)


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 64, 192, 384, 1000, 4096, 16384])
def test_within_half_a_step_and_a_hundredth_of_float(op: str, count: int) -> None:
    for seed in range(6):
        rng = RNG(seed)
        q = _rows(rng, count)
        x = activation("x", q.shape, float(2.0 ** rng.uniform(-8, 0)), int(rng.integers(-128, 128)))
        y = activation("y", q.shape, float(rng.uniform(0.01, 0.08)), int(rng.integers(-40, 40)))
        gamma = rng.normal(1, 0.4, count) * (1 if seed % 2 else -1)
        beta = None if op == "rms_norm" else rng.normal(0, 0.5, count)
        epsilon = (1e-5, 1e-6, 1e-12, 1e-3, 0.0, 0.1)[seed]
        ((found,),) = run_reference(_graph(op, x, y, gamma, beta, epsilon), [[q]])
        if epsilon == 0.0:  # rows without any spread have no result
            alive = q.astype(int).std(axis=-1) > 0 if op == "layer_norm" else (q != x.quant.zero_point[0]).any(axis=-1)
            q, found = q[alive], found[alive]
        assert np.abs(found - _real(op, q, x, y, gamma, beta, epsilon)).max(initial=0) <= BOUND


def test_a_row_that_is_all_zero_gives_the_offset() -> None:
    x, y = activation("x", (1, 1, 8), 0.1, 3), activation("y", (1, 1, 8), 0.05, -7)
    beta = np.arange(8) * 0.1
    for op, offset in (("layer_norm", np.rint(beta / 0.05)), ("rms_norm", np.zeros(8))):
        graph = _graph(op, x, y, np.ones(8), beta if op == "layer_norm" else None, 0.0)
        ((found,),) = run_reference(graph, [[np.full((1, 1, 8), 3, np.int8)]])
        assert found.reshape(-1).tolist() == (offset - 7).tolist()


def _case(seed: int, op: str, shape: tuple[int, ...], axes: int = 1) -> Graph:
    rng = RNG(seed)
    count = int(np.prod(shape[-axes:]))
    x = activation("x", shape, float(rng.uniform(0.01, 0.1)), int(rng.integers(-128, 128)))
    y = activation("y", shape, 0.03, int(rng.integers(-20, 20)))
    beta = rng.normal(0, 0.5, count) if op == "layer_norm" else None
    return _graph(op, x, y, rng.normal(1, 0.4, count), beta, axes=axes)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    shapes = [((1, 5, 16), 1), ((1, 3, 2, 7), 1), ((1, 3, 2, 7), 2), ((1, 1), 1), ((1, 2, 2, 33), 3), ((1, 3, 192), 1)]
    check_c([_case(i, op, *shape) for i, shape in enumerate(shapes) for op in OPERATORS], tmp_path)


def test_c_of_groups_of_channels(tmp_path: Path) -> None:
    graphs = []
    for groups in (1, 3, 6):
        rng, shape = RNG(groups), (1, 6, 4, 5)
        x, y = activation("x", shape, 0.05, 7), activation("y", shape, 0.03, -4)
        options = {"groups": groups, "epsilon": 1e-5, "gamma": rng.normal(1, 0.3, 6), "beta": rng.normal(0, 0.3, 6)}
        made = built("layer_norm", Imported("InstanceNormalization", options, (x,), (y,), "case"), True)
        tensors = {t.name: t for t in (x, y, *made.constants)}
        node = Node("0", made.op, made.inputs, (y.name,), made.attrs)
        graphs.append(check(Graph("case", "onnx", tensors, (node,), (x.name,), (y.name,))))
    check_c(graphs, tmp_path)


REFUSED = {
    "factors that are no numbers": {"gamma": np.array([1.0, np.nan])},
    "factors of another row": {"gamma": np.ones(3)},
    "a negative epsilon": {"epsilon": -1.0},
    "an epsilon beyond 62 bits": {"epsilon": 1e29},
    "factors beyond the output's steps": {"gamma": np.array([1e9, 1.0])},
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    values = {"gamma": np.ones(2), "epsilon": 1e-5, **REFUSED[name]}
    with pytest.raises(McucError) as caught:
        _graph("layer_norm", activation("x", (1, 2)), activation("y", (1, 2)), values["gamma"], None, values["epsilon"])
    assert caught.value.code == "unsupported-quantization" and "LayerNormalization" in caught.value.found


def test_longer_rows_are_refused() -> None:
    for op, operator in OPERATORS.items():
        graph = _case(0, op, (1, 16384))
        assert operator.limits[1](graph.nodes[0], graph) is None
        graph = _case(0, op, (1, 16385))
        assert operator.limits[1](graph.nodes[0], graph) == "16385 elements"


@pytest.mark.parametrize("op", OPERATORS)
def test_in_place(op: str, tmp_path: Path) -> None:
    """Between two tables, so that input and output of the norm may share a place."""
    shape = (1, 6, 24)
    rng = RNG(3)
    graph = _graph(op, activation("b", shape, 0.05, 3), activation("c", shape, 0.03, -4), rng.normal(1, 0.4, 24), None)
    table = np.roll(np.arange(-128, 128), 128).astype(np.int8)[::-1].tobytes()
    nodes = (Node("1", "quantize", ("a",), ("b",), QuantizeAttrs(table)), *graph.nodes,
             Node("2", "quantize", ("c",), ("d",), QuantizeAttrs(table)))
    tensors = {**graph.tensors, "a": activation("a", shape), "d": activation("d", shape)}
    chain = check(replace(graph, nodes=nodes, tensors=tensors, inputs=("a",), outputs=("d",)))
    schedule = layer_by_layer(chain, None, TILINGS["1-row"])
    placed = plan(chain, schedule)
    assert placed.tensors["b"] == placed.tensors["c"], "the norm lies over its input"
    check_c([chain], tmp_path)
