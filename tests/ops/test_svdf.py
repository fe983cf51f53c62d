"""SVDF with its memory kept from run to run: reference, TFLite Micro, C, kernel vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, constant, run_reference, tflite_graph

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Quant, State, Tensor, check
from mcuc.ops.svdf import SvdfAttrs


def svdf(features: int, units: int, rank: int, memory: int, dtype: str = "int8", *, out_zero: int = -128,
         x_zero: int = 3, seed: int = 0, most: int = 127, state: float = 0.05) -> Graph:
    """A random layer. dtype: of memory and time weights."""
    rng = RNG(seed)
    filters = units * rank
    x, out = activation("x", (1, features), 0.02, x_zero), activation("y", (1, units), 0.02, out_zero)
    f = constant("f", rng.integers(-127, 128, (filters, features)).astype(np.int8), [0.008])
    t = constant("t", rng.integers(-most, most + 1, (filters, memory)).astype(dtype), [0.004])
    b = constant("b", rng.integers(-900, 900, units).astype(np.int32), [state * 0.004])
    kept = Tensor("m", (1, filters * memory), DType(dtype), Quant((float(np.float32(state)),), (0,)))
    return tflite_graph("SVDF", [x, f, t, b, kept], out, rank=rank, fusedActivationFunction=1)


CASES = [
    svdf(8, 6, 1, 4),
    svdf(5, 4, 2, 7, seed=1, out_zero=-5),
    svdf(3, 9, 3, 1, seed=2, out_zero=12, x_zero=-128),
    svdf(12, 5, 2, 3, seed=3, x_zero=90),
    svdf(8, 6, 1, 4, "int16", seed=4),
    svdf(7, 3, 4, 9, "int16", seed=5, most=4000, state=0.001),
    svdf(1, 1, 1, 2, "int16", seed=6, out_zero=0),
]


@pytest.mark.parametrize("graph", CASES, ids=lambda g: g.name)
def test_reference_equals_tflite_micro_over_a_sequence(graph: Graph) -> None:
    check_tflite(graph, count=14)


def test_sums_wrap_as_in_tflite_micro() -> None:
    """Time weights and features of 16 bits can leave 32 bits."""
    graph = svdf(20, 2, 2, 8, "int16", seed=7, most=32767, state=0.00005)
    check_tflite(graph, count=20)


def test_c_equals_reference_over_a_sequence(tmp_path: Path) -> None:
    check_c(CASES, tmp_path, count=6)


def test_the_memory_holds_the_last_features() -> None:
    """As many runs after an impulse as the memory is long its effect is gone."""
    graph = svdf(4, 3, 2, 5, seed=8, x_zero=0)
    impulse, rest = np.full((1, 4), 100, np.int8), np.zeros((1, 4), np.int8)
    quiet = [out for (out,) in run_reference(graph, [[rest]] * 7)]
    found = [out for (out,) in run_reference(graph, [[impulse], *[[rest]] * 6])]
    assert any(not np.array_equal(a, b) for a, b in zip(found[1:5], quiet[1:5], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(found[5:], quiet[5:], strict=True))


@pytest.mark.parametrize("change,found", [
    ({"rank": 4}, "do not go together"),
    ({"rank": 0}, "do not go together"),
    ({"rank": -1}, "do not go together"),
    ({"time": "int16"}, "int16 is needed"),
    ({"time": "int32"}, "int8 or int16"),
    ({"zero": 5}, "zero point"),
    ({"memory_zero": 5}, "zero point of 5"),
])
def test_what_does_not_fit_is_refused(change: dict[str, object], found: str) -> None:
    x, out = activation("x", (1, 3)), activation("y", (1, 3))
    kept = activation("m", (1, 12), zero_point=int(str(change.get("memory_zero", 0))))
    f = constant("f", np.ones((6, 3), np.int8), [0.1], (int(str(change.get("zero", 0))),))
    t = constant("t", np.ones((6, 2), str(change.get("time", "int8"))), [0.1])
    with pytest.raises(McucError, match=found):
        tflite_graph("SVDF", [x, f, t, constant("b", np.zeros(3, np.int32), [0.1]), kept], out,
                     rank=change.get("rank", 2))


def vector(data: dict[str, Array], name: str) -> tuple[Graph, Array, Array]:
    """A case of the kernel vectors as a graph of batch 1, its inputs [runs, batch, features], the last run's output."""
    p = {k.removeprefix(f"{name}_"): v for k, v in json.loads(str(data[f"{name}/params"])).items()}

    def array(part: str) -> Array:
        return np.asarray(data[f"{name}/{name}_{part}"])

    features, filters, memory, batch = (p[k] for k in ("input_size", "feature_batches", "time_batches",
                                                       "input_batches"))
    attrs = SvdfAttrs(p["rank"], p["input_offset"], p["output_offset"], (p["multiplier_in"], p["shift_1"]),
                      (p["multiplier_out"], p["shift_2"]))
    constants = [constant("f", array("weights_feature").reshape(filters, features)),
                 constant("t", array("weights_time").reshape(filters, memory)), constant("b", array("biases"))]
    state = array("state").reshape(batch, -1)[:1]
    kept = [Tensor(n, state.shape, DType(state.dtype.name)) for n in ("m", "m/next")]
    ends = Tensor("x", (1, features), DType.INT8), Tensor("y", (1, filters // p["rank"]), DType.INT8)
    node = Node("0:SVDF", "svdf", ("x", "f", "t", "b", "m"), ("y", "m/next"), attrs)
    graph = check(Graph(name, "tflite", {t.name: t for t in (*ends, *constants, *kept)}, (node,), ("x",), ("y",),
                        states=(State("m", "m/next", state),)))
    return graph, array("input_sequence").reshape(-1, batch, features), array("output_ref").reshape(batch, -1)


@pytest.mark.parametrize("name", ["svdf", "svdf_2", "svdf_3", "svdf_int8", "svdf_int8_2"])
def test_kernel_vectors(shared_data: Path, name: str) -> None:
    """Every sequence of the batch alone; the last output counts."""
    with np.load(shared_data / "vectors" / "int_kernel_vectors_a.npz") as data:
        graph, x, expected = vector(dict(data), name)
    for sequence, wanted in zip(x.swapaxes(0, 1), expected, strict=True):
        found = run_reference(graph, [[row] for row in sequence])[-1][0]
        assert np.array_equal(wanted, found[0])
