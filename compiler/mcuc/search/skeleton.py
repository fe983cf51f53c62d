"""The int8 graph of a candidate that nobody has trained: what the planner and the latency model look at.

Shapes, operators and their attributes are those that the trained network will have; the numbers are made up. Nodes are
made by the operators' own TFLite import, integers by the quantizer's own rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from mcuc.ir import Array, DType, Graph, Node, Quant, Tensor, check
from mcuc.ops import find_tflite
from mcuc.ops._base import Imported
from mcuc.quantize.params import activation_quant, integer_bias, nearest, weight_scale
from mcuc.quantize.ranges import Range
from mcuc.quantize.roles import FIXED
from mcuc.search.layers import Layer

INPUT = (float(np.float32(1 / 255)), -128)  # scale and zero point: a byte of an image, its top bit turned over
RELU, NO_ACTIVATION, SAME = 1, 0, 0
KINDS = {"conv_2d": "CONV_2D", "depthwise_conv_2d": "DEPTHWISE_CONV_2D", "add": "ADD", "mean": "MEAN",
         "fully_connected": "FULLY_CONNECTED", "softmax": "SOFTMAX"}  # fmt: skip
AXES = {"conv_2d": 0, "depthwise_conv_2d": 3, "fully_connected": 0}  # of the output channels in TFLite's layouts


def skeleton(layers: Sequence[Layer], name: str = "candidate", seed: int = 0) -> Graph:
    """A graph of these layers with seeded random weights. Layers of one shape have the same weights in every
    candidate, so that what is worked out of them is worked out once."""
    first, last = layers[0], layers[-1]
    assert first.inputs == ("input",)
    tensors = {"input": Tensor("input", (1, *first.in_shape), DType.INT8, Quant((INPUT[0],), (INPUT[1],)))}
    nodes: list[Node] = []
    for layer in layers:
        fixed = FIXED["Softmax"] if layer.op == "softmax" else None
        out = Tensor(layer.name, _shape(layer), DType.INT8, activation_quant(_assumed_range(layer), fixed))
        inputs = [tensors[n] for n in layer.inputs] + _constants(layer, tensors[layer.inputs[0]], seed)
        kind = KINDS[layer.op]
        operator = find_tflite(kind, layer.name)
        assert operator.from_tflite is not None
        built = operator.from_tflite(Imported(kind, _options(layer), tuple(inputs), (out,), layer.name))
        used = [t for t in inputs if t.name in built.inputs]
        tensors |= {t.name: t for t in (*used, *built.constants, out)}
        nodes.append(Node(layer.name, built.op, built.inputs, (layer.name,), built.attrs))
    return check(Graph(name, "tflite", tensors, tuple(nodes), ("input",), (last.name,)))


def _shape(layer: Layer) -> tuple[int, ...]:
    return (1, layer.out_shape[2]) if layer.op in ("mean", "fully_connected", "softmax") else (1, *layer.out_shape)


def _options(layer: Layer) -> SimpleNamespace:
    """The fields of TFLite's options tables that these operators read."""
    return SimpleNamespace(
        fusedActivationFunction=RELU if layer.relu else NO_ACTIVATION,
        padding=SAME,
        strideH=layer.stride,
        strideW=layer.stride,
        dilationHFactor=1,
        dilationWFactor=1,
        depthMultiplier=1,
        weightsFormat=0,
        keepNumDims=False,
        keepDims=False,
        beta=1.0,
    )


def _constants(layer: Layer, x: Tensor, seed: int) -> list[Tensor]:
    """Weights and bias, or the axes of a mean."""
    if layer.op == "mean":
        return [Tensor(f"{layer.name}/axes", (2,), DType.INT32, None, np.array([1, 2], np.int32))]
    if layer.op not in AXES:
        return []
    real, axis = _random_weight(layer, seed), AXES[layer.op]
    weights = nearest(real, axis, weight_scale(real, axis))
    assert x.quant is not None
    bias, scale = integer_bias(np.zeros(layer.out_shape[2], np.float32), x.quant, weights)
    quant = Quant(tuple(map(float, weights.scale)), (0,), axis)
    bias_quant = Quant(tuple(map(float, scale)), (0,), 0 if len(scale) > 1 else None)
    return [Tensor(f"{layer.name}/weight", real.shape, DType.INT8, quant, weights.values),
            Tensor(f"{layer.name}/bias", bias.shape, DType.INT32, bias_quant, bias)]  # fmt: skip


def _assumed_range(layer: Layer) -> Range:
    """Unlike ranges, as trained networks have: equal ones would let an addition's constants fold away."""
    high = 5.3 if layer.op == "add" else 3.7 if layer.relu else 4.6
    return Range(0.0 if layer.relu else -0.9 * high, high)


def _random_weight(layer: Layer, seed: int) -> Array:
    k, ic, oc = layer.kernel, layer.in_shape[2], layer.out_shape[2]
    shapes = {"conv_2d": (oc, k, k, ic), "depthwise_conv_2d": (1, k, k, oc), "fully_connected": (oc, ic)}
    weight = np.random.default_rng([seed, k, ic, oc]).normal(0, 1, shapes[layer.op]).astype(np.float32)
    # Both signs in every filter: one without positive weights would be dead behind a ReLU, and the passes remove it.
    by_filter = weight.reshape(-1, oc) if layer.op == "depthwise_conv_2d" else weight.reshape(oc, -1).T
    if len(by_filter) > 1:
        by_filter[0], by_filter[-1] = np.abs(by_filter[0]), -np.abs(by_filter[-1])
    return weight
