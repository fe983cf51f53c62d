"""From a float network to int8 files: they mean what the float network means, and are what the runtimes compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from float_networks import Net, answers, residual, samples
from onnx import ModelProto, TensorProto, helper
from onnx.defs import onnx_opset_version

from mcuc.errors import McucError
from mcuc.importers import onnx as onnx_importer
from mcuc.importers import tflite as tflite_importer
from mcuc.importers.onnx import to_file
from mcuc.ir import text
from mcuc.quantize._integer_ends import with_integer_ends
from mcuc.quantize.build import integers
from mcuc.quantize.network import Converted, convert
from mcuc.quantize.qdq import REAL
from mcuc.quantize.quantizer import PER_CHANNEL_GAIN, Options
from mcuc.verify import oracle, reference

X = samples(24, (1, 3, 12, 12))


def odd_padding() -> ModelProto:
    """Stride 2 with a pad of 1 on every side is neither SAME nor VALID; a concatenation of different scales."""
    net = Net((1, 3, 12, 12), seed=3)
    a = net.node("Relu", net.conv("x", 6, 3, stride=2))
    b = net.node("Sigmoid", net.conv(a, 6, 6, 1))
    c = net.node("MaxPool", net.node("Concat", a, b, axis=1), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    return net.done(net.node("Add", c, net.const(0.25)))


def dense() -> ModelProto:
    net = Net((1, 3, 12, 12), seed=4)
    flat = net.node("Flatten", "x")
    a = net.node(
        "Relu",
        net.node(
            "Gemm",
            flat,
            net.const(net.rng.normal(0, 0.06, (432, 24))),
            net.const(net.rng.normal(0, 0.1, 24)),
            alpha=0.5,
            beta=2.0,
        ),
    )
    return net.done(net.node("Gemm", a, net.const(net.rng.normal(0, 0.2, (7, 24))), transB=1))


NETWORKS: dict[str, Callable[[], ModelProto]] = {"residual": residual, "odd padding": odd_padding, "dense": dense}


@pytest.fixture(scope="module", params=NETWORKS)
def made(request: pytest.FixtureRequest) -> Converted:
    return convert(NETWORKS[request.param](), "net", "net", [X])


def reference_answers(made: Converted) -> np.ndarray:
    outs = [
        reference.run(made.graph, {made.graph.inputs[0]: s})[made.graph.outputs[0]] for s in integers(made.ports[0], X)
    ]
    return np.stack(outs)


def real(made: Converted, outs: np.ndarray) -> np.ndarray:
    quant = made.graph.tensors[made.graph.outputs[0]].quant
    assert quant is not None
    return (outs.astype(np.float64) - quant.zero_point[0]) * quant.scale[0]


def test_the_int8_network_means_what_the_float_network_means(made: Converted) -> None:
    found, wanted = real(made, reference_answers(made)), answers(made.original, X).astype(np.float64)
    if found.ndim == 5:  # stored channels last
        wanted = wanted.transpose(0, 1, 3, 4, 2)
    noise = ((found.reshape(wanted.shape) - wanted) ** 2).sum()
    assert made.graph.profile == "tflite" and 10 * np.log10((wanted**2).sum() / noise) > 22


def test_importing_the_exported_file_gives_the_same_graph(made: Converted) -> None:
    assert made.tflite is not None
    ours = text(made.graph).replace(REAL, "")  # a file names its ends as the model does
    assert text(tflite_importer.parse(made.tflite, "net", made.graph.name)) == ours


def test_tflite_micro_computes_the_same_bytes(made: Converted) -> None:
    pytest.importorskip("tflite_micro")
    assert made.tflite is not None
    outs = oracle.tflite_micro(made.tflite, [[s] for s in integers(made.ports[0], X)])
    assert np.array_equal(
        np.stack([o[0] for o in outs]).reshape(len(X), -1), reference_answers(made).reshape(len(X), -1)
    )


def test_onnx_runtime_computes_the_same_bytes_under_its_own_rounding(made: Converted) -> None:
    graph, ends = onnx_importer.parse_with_interface(made.onnx, "net", "net")
    outs = oracle.onnxruntime(made.onnx, [[s] for s in X])
    port = ends.outputs[0]
    for sample, out in zip(X, outs, strict=True):
        given = {graph.inputs[0]: onnx_importer.from_file(ends.inputs[0], sample)}
        found = reference.run(graph, given)[graph.outputs[0]].astype(int)
        wanted = onnx_importer.from_file(port, out[0]).astype(int)
        assert np.abs(found - wanted).max() <= 1 and (found != wanted).mean() <= 0.005


def test_the_best_way_is_taken(made: Converted) -> None:
    best = max(t.snr for t in made.quantized.tried)
    assert best - PER_CHANNEL_GAIN <= made.quantized.snr and ("one weight scale" in made.quantized.way) == (
        made.quantized.snr != best
    )
    assert len({t.way for t in made.quantized.tried}) == len(made.quantized.tried) == 10


def test_the_same_samples_give_the_same_bytes() -> None:
    first, second = (convert(residual(), "net", "net", [X], Options(methods=("mse",))) for _ in range(2))
    assert first.onnx == second.onnx and first.tflite == second.tflite


def test_a_file_of_the_newest_opset_with_a_function_of_onnx_is_quantized() -> None:
    """ONNX Runtime quantizes no newer opset than 25, and spells the group norm out."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 8, 4, 4]), ("y", None))]
    nodes = [
        helper.make_node("GroupNormalization", ["x", "one", "none"], ["g"], num_groups=2),
        helper.make_node("DepthToSpace", ["g"], ["y"], blocksize=2),
    ]
    fixed = [helper.make_tensor(n, TensorProto.FLOAT, [8], [v] * 8) for n, v in (("one", 1.0), ("none", 0.0))]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", onnx_opset_version())])
    x, fast = samples(4, (1, 8, 4, 4)), Options(methods=("minmax",), equalize=(False,), compensate=False)
    made = convert(model, "net", "net", [x], fast, profile="onnx")
    found, wanted = (
        np.stack([o for (o,) in oracle.onnxruntime(m, [[s] for s in x])])
        for m in (made.onnx, model.SerializeToString())
    )
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < 0.1


def test_sensitivity_names_the_layer_that_costs_most() -> None:
    """One layer's weights are made so uneven that one scale for all of them destroys the small ones."""
    net = Net((1, 3, 12, 12), seed=5)
    a = net.node("Relu", net.conv("x", 8, 3))
    b = net.node("Relu", net.conv(a, 8, 8))
    flat = net.node("Flatten", net.node("GlobalAveragePool", b))
    weight = net.rng.normal(0, 1, (8, 4))
    weight[0] *= 300
    proto = net.done(
        net.node("Gemm", net.node("Mul", flat, net.const([0.003, 1, 1, 1, 1, 1, 1, 1])), net.const(weight))
    )
    made = convert(proto, "net", "net", [X], Options(sensitivity=True, equalize=(False,), compensate=False))
    costs = {n.value: n.alone for n in made.noise if n.alone is not None}
    worst = min(costs, key=lambda v: costs[v])
    assert {n.value: n.op for n in made.noise}[worst] in ("Gemm", "Mul")


@pytest.mark.parametrize(
    ("columns", "code"),
    (
        ([X[:, :, :2]], "bad-samples"),
        ([X, X], "bad-samples"),
        ([np.full_like(X, np.inf)], "not-finite"),
    ),
)
def test_samples_that_do_not_fit_are_refused(columns: list[np.ndarray], code: str) -> None:
    with pytest.raises(McucError) as found:
        convert(residual(), "net", "net", columns)
    assert found.value.code == code


def test_a_quantized_model_is_not_quantized_again() -> None:
    made = convert(residual(), "net", "net", [X], Options(methods=("minmax",), equalize=(False,), compensate=False))
    import onnx

    with pytest.raises(McucError) as found:
        convert(onnx.load_from_string(made.onnx), "net", "net", [X])
    assert found.value.code == "not-float"


def test_a_channel_that_hardly_depends_on_the_input_keeps_its_bias() -> None:
    """As batch norms leave dead channels: weights so small that the bias is beyond an int32 of their scale."""
    net = Net((1, 3, 12, 12), seed=6)
    weights, bias = net.rng.normal(0, 0.3, (4, 3, 1, 1)), np.array([0.1, 0.7, -0.2, 0.4])
    weights[1] *= 1e-12
    layer = net.node("Conv", "x", net.const(weights), net.const(bias), kernel_shape=[1, 1])
    found = convert(net.done(layer), "net", "net", [X], Options(methods=("minmax",), equalize=(False,)))
    graph, quant = found.graph, found.graph.tensors[found.graph.outputs[0]].quant
    assert quant is not None
    sample = integers(found.ports[0], X)[0]
    out = reference.run(graph, {graph.inputs[0]: sample})[graph.outputs[0]].reshape(12, 12, 4)
    real = (out[..., 1].astype(float) - quant.zero_point[0]) * quant.scale[0]
    assert np.abs(real - 0.7).max() <= quant.scale[0]


def test_a_file_of_integer_ends_gives_the_integers_of_the_file_of_float_ends(made: Converted) -> None:
    inputs = [to_file(replace(made.ports[0], file_dtype="int8"), x) for x in integers(made.ports[0], X[:6])]
    found = oracle.onnxruntime(with_integer_ends(made.onnx), [[x] for x in inputs])
    real = oracle.onnxruntime(made.onnx, [[x] for x in X[:6]])
    quant = made.quantized.scheme.activations[made.original.outputs[0]]
    for (steps,), (wanted,) in zip(found, real, strict=True):
        assert steps.dtype == np.int8
        back = (steps.astype(np.float32) - np.float32(quant.zero_point[0])) * np.float32(quant.scale[0])
        assert np.array_equal(back, wanted)
