"""Post-training quantization: the int8 graph means what the float network means, and is what its exported file says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mcuc import data
from mcuc.errors import McucError
from mcuc.exporters.tflite import export
from mcuc.importers.tflite import parse as parse_tflite
from mcuc.quantize.calibrate import Range, forward, observe
from mcuc.quantize.ptq import (
    FIRST,
    OTHERS,
    activation_quant,
    build_graph,
    correct_biases,
    quantize,
    quantize_weights,
    rounded_weights,
    simulate,
    skeleton,
)
from mcuc.search.layers import FloatLayer, FloatModel, Layer
from mcuc.search.spaces.ds_conv import Candidate, Space, Stage, StageChoice, parse, space_for, to_layers
from mcuc.verify import oracle, reference

SPACE = space_for((28, 28, 1), 10)
CANDIDATE = parse("r20-s8-w16k35-w48k53")


def random_model(space: Space = SPACE, candidate: Candidate = CANDIDATE, seed: int = 0) -> FloatModel:
    """Weights that keep the activations' scale, with biases of both signs."""
    rng = np.random.default_rng(seed)
    made = []
    for layer in to_layers(space, candidate):
        shapes = {"conv_2d": (layer.out_shape[2], layer.kernel, layer.kernel, layer.in_shape[2]),
                  "depthwise_conv_2d": (1, layer.kernel, layer.kernel, layer.out_shape[2]),
                  "fully_connected": (layer.out_shape[2], layer.in_shape[2])}
        if layer.op not in shapes:
            made.append(FloatLayer(layer))
            continue
        shape = shapes[layer.op]
        fan_in = layer.kernel**2 * (1 if layer.op == "depthwise_conv_2d" else layer.in_shape[2])
        weight = rng.normal(0, (2 / fan_in) ** 0.5, shape) * rng.uniform(0.7, 1.4, layer.out_shape[2]).reshape(
            (1, 1, 1, -1) if layer.op == "depthwise_conv_2d" else (-1, *(1,) * (len(shape) - 1)))
        made.append(FloatLayer(layer, weight.astype(np.float32),
                               rng.normal(0, 0.2, layer.out_shape[2]).astype(np.float32)))
    side = candidate.resolution
    return FloatModel("random", (side, side, space.channels), tuple(made), tuple("0123456789"[:space.classes]))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return data.resize(data.load().train_x[:64], 20, 20)


def to_int8(images: np.ndarray) -> np.ndarray:
    return (images.astype(np.int16) - 128).astype(np.int8)


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_the_integers_stay_close_to_the_float_network(images: np.ndarray, method: str) -> None:
    model = random_model()
    graph = build_graph(model, observe(model, images, method))  # type: ignore[arg-type]
    ideal: dict[str, np.ndarray] = {}
    forward(model, images, lambda name, out: ideal.setdefault(name, out))
    runs = [reference.run(graph, {"input": x[None]}) for x in to_int8(images)]
    for name in ("stem", "stage0.block1.add", "stage1.block1.add", "dense"):
        quant = graph.tensors[name].quant
        assert quant is not None
        real = np.array([(r[name][0].astype(np.float64) - quant.zero_point[0]) * quant.scale[0] for r in runs])
        noise = np.mean((real - ideal[name]) ** 2) / np.var(ideal[name])
        assert noise < 0.01, name  # 20 dB
    seen = np.array([r["softmax"][0] for r in runs])
    guessed = simulate(model, observe(model, images, method), images)  # type: ignore[arg-type]
    assert np.mean(seen.argmax(1) == ideal["softmax"].argmax(1)) > 0.9
    assert np.mean(np.abs(guessed - (seen.astype(np.float64) + 128) / 256)) < 2 / 256


def test_the_graph_is_what_its_exported_file_says(images: np.ndarray) -> None:
    model = random_model()
    graph = quantize(model, images, forward(model, images).argmax(1), "net").graph
    assert str(parse_tflite(export(graph), "net.tflite", "net")) == str(graph)


def test_tflite_micro_computes_the_same_bytes(images: np.ndarray) -> None:
    model = random_model()
    graph = quantize(model, images, forward(model, images).argmax(1)).graph
    answers = oracle.tflite_micro(export(graph), [[x[None]] for x in to_int8(images[:16])])
    for x, answer in zip(to_int8(images[:16]), answers, strict=True):
        assert np.array_equal(reference.run(graph, {"input": x[None]})["softmax"], answer[0])


def test_weights_are_symmetric_per_channel_and_cover_their_peak() -> None:
    layer = Layer("c", "conv_2d", ("input",), (4, 4, 2), (4, 4, 3), 3)
    weight = np.random.default_rng(0).normal(0, 1, (3, 3, 3, 2)).astype(np.float32)
    weight[1] = 0
    q, quant = quantize_weights(layer, weight)
    assert quant.axis == 0 and quant.zero_point == (0,)
    assert np.abs(q[0]).max() == np.abs(q[2]).max() == 127 and not q[1].any()
    scale = np.array(quant.scale).reshape(-1, 1, 1, 1)
    assert np.all(np.abs(q * scale - weight) <= scale / 2 + 1e-6)


@pytest.mark.parametrize(("low", "high", "zero_point"), [(0.0, 2.55, -128), (-2.55, 0.0, 127), (-1.0, 1.0, -1)])
def test_zero_is_exact(low: float, high: float, zero_point: int) -> None:
    quant = activation_quant(Range(low, high))
    assert abs(quant.zero_point[0] - zero_point) <= 1
    assert np.float32(quant.scale[0]) == quant.scale[0]  # a file stores float32


def test_dead_layers_do_not_divide_by_zero(images: np.ndarray) -> None:
    model = random_model()
    dead = [replace(one, weight=np.zeros_like(one.weight), bias=np.zeros_like(one.bias))
            if one.layer.name.startswith("stage0.block0") and one.weight is not None else one for one in model.layers]
    graph = quantize(replace(model, layers=tuple(dead)), images, np.zeros(64, np.int64)).graph
    assert reference.run(graph, {"input": to_int8(images[:1])})["softmax"].shape == (1, 10)


def test_weights_that_are_not_finite_are_refused(images: np.ndarray) -> None:
    model = random_model()
    assert model.layers[0].bias is not None
    broken = replace(model.layers[0], bias=model.layers[0].bias * np.float32(np.nan))
    with pytest.raises(McucError) as caught:
        quantize(replace(model, layers=(broken, *model.layers[1:])), images, np.zeros(64, np.int64))
    assert caught.value.where == "stem"


def test_bias_correction_removes_the_mean_error_of_rounding(images: np.ndarray) -> None:
    model = random_model(seed=3)
    rounded = rounded_weights(model)

    def mean_logits(of: FloatModel, weights: dict[str, np.ndarray] | None) -> np.ndarray:
        seen: dict[str, np.ndarray] = {}
        forward(of, images, lambda name, out: seen.setdefault(name, out), weights)
        return seen["dense"].mean(0)

    ideal = mean_logits(model, None)
    before = np.abs(mean_logits(model, rounded) - ideal).max()
    after = np.abs(mean_logits(correct_biases(model, images), rounded) - ideal).max()
    assert after < 1e-4 < before


def test_where_the_first_way_loses_too_much_the_best_one_is_taken(images: np.ndarray) -> None:
    """A huge weight on a feature that is always 0 leaves few steps for the other weights of a per-tensor layer."""
    model = random_model(seed=1)
    layers = {one.layer.name: one for one in model.layers}
    last, dense = layers["stage1.block1.pointwise"], layers["dense"]
    skip = layers["stage1.block0.pointwise"]
    assert last.weight is not None and last.bias is not None and dense.weight is not None
    assert skip.weight is not None and skip.bias is not None
    for one in (last, skip):
        assert one.weight is not None and one.bias is not None
        one.weight[0], one.bias[0] = 0, 0
    dense.weight[:, 0] = np.abs(dense.weight).max() * 25
    labels = forward(model, images).argmax(1)
    result = quantize(model, images, labels)
    estimates = []
    for choice in (FIRST, *OTHERS):
        fixed = correct_biases(model, images) if choice.correct_bias else model
        guess = simulate(fixed, observe(model, images, choice.method), images)
        estimates.append(float((guess.argmax(1) == labels).mean()))
    assert result.float_accuracy == 1.0 and estimates[0] < 0.99
    assert result.estimate == max(estimates)


def test_a_skeleton_has_the_shapes_of_the_real_graph() -> None:
    layers = to_layers(SPACE, CANDIDATE)
    graph = skeleton(layers)
    real = build_graph(random_model(), {one.name: Range(-1.0, 1.0) for one in layers})
    assert [(n.op, n.outputs) for n in graph.nodes] == [(n.op, n.outputs) for n in real.nodes]
    assert {k: t.shape for k, t in graph.tensors.items()} == {k: t.shape for k, t in real.tensors.items()}
    assert str(skeleton(layers)) == str(graph)


def test_odd_sizes_and_colour_quantize_too() -> None:
    space = Space((9, 11), 3, 4, 2, (4, 8), (StageChoice(2, (4, 8), 2),))
    model = random_model(space, Candidate(11, 4, (Stage(8, (5, 3)),)))
    pictures = np.random.default_rng(0).integers(0, 256, (32, 11, 11, 3)).astype(np.uint8)
    graph = quantize(model, pictures, forward(model, pictures).argmax(1)).graph
    answers = oracle.tflite_micro(export(graph), [[x[None]] for x in to_int8(pictures[:4])])
    for x, answer in zip(to_int8(pictures[:4]), answers, strict=True):
        assert np.array_equal(reference.run(graph, {"input": x[None]})["softmax"], answer[0])
