"""LSTM over a sequence, with states from run to run: reference, TFLite Micro, C."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, constant, run_reference, samples, tflite_graph

from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.ir import Array, DType, Graph, Node, Quant, State, Tensor, check
from mcuc.ops.lstm import LstmAttrs
from mcuc.verify import oracle

TANH = 4


def lstm(steps: int, features: int, units: int, *, time_major: bool = False, power: int = -12, clip: float = 0.0,
         hidden: tuple[float, int] = (1 / 128, 0), x_zero: int = -7, seed: int = 0, spread: int = 6000,
         wide: bool = False) -> Graph:
    """A random layer. power: of the cell state's scale; hidden: scale and zero point of the hidden state; wide: int16
    input, hidden state and output."""
    rng = RNG(seed)
    leading = (steps, 1) if time_major else (1, steps)
    scale = 0.0002 if wide else 0.02
    x, out = activation("x", (*leading, features), scale, x_zero), activation("y", (*leading, units), *hidden)
    scales = 2.0 ** rng.uniform(-7, -5, 8)
    weights = [constant(f"w{i}", rng.integers(-127, 128, (units, features if i < 4 else units)).astype(np.int8), [s])
               for i, s in enumerate(scales)]
    biases = [constant(f"b{i}", rng.integers(-spread, spread + 1, units).astype(np.int64 if wide else np.int32),
                       [s * scale]) for i, s in enumerate(scales[:4])]
    state = activation("h", (1, units), *hidden)
    if wide:
        x, out, state = (replace(t, dtype=DType.INT16) for t in (x, out, state))
    cell = Tensor("c", (1, units), DType.INT16, Quant((2.0**power,), (0,)))
    inputs = [x, *weights, None, None, None, *biases, None, None, state, cell, None, None, None, None]
    return tflite_graph("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, out, fusedActivationFunction=TANH, cellClip=clip,
                        timeMajor=time_major)


CASES = [
    lstm(1, 4, 4),
    lstm(6, 5, 3, seed=1),
    lstm(3, 16, 7, time_major=True, seed=2),
    lstm(5, 3, 9, hidden=(1 / 100, 11), x_zero=128 - 256, seed=3),
    lstm(4, 7, 6, power=-15, seed=4),
    lstm(4, 7, 6, power=-9, clip=3.0, seed=5),
    lstm(2, 1, 1, power=-14, clip=0.4, seed=6),
    lstm(7, 9, 5, power=2, spread=0, seed=7),
    lstm(3, 31, 17, hidden=(1 / 300, -20), seed=8, spread=40000),
    lstm(5, 6, 7, wide=True, x_zero=0, hidden=(1 / 32768, 0), seed=10, spread=900_000),
    lstm(3, 9, 4, wide=True, x_zero=0, hidden=(1 / 30000, 0), seed=11, power=-15, time_major=True, spread=1 << 33),
    lstm(2, 600, 5, wide=True, x_zero=0, hidden=(1 / 32768, 0), seed=12, power=-11, clip=5.0),
]


@pytest.mark.parametrize("graph", CASES)
def test_reference_equals_tflite_micro_over_a_sequence(graph: Graph) -> None:
    check_tflite(graph, count=8)


@pytest.mark.parametrize("graph", [CASES[0], CASES[4], CASES[6]])
def test_litert_takes_the_exported_layer_too(graph: Graph) -> None:
    """Its kernel asks for the intermediate tensors, which TFLite Micro's does without. From reset states; it multiplies
    by a rule of its own, so that in other cases a step can differ, of the converter's own file as well."""
    for x in samples(graph, 2, seed=4):
        found, wanted = oracle.litert_reference(exporter.export(graph), [x]), run_reference(graph, [x])
        assert np.array_equal(found[0][0], wanted[0][0])


def test_c_equals_reference_over_a_sequence(tmp_path: Path) -> None:
    check_c(CASES, tmp_path, count=5)


def test_states_go_on_from_run_to_run() -> None:
    """Two runs of three steps are one run of six."""
    two, one = lstm(3, 5, 4, seed=9), lstm(6, 5, 4, seed=9)
    x = RNG(1).integers(-128, 128, (1, 6, 5)).astype(np.int8)
    (first,), (second,) = run_reference(two, [[x[:, :3]], [x[:, 3:]]])
    ((whole,),) = run_reference(one, [[x]])
    assert np.array_equal(whole, np.concatenate([first, second], 1))


@pytest.mark.parametrize("change,found", [
    ({"fusedActivationFunction": 1}, "not tanh"),
    ({"cellClip": 1e-9}, "less than a step"),
    ({"cellClip": -1.0}, "clipped at"),
    ({"peephole": True}, "peephole"),
    ({"coupled": True}, "coupled"),
    ({"cell": 0.3}, "power of two"),
    ({"weight_zero": 3}, "zero point"),
    ({"bias": 3}, "do not go together"),
])
def test_what_is_no_plain_layer_is_refused(change: dict[str, object], found: str) -> None:
    rng = RNG(0)
    x, out, h = activation("x", (1, 2, 3)), activation("y", (1, 2, 4)), activation("h", (1, 4))
    zero = (change.pop("weight_zero", 0),)
    w = [constant(f"w{i}", rng.integers(-9, 9, (4, 3 if i < 4 else 4)).astype(np.int8), [0.1], zero) for i in range(8)]
    b = [constant(f"b{i}", np.zeros(change.get("bias", 4), np.int32), [0.1]) for i in range(4)]
    change.pop("bias", None)
    cell = Tensor("c", (1, 4), DType.INT16, Quant((float(change.pop("cell", 2.0**-12)),), (0,)))
    inputs: list[Tensor | None] = [x, *w, None, None, None, *b, None, None, h, cell, None, None, None, None]
    if change.pop("peephole", False):
        inputs[9] = b[0]
    if change.pop("coupled", False):
        inputs[1] = None
    with pytest.raises(McucError, match=found):
        tflite_graph("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, out, **({"fusedActivationFunction": TANH} | change))


def vector(data: dict[str, Array], name: str) -> tuple[Graph, Array, Array]:
    """A case of the kernel vectors as a graph of batch 1, its input [batch, time, features], the expected output."""
    p = {k.removeprefix(f"{name}_"): v for k, v in json.loads(str(data[f"{name}/params"])).items()}

    def array(part: str) -> Array:
        return np.asarray(data[f"{name}/{name}_{part}"])

    steps, features, units = p["time_steps"], p["input_size"], p["hidden_size"]
    gates = [f"{gate}_gate" for gate in ("input", "forget", "cell", "output")]
    weights = [array(f"{g}_input_weights").reshape(units, features) for g in gates]
    recurrent = [array(f"{g}_hidden_weights").reshape(units, units) for g in gates]
    wide = array("input_tensor").dtype == np.int16
    # the expected output of the int8 cases is that without their biases
    biases = [array(f"{g}_bias") if wide else np.zeros(units, np.int32) for g in gates]

    def scale(part: str) -> tuple[int, int]:
        return p[f"{part}_multiplier"], p[f"{part}_shift"]

    attrs = LstmAttrs(
        -p["input_zero_point"], p["output_zero_point"], tuple(scale(f"{g}_input") for g in gates),
        tuple(scale(f"{g}_hidden") for g in gates), scale("forget_to_cell"), scale("input_to_cell"), scale("output"),
        12 + p["cell_scale_power"], p["cell_clip"], wide=wide)
    kind = DType.INT16 if wide else DType.INT8
    x, y = Tensor("x", (1, steps, features), kind), Tensor("y", (1, steps, units), kind)
    h, c = Tensor("h", (1, units), kind), Tensor("c", (1, units), DType.INT16)
    constants = [constant(f"k{i}", a) for i, a in enumerate([*weights, *recurrent, *biases])]
    after = [Tensor(f"{t.name}/next", t.shape, t.dtype) for t in (h, c)]
    node = Node("0:LSTM", "lstm", ("x", *(t.name for t in constants), "h", "c"), ("y", "h/next", "c/next"), attrs)
    states = (State("h", "h/next", np.full((1, units), attrs.hidden_zero_point, kind.value)),
              State("c", "c/next", np.zeros((1, units), np.int16)))
    graph = check(Graph(name, "tflite", {t.name: t for t in (x, y, h, c, *constants, *after)}, (node,), ("x",), ("y",),
                        states=states))
    batch = p["batch_size"]
    return graph, array("input_tensor").reshape(batch, 1, steps, features), array("output").reshape(batch, steps, units)


@pytest.mark.parametrize("name", ["lstm_2", "lstm_2_s16", "lstm_one_time_step", "lstm_one_time_step_s16"])
def test_kernel_vectors(shared_data: Path, name: str) -> None:
    """Every sequence of the batch alone."""
    with np.load(shared_data / "vectors" / "int_kernel_vectors_a.npz") as data:
        graph, x, expected = vector(dict(data), name)
    for sequence, wanted in zip(x, expected, strict=True):
        ((found,),) = run_reference(graph, [[sequence]])
        assert np.array_equal(wanted, found[0])
