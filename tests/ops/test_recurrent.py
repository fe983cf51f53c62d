"""LSTM, GRU and RNN of ONNX: the integer form against ONNX Runtime's float one, and the C against the integer form.

The bound is one step of the output's integers where weights are int8 in the file; float weights are rounded to int8,
which is the file's loss of precision and not the arithmetic's, and counts as the next test says.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import check_c

sys.path.append(str(Path(__file__).resolve().parent.parent / "importers"))
from onnx_models import Model, both, load

from mcuc.errors import McucError
from mcuc.importers import onnx as importer

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEP, SHARE = 1, 0.02  # of the output's integers at scale 1/128: at most one, on at most 2 % of the elements


def layer(m: Model, kind: str, steps: int, features: int, units: int, *, direction: str = "forward",
          weights: str = "int8", used: str = "all", bias: bool = True, state: bool = False,
          out: tuple[float, int] = (1 / 128, 0), x_type: str = "int8", batch: int = 1, **attrs: Any) -> str:
    """A random layer between QuantizeLinear and DequantizeLinear. used: "all" steps, the "last" or the "cell"."""
    d, g = 2 if direction == "bidirectional" else 1, GATES[kind]
    x = m.qdq(m.input([steps, batch, features]), x_type, 0.03, None if x_type == "uint8" else -9)

    def matrix(width: int) -> str:
        spread = 1.5 / np.sqrt(width)
        real = m.rng.uniform(-spread, spread, (d, g * units, width)).astype(np.float32)
        if weights == "float":
            return m.const(real)
        axis = {"int8": None, "rows": 1}[weights]
        scale = np.abs(real).max(axis=None if axis is None else (0, 2)) / 127
        shape = (1, -1, 1) if axis == 1 else ()
        q = np.clip(np.rint(real / np.reshape(scale, shape)), -127, 127).astype(np.int8)
        zero = np.zeros(np.shape(scale), np.int8)
        more = {} if axis is None else {"axis": axis}
        return m.node("DequantizeLinear", [m.const(q), m.const(scale, np.float32), m.const(zero)], **more)

    w, r = matrix(features), matrix(units)
    b = m.const(m.rng.uniform(-0.5, 0.5, (d, 2 * g * units)), np.float32) if bias else ""
    inputs = [x, w, r, b]
    if state:
        inputs += ["", m.const(m.rng.uniform(-0.9, 0.9, (d, batch, units)), np.float32)]
        inputs += [m.const(m.rng.uniform(-2, 2, (d, batch, units)), np.float32)] if kind == "LSTM" else []
    while not inputs[-1]:
        inputs.pop()
    found = m.node(kind, inputs, outputs=3 if used == "cell" else 2, direction=direction, hidden_size=units, **attrs)
    return m.quantize(found[["all", "last", "cell"].index(used)], scale=out[0], zero=out[1])


def case(seed: int, kind: str, *sizes: int, **options: Any) -> bytes:
    m = Model(seed)
    return m.build(layer(m, kind, *sizes, **options))


CASES = {
    "lstm": case(0, "LSTM", 9, 6, 8),
    "lstm reverse": case(1, "LSTM", 7, 5, 6, direction="reverse"),
    "lstm bidirectional": case(2, "LSTM", 6, 4, 5, direction="bidirectional"),
    "lstm last, rows": case(3, "LSTM", 11, 7, 9, used="last", weights="rows"),
    "lstm last, reverse": case(4, "LSTM", 5, 3, 4, used="last", direction="reverse"),
    "lstm with first states": case(5, "LSTM", 4, 6, 7, state=True),
    "lstm clipped": case(6, "LSTM", 6, 6, 6, clip=0.8),
    "lstm of uint8": case(7, "LSTM", 6, 6, 6, x_type="uint8", out=(1 / 100, 21)),
    "lstm without bias": case(8, "LSTM", 6, 6, 3, bias=False),
    "lstm, many steps": case(9, "LSTM", 60, 10, 16),
    "gru": case(10, "GRU", 9, 6, 8),
    "gru, reset behind the product": case(11, "GRU", 9, 6, 8, linear_before_reset=1),
    "gru reverse": case(12, "GRU", 8, 3, 5, direction="reverse", linear_before_reset=1),
    "gru bidirectional, last": case(13, "GRU", 8, 3, 5, direction="bidirectional", used="last"),
    "gru with a first state": case(14, "GRU", 5, 4, 6, state=True, linear_before_reset=1),
    "gru without bias": case(15, "GRU", 5, 4, 6, bias=False, linear_before_reset=1),
    "gru, many steps": case(16, "GRU", 60, 10, 16, weights="rows"),
    "rnn": case(17, "RNN", 9, 6, 8),
    "rnn bidirectional": case(18, "RNN", 6, 4, 5, direction="bidirectional", state=True),
    "rnn last": case(19, "RNN", 6, 4, 5, used="last", clip=1.5),
    "lstm's cell": case(21, "LSTM", 8, 5, 6, used="cell", out=(4 / 128, 3)),
    "lstm's cell, bidirectional": case(22, "LSTM", 5, 4, 3, used="cell", out=(3 / 128, 0), direction="bidirectional"),
    "three sequences": case(23, "LSTM", 4, 5, 6, batch=3, state=True),
    "two sequences, last": case(24, "GRU", 4, 5, 6, batch=2, used="last", direction="bidirectional", state=True),
    "one step of one unit": case(20, "GRU", 1, 1, 1),
}


def differences(blob: bytes, count: int = 8) -> np.ndarray:  # type: ignore[type-arg]
    _, wanted, got = both(blob, count)
    pairs = [(a, b) for w, g in zip(wanted, got, strict=True) for a, b in zip(w, g, strict=True)]
    assert len({a.tobytes() for a, _ in pairs}) > 1 and all(a.shape == b.shape for a, b in pairs)
    return np.concatenate([np.abs(a.astype(int) - b.astype(int)).reshape(-1) for a, b in pairs])


@pytest.mark.parametrize("name", CASES)
def test_reference_is_within_a_step_of_onnx_runtime(name: str) -> None:
    found = differences(CASES[name])
    assert found.max() <= STEP and (found > 0).mean() <= SHARE, f"{found.max()}, {(found > 0).mean():.3f}"


def test_float_weights_cost_what_their_rounding_costs() -> None:
    """int8 weights of a row's own scale: on average less than half a step, and the report says so."""
    blob = case(30, "LSTM", 12, 8, 10, weights="float")
    found = differences(blob)
    assert found.mean() < 0.5 and found.max() <= 4
    assert any("float weights become int8" in note for note in load(blob)[0].notes)


def test_c_equals_reference(tmp_path: Path) -> None:
    check_c([load(blob)[0] for name, blob in CASES.items() if "many" not in name], tmp_path, count=4)


def test_a_stack_of_layers_as_frameworks_export_it() -> None:
    """Squeezed, transposed, followed by a dense layer; both the steps and the last state of a layer are used."""
    m = Model(40, opset=17)
    d, units, features = 1, 6, 5
    x = m.qdq(m.input([7, 1, features]), scale=0.03, zero=3)
    for width in (features, units):
        w, r = (m.node("DequantizeLinear", [m.const(m.integers((d, 3 * units, n))), m.const(0.004, np.float32),
                                            m.const(0, np.int8)]) for n in (width, units))
        y, last = m.node("GRU", [x, w, r], outputs=2, hidden_size=units, linear_before_reset=1)
        x = m.qdq(m.node("Squeeze", [y, m.const([1], np.int64)]), scale=1 / 128, zero=0)
    dense = m.layer("Gemm", m.qdq(m.node("Squeeze", [last, m.const([0], np.int64)]), scale=1 / 127, zero=1),
                    m.weights((4, units), axis=None), 4, transB=1)
    flat = m.node("Transpose", [x], perm=[1, 0, 2])
    blob = m.build(m.quantize(dense), m.quantize(flat, scale=1 / 128, zero=0))
    _, wanted, got = both(blob)
    for a, b in ((a, b) for w, g in zip(wanted, got, strict=True) for a, b in zip(w, g, strict=True)):
        assert a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).max() <= 2 * STEP


@pytest.mark.parametrize("change,found", [
    ({"activations": ["Relu", "Tanh"]}, "activations"),
    ({"layout": 1}, "batch first"),
    ({"direction": "sideways"}, "direction"),
    ({"clip": float("nan")}, "clipped at"),
    ({"clip": -1.0}, "clipped at"),
])
def test_other_forms_of_a_gru_are_refused(change: dict[str, Any], found: str) -> None:
    m = Model(50)
    direction = change.pop("direction", "forward")
    with pytest.raises(McucError, match=found):
        importer.parse(m.build(layer(m, "GRU", 3, 4, 5, direction=direction, **change)), "m.onnx", "m")


def broken(edit: Any) -> bytes:
    """An LSTM of inputs x, W, R, B, lengths, h, c, P, some of them changed by edit(model, inputs)."""
    m = Model(51)
    x = m.qdq(m.input([3, 1, 4]), scale=0.03, zero=0)
    inputs = [x, m.const(np.ones((1, 20, 4)), np.float32), m.const(np.ones((1, 20, 5)), np.float32), "", "", "", "", ""]
    edit(m, inputs)
    while not inputs[-1]:
        inputs.pop()
    names = m.node("LSTM", inputs, outputs=3, hidden_size=5)
    return m.build(m.quantize(names[0], scale=1 / 128, zero=0))


def change(index: int, array: Any, dtype: Any = np.float32) -> Any:
    def edit(m: Model, inputs: list[str]) -> None:
        inputs[index] = m.const(array, dtype)

    return edit


def run_time_state(m: Model, inputs: list[str]) -> None:
    inputs[5] = m.qdq(m.input([1, 1, 5]), scale=0.01, zero=0)


@pytest.mark.parametrize("edit,found", [
    (change(7, np.ones((1, 15))), "peepholes"),
    (change(4, [2], np.int32), "shorter"),
    (change(5, np.ones((1, 1, 4))), "initial state"),
    (change(5, np.ones(5)), "initial state"),
    (change(3, np.ones((1, 39))), "biases"),
    (change(1, np.ones((1, 20, 3))), "weights"),
    (change(1, np.ones((1, 19, 4))), "weights"),
    (change(2, np.ones((1, 20, 6))), "weights"),
    (change(2, np.ones((20, 5))), "weights"),
    (change(2, np.full((1, 20, 5), np.inf)), "finite"),
    (change(2, np.full((1, 20, 5), 1e30)), "32 bits"),
    (change(3, np.full((1, 40), np.nan)), "32 bits"),
    (change(6, np.full((1, 1, 5), 1e9)), "32 bits"),
    (run_time_state, "LSTM starts from a state that is given"),
])
def test_damaged_layers_are_refused(edit: Any, found: str) -> None:
    with pytest.raises(McucError, match=found) as caught:
        importer.parse(broken(edit), "m.onnx", "m")
    assert caught.value.where and caught.value.try_this


def test_many_sequences_at_once_are_refused() -> None:
    m = Model(52)
    x = m.qdq(m.input([3, 17, 4]), scale=0.03, zero=0)
    y, _ = m.node("RNN", [x, m.const(np.ones((1, 5, 4)), np.float32), m.const(np.ones((1, 5, 5)), np.float32)],
                  outputs=2, hidden_size=5)
    with pytest.raises(McucError, match="of shape"):
        importer.parse(m.build(m.quantize(y)), "m.onnx", "m")


def test_a_float_layer_is_refused_with_the_value_that_is_float() -> None:
    m = Model(53)
    y = m.node("RNN", [m.input([3, 1, 4]), m.weights((1, 5, 4), axis=None), m.weights((1, 5, 5), axis=None)],
               hidden_size=5)
    with pytest.raises(McucError) as caught:
        importer.parse(m.build(m.quantize(y)), "m.onnx", "m")
    assert caught.value.code == "not-quantized" and "in1" in caught.value.found
