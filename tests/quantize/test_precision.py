"""Mixed precision: int16 activations and four-bit weights are chosen well, and compute what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from float_networks import Net, answers, residual, samples, simplified
from onnx import ModelProto

from mcuc import passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.errors import McucError
from mcuc.exporters import tflite as tflite_exporter
from mcuc.importers import tflite as importer
from mcuc.ir import DType
from mcuc.plan import plan
from mcuc.quantize.build import integers
from mcuc.quantize.network import Converted, convert
from mcuc.quantize.quantizer import Options
from mcuc.quantize.runtime import Runtime
from mcuc.quantize.widen import follows, widen, widenable
from mcuc.schedule import Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.verify import oracle, reference

X = samples(24, (1, 3, 12, 12))
QUICK = Options(methods=("minmax",), equalize=(False,), compensate=False)


def curves() -> ModelProto:
    """Sigmoid gates, a concatenation of different scales, odd padding, a constant operand, tanh."""
    net = Net((1, 3, 12, 12), seed=3)
    a = net.node("Relu", net.conv("x", 6, 3, stride=2))
    b = net.node("Sigmoid", net.conv(a, 6, 6, 1))
    c = net.node("Concat", net.node("Mul", a, b), net.node("Tanh", a), axis=1)
    d = net.node("MaxPool", c, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    e = net.node("LeakyRelu", net.node("Sub", d, net.const(0.25)), alpha=0.2)
    flat = net.node("Reshape", net.node("AveragePool", e, kernel_shape=[3, 3]), net.ints(1, 12))
    return net.done(net.node("Gemm", flat, net.const(net.rng.normal(0, 0.6, (12, 4)))))


def decoder() -> ModelProto:
    """A transposed convolution, padding below the least value, the larger of an input and a value, a constant part, a
    product with a constant."""
    net = Net((1, 3, 12, 12), seed=5)
    a = net.node("Tanh", net.conv("x", 4, 3, stride=2))
    b = net.node("MaxPool", a, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    weights, bias = net.const(net.rng.normal(0, 0.3, (4, 3, 2, 2))), net.const(net.rng.normal(0, 0.2, 3))
    up = net.node("ConvTranspose", b, weights, bias, kernel_shape=[2, 2], strides=[2, 2])
    c = net.node("Concat", net.node("Max", "x", up), net.const(net.rng.normal(0, 0.5, (1, 2, 12, 12))), axis=1)
    d = net.node("Min", net.node("Relu", net.conv(c, 3, 5, 1)), net.const(np.full((1, 3, 12, 12), 0.7)))
    rows, flat = net.node("Reshape", d, net.ints(1, 3, 144)), net.node("Reshape", d, net.ints(1, 432))
    small = net.node("MatMul", rows, net.const(net.rng.normal(0, 0.02, (1, 144, 6))))
    large = net.node("Gemm", flat, net.const(net.rng.normal(0, 0.1, (432, 18))))
    return net.done(net.node("Add", large, net.node("Reshape", small, net.ints(1, 18))))


def pooled() -> ModelProto:
    """Averages much smaller than what they are of, whose scale they share in int8."""
    net = Net((1, 3, 12, 12), seed=4)
    a = net.node("Relu", net.conv(net.node("Relu", net.conv("x", 8, 3, 3)), 8, 8, 3))
    flat = net.node("Reshape", net.node("AveragePool", a, kernel_shape=[12, 12]), net.ints(1, 8))
    return net.done(net.node("Gemm", flat, net.const(net.rng.normal(0, 0.6, (8, 4)))))


NETWORKS: dict[str, Callable[[], ModelProto]] = {"residual": residual, "curves": curves, "decoder": decoder}
MIXED = {"residual": residual, "pooled": pooled}

STAY_INT8 = {"decoder": {"batch_matmul", "quantize_16"}}  # a product with a constant, and its operand


def made(proto: ModelProto, options: Options) -> Converted:
    return convert(proto, "net", "net", [X], options)


def outputs(found: Converted) -> np.ndarray:
    """The integer network's answers as real numbers."""
    graph = found.graph
    (name,), quant = graph.outputs, graph.tensors[graph.outputs[0]].quant
    assert quant is not None
    steps = [reference.run(graph, {graph.inputs[0]: x})[name] for x in integers(found.ports[0], X)]
    return (np.stack(steps).reshape(len(X), -1).astype(np.float64) - quant.zero_point[0]) * quant.scale[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_int16_everywhere_is_what_tflite_micro_computes_and_nearer_to_float(name: str, tmp_path: Path) -> None:
    proto = NETWORKS[name]()
    int8, wide = made(proto, QUICK), made(proto, replace(QUICK, activations="int16"))
    computed = [n for n in wide.graph.nodes if not follows(n)]
    narrow = {n.op for n in computed if wide.graph.tensors[n.outputs[0]].dtype is DType.INT8}
    assert narrow == STAY_INT8.get(name, set())
    assert wide.tflite is not None
    given = [[x] for x in integers(wide.ports[0], X[:6])]
    found = [[values[o] for o in wide.graph.outputs] for values in reference.sequence(wide.graph, given)]
    lowered = passes.check_supported(passes.optimize(wide.graph))
    schedule = layer_by_layer(lowered, None, Tiling())
    emitted = emit(lowered, schedule, plan(lowered, schedule), "net", "test", 16, 1024)
    compiled = host.run(host.build(emitted, lowered, tmp_path, sanitize=True), given).outputs[0]
    for a, b, c in zip(oracle.tflite_micro(wide.tflite, given), found, compiled, strict=True):
        assert np.array_equal(a[0].reshape(-1), b[0].reshape(-1)) and np.array_equal(b[0].reshape(-1), c.reshape(-1))
    again = importer.parse(wide.tflite, "net.tflite", "net")
    assert [(n.op, n.attrs) for n in again.nodes] == [(n.op, n.attrs) for n in wide.graph.nodes]
    with Runtime("net") as runtime:
        real = answers(simplified(proto, X, runtime), X).reshape(len(X), -1)
    errors = [float(((outputs(m) - real) ** 2).mean()) for m in (int8, wide)]
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("chosen", [("AveragePool",), ("MaxPool",), ("MaxPool", "LeakyRelu"), ("LeakyRelu",)])
def test_a_pool_in_int16_among_int8_values_keeps_their_scale(chosen: tuple[str, ...]) -> None:
    """What the ranges of int8 cut off is seen by int16: input and output had two scales, which no pool changes."""
    int8 = made(curves(), QUICK)
    quant = int8.graph.tensors
    values = {n.outputs[0] for n in int8.graph.nodes if n.name.partition(":")[2] in chosen}
    assert len(values) == len(chosen)
    wide = widen(int8.graph, values, {quant[v].quant: 1.4 * 128 * quant[v].quant.scale[0] for v in values})
    given = [[x] for x in integers(int8.ports[0], X[:6])]
    found = [[v[o] for o in wide.outputs] for v in reference.sequence(wide, given)]
    for a, b in zip(oracle.tflite_micro(tflite_exporter.export(wide), given), found, strict=True):
        assert np.array_equal(a[0].reshape(-1), b[0].reshape(-1))
    before, after = outputs(int8), outputs(replace(int8, graph=wide))
    assert np.abs(before - after).max() < 0.1 * np.abs(before).max()


def reached(found: Converted, proto: ModelProto) -> float:
    """dB of the integer network's answers above their error."""
    with Runtime("net") as runtime:
        real = answers(simplified(proto, X, runtime), X).reshape(len(X), -1)
    return float(10 * np.log10((real**2).sum() / ((outputs(found) - real) ** 2).sum()))


@pytest.mark.parametrize("name", MIXED)
def test_mixed_activations_reach_what_is_asked_for_with_fewer_int16_values(name: str) -> None:
    """In the integers too, where a node in int8 reads in int8 what lies in int16."""
    proto = MIXED[name]()
    every = made(proto, replace(QUICK, activations="int16")).precision
    aim = (every.before + every.after) / 2
    found = made(proto, replace(QUICK, activations="mixed", snr_db=aim))
    some = found.precision
    assert reached(found, proto) > some.after - 0.5  # of the logits, before a softmax, the ratio is no better
    assert some.before < aim <= some.after and 0 < len(some.wide) < len(every.wide)
    alone = some.activation_db
    assert max(alone[t] for t in some.wide) <= min(db for t, db in alone.items() if t not in some.wide)


def test_nothing_is_int16_where_int8_is_good_enough() -> None:
    found = made(residual(), replace(QUICK, activations="mixed", snr_db=5.0))
    assert found.precision.wide == () and not any("16" in n.op for n in found.graph.nodes)


def test_four_bit_weights_keep_the_ratio_and_halve_their_bytes() -> None:
    plain = made(residual(), QUICK)
    found = made(residual(), replace(QUICK, weights="mixed", snr_db=15.0))
    p = found.precision
    assert p.int4 and 15.0 <= p.after < p.before
    small = [t for t in found.graph.tensors.values() if t.int4]
    assert len(small) == len(p.int4) and all(t.data is not None and np.abs(t.data).max() <= 7 for t in small)
    assert found.tflite is not None and plain.tflite is not None
    saved = sum(t.elements // 2 for t in small)
    assert abs(len(plain.tflite) - len(found.tflite) - saved) < 64 + 16 * len(small)
    given = [[x] for x in integers(found.ports[0], X[:4])]
    for a, (x,) in zip(oracle.tflite_micro(found.tflite, given), given, strict=True):
        own = reference.run(found.graph, {found.graph.inputs[0]: x})[found.graph.outputs[0]]
        assert np.array_equal(a[0].reshape(-1), own.reshape(-1))


def test_a_value_without_an_int16_form_is_named() -> None:
    graph = made(residual(), QUICK).graph
    assert "nothing" not in widenable(graph)
    with pytest.raises(McucError) as error:
        widen(graph, frozenset(["nothing"]), {})
    assert error.value.code == "no-int16-form" and error.value.where == "nothing"
