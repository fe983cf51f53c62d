"""Post-training quantization: float layers and calibration images -> the int8 graph.

Weights are symmetric, per output channel (per tensor for dense layers, which older TFLite kernels demand); activations
asymmetric per tensor; biases int32 at scale input x weight. The nodes are made by the operators' own TFLite import, so
that the graph is what importing its exported file gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Quant, Tensor, check
from mcuc.ops import find_tflite
from mcuc.ops._base import Imported
from mcuc.quantize.calibrate import U8, Method, Range, forward, observe
from mcuc.quantize.params import activation_quant as activation_quant
from mcuc.search.layers import F32, FloatLayer, FloatModel, Layer

INPUT = Quant((float(np.float32(1 / 255)),), (-128,))
PROBABILITY = Quant((1 / 256,), (-128,))
ACCEPTED_LOSS = 0.01
RELU, NO_ACTIVATION, SAME = 1, 0, 0
KINDS = {"conv_2d": "CONV_2D", "depthwise_conv_2d": "DEPTHWISE_CONV_2D", "add": "ADD", "mean": "MEAN",
         "fully_connected": "FULLY_CONNECTED", "softmax": "SOFTMAX"}


@dataclass(frozen=True)
class Choice:
    """One way to quantize. correct_bias: take the mean error that rounding the weights causes out of the biases."""

    method: Method
    correct_bias: bool


@dataclass(frozen=True, eq=False)
class Quantized:
    """float_accuracy, estimate: of the float network and of a simulation of the int8 one, on the calibration images."""

    graph: Graph
    choice: Choice
    float_accuracy: float
    estimate: float


FIRST = Choice("mse", False)
OTHERS = (Choice("minmax", False), Choice("mse", True), Choice("percentile", True))


def quantize(model: FloatModel, images: U8, labels: npt.NDArray[np.int64], name: str = "") -> Quantized:
    """The int8 graph for a network, calibrated on uint8 images [n, h, w, c] of the training part with labels [n].

    Where the first way costs more than a point of accuracy on them, the others are tried and the best is taken.
    Raises McucError("bad-weights") for weights or activations that are not finite.
    """
    _require_finite(model)
    reference = _accuracy(forward(model, images), labels)
    tried: list[tuple[float, Choice, FloatModel, dict[str, Range]]] = []
    for choice in (FIRST, *OTHERS):
        ranges = observe(model, images, choice.method)
        fixed = correct_biases(model, images) if choice.correct_bias else model
        tried.append((_accuracy(simulate(fixed, ranges, images), labels), choice, fixed, ranges))
        if tried[0][0] >= reference - ACCEPTED_LOSS:
            break
    estimate, choice, fixed, ranges = max(tried, key=lambda t: t[0])
    return Quantized(build_graph(fixed, ranges, name), choice, reference, estimate)


def _accuracy(outputs: F32, labels: npt.NDArray[np.int64]) -> float:
    return float((outputs.argmax(-1) == labels).mean())


def _require_finite(model: FloatModel) -> None:
    for one in model.layers:
        for array in (one.weight, one.bias):
            if array is not None and not np.isfinite(array).all():
                raise McucError("bad-weights", "a weight is not finite", where=one.layer.name,
                                try_this="train the network again")


def quantize_weights(layer: Layer, weight: F32) -> tuple[npt.NDArray[np.int8], Quant]:
    """Symmetric int8 weights in -127..127, with their scales."""
    axis = {"conv_2d": 0, "depthwise_conv_2d": 3}.get(layer.op)
    others = tuple(i for i in range(weight.ndim) if i != axis)
    peak = np.abs(weight).max(axis=others if axis is not None else None).reshape(-1)
    scale = np.where(peak < 1e-12, 1.0, peak / 127).astype(np.float32)
    shape = tuple(-1 if i == axis else 1 for i in range(weight.ndim))
    q = np.clip(np.rint(weight / scale.reshape(shape)), -127, 127).astype(np.int8)
    return q, Quant(tuple(float(s) for s in scale), (0,), axis)


def rounded_weights(model: FloatModel) -> dict[str, F32]:
    """The real values that each layer's int8 weights stand for."""
    found: dict[str, F32] = {}
    for one in model.layers:
        if one.weight is not None:
            q, quant = quantize_weights(one.layer, one.weight)
            shape = tuple(-1 if i == quant.axis else 1 for i in range(q.ndim))
            found[one.layer.name] = (q * np.array(quant.scale, np.float32).reshape(shape)).astype(np.float32)
    return found


def simulate(model: FloatModel, ranges: Mapping[str, Range], images: U8) -> F32:
    """The int8 network in float: rounded weights, every activation rounded and clipped to its 256 values."""
    def to_grid(name: str, out: F32) -> F32:
        quant = PROBABILITY if name == model.layers[-1].layer.name else activation_quant(ranges[name])
        q = np.clip(np.rint(out / np.float32(quant.scale[0])) + quant.zero_point[0], -128, 127) - quant.zero_point[0]
        return np.asarray(q * np.float32(quant.scale[0]), np.float32)

    return forward(model, images, to_grid, rounded_weights(model))


def correct_biases(model: FloatModel, images: U8) -> FloatModel:
    """Layer by layer, moves each bias by the mean error per channel that the rounded weights cause on the images.

    Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2, with
    measured instead of derived means (before the ReLU, where the error is linear in the bias).
    """
    rounded = rounded_weights(model)
    corrected = list(model.layers)
    for index, one in enumerate(model.layers):
        if one.bias is None:
            continue
        bare = replace(model, layers=(*model.layers[:index], _linear(one)))
        moved = replace(model, layers=(*corrected[:index], _linear(corrected[index])))
        error = forward(moved, images, None, rounded) - forward(bare, images)
        mean = error.reshape(-1, error.shape[-1]).mean(0, dtype=np.float64)
        corrected[index] = replace(one, bias=(one.bias - mean).astype(np.float32))
    return replace(model, layers=tuple(corrected))


def _linear(one: FloatLayer) -> FloatLayer:
    return replace(one, layer=replace(one.layer, relu=False))


def build_graph(model: FloatModel, ranges: Mapping[str, Range], name: str = "") -> Graph:
    """The int8 graph with TFLite's rounding; ranges: real range of each layer's output by layer name."""
    first, last = model.layers[0].layer, model.layers[-1].layer
    tensors = {"input": Tensor("input", (1, *model.input_shape), DType.INT8, INPUT)}
    nodes: list[Node] = []
    for one in model.layers:
        layer = one.layer
        quant = PROBABILITY if layer.op == "softmax" else activation_quant(ranges[layer.name])
        out = Tensor(layer.name, _shape(layer), DType.INT8, quant)
        inputs = [tensors[n] for n in layer.inputs] + _constants(one, tensors[layer.inputs[0]])
        kind = KINDS[layer.op]
        operator = find_tflite(kind, layer.name)
        assert operator.from_tflite is not None
        built = operator.from_tflite(Imported(kind, _options(layer), tuple(inputs), (out,), layer.name))
        used = [t for t in inputs if t.name in built.inputs]
        tensors |= {t.name: t for t in (*used, *built.constants, out)}
        nodes.append(Node(layer.name, built.op, built.inputs, (layer.name,), built.attrs))
    assert first.inputs == ("input",)
    return check(Graph(name or model.name, "tflite", tensors, tuple(nodes), ("input",), (last.name,)))


def _shape(layer: Layer) -> tuple[int, ...]:
    return (1, layer.out_shape[2]) if layer.op in ("mean", "fully_connected", "softmax") else (1, *layer.out_shape)


def _options(layer: Layer) -> SimpleNamespace:
    """The fields of TFLite's options tables that these operators read."""
    return SimpleNamespace(fusedActivationFunction=RELU if layer.relu else NO_ACTIVATION, padding=SAME,
                           strideH=layer.stride, strideW=layer.stride, dilationHFactor=1, dilationWFactor=1,
                           depthMultiplier=1, weightsFormat=0, keepNumDims=False, keepDims=False, beta=1.0)


def _constants(one: FloatLayer, x: Tensor) -> list[Tensor]:
    """Weights and bias, or the axes of a mean."""
    layer = one.layer
    if layer.op == "mean":
        return [Tensor(f"{layer.name}/axes", (2,), DType.INT32, None, np.array([1, 2], np.int32))]
    if one.weight is None or one.bias is None:
        return []
    weight, quant = quantize_weights(layer, one.weight)
    assert x.quant is not None
    scales = tuple(float(np.float32(x.quant.scale[0]) * np.float32(s)) for s in quant.scale)
    limit = 2**30  # room for the accumulator beside it
    bias = np.clip(np.rint(one.bias.astype(np.float64) / np.array(scales)), -limit, limit).astype(np.int32)
    return [Tensor(f"{layer.name}/weight", weight.shape, DType.INT8, quant, weight),
            Tensor(f"{layer.name}/bias", bias.shape, DType.INT32,
                   Quant(scales, (0,), 0 if len(scales) > 1 else None), bias)]


def skeleton(layers: Sequence[Layer], name: str = "candidate", seed: int = 0) -> Graph:
    """A graph of these layers with seeded random weights: what the planner and the latency model need. Layers of one
    shape have the same weights in every candidate, so that what is worked out of them is worked out once."""
    made = []
    for layer in layers:
        shape = (layer.kernel, layer.in_shape[2], layer.out_shape[2])
        weight = _random_weight(layer, np.random.default_rng([seed, *shape]))
        made.append(FloatLayer(layer, weight, None if weight is None else np.zeros(layer.out_shape[2], np.float32)))
    model = FloatModel(name, layers[0].in_shape, tuple(made), tuple(map(str, range(layers[-1].out_shape[2]))))
    return build_graph(model, {layer.name: _assumed_range(layer) for layer in layers})


def _assumed_range(layer: Layer) -> Range:
    """Unlike ranges, as trained networks have: equal ones would let an addition's constants fold away."""
    high = 5.3 if layer.op == "add" else 3.7 if layer.relu else 4.6
    return Range(0.0 if layer.relu else -0.9 * high, high)


def _random_weight(layer: Layer, rng: np.random.Generator) -> F32 | None:
    k, ic, oc = layer.kernel, layer.in_shape[2], layer.out_shape[2]
    shapes: dict[str, tuple[int, ...]] = {"conv_2d": (oc, k, k, ic), "depthwise_conv_2d": (1, k, k, oc),
                                          "fully_connected": (oc, ic)}
    if layer.op not in shapes:
        return None
    weight = rng.normal(0, 1, shapes[layer.op]).astype(np.float32)
    # Both signs in every filter: one without positive weights would be dead behind a ReLU, and the passes remove it.
    by_filter = weight.reshape(-1, oc) if layer.op == "depthwise_conv_2d" else weight.reshape(oc, -1).T
    if len(by_filter) > 1:
        by_filter[0], by_filter[-1] = np.abs(by_filter[0]), -np.abs(by_filter[-1])
    return weight
