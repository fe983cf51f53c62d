"""A trained network of the search as a float ONNX model, the form that quantization works on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mcuc.ir import Array
from mcuc.quantize.model import OPSET
from mcuc.search.layers import Layer, same_padding
from mcuc.search.naming import LINEAR
from mcuc.search.network import EPSILON, Params, Stats
from mcuc.search.spaces.ds_conv import Candidate, Space, to_layers

INPUT = "input"


def to_onnx(name: str, params: Params, space: Space, candidate: Candidate, stats: Stats) -> Any:
    """The ONNX ModelProto: float input [1, c, r, r], pixel / 255; output [1, classes] behind a softmax.

    Batch norms stay nodes of their own, with the statistics of the evaluation: quantization folds them. A layer's
    output has the layer's name.
    """
    import onnx
    from onnx import helper, numpy_helper

    layers = to_layers(space, candidate)
    constants: dict[str, Array] = {}
    for layer in layers:
        mean, variance = stats.get(layer.name, (None, None))
        for part, value in (("w", params.get(f"{layer.name}.w")), ("b", params.get(f"{layer.name}.b")),
                            ("g", params.get(f"{layer.name}.g")), ("mean", mean), ("variance", variance)):  # fmt: skip
            if value is not None:
                constants[f"{layer.name}.{part}"] = _array(value)
    constants["spatial"] = np.array([2, 3], np.int64)
    shape = (1, space.channels, candidate.resolution, candidate.resolution)
    graph = helper.make_graph(
        [node for layer in layers for node in _nodes(layer)],
        name,
        [helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(layers[-1].name, onnx.TensorProto.FLOAT, (1, space.classes))],
        [numpy_helper.from_array(value, label) for label, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="mcuc")


def _nodes(layer: Layer) -> list[Any]:
    """The layer's operator, its norm and its ReLU; the last of them writes the layer's name."""
    from onnx import helper

    name, norm = layer.name, [f"{layer.name}.{part}" for part in ("g", "b", "mean", "variance")]
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if layer.op in ("conv_2d", "depthwise_conv_2d"):
        before, after = same_padding(layer.in_shape[0], layer.kernel, layer.stride)
        attrs = {
            "kernel_shape": (layer.kernel, layer.kernel),
            "strides": (layer.stride, layer.stride),
            "pads": (before, before, after, after),
            "group": layer.in_shape[2] if layer.op == "depthwise_conv_2d" else 1,
        }
        steps.append(("Conv", [f"{name}.w"], attrs))
        steps.append(("BatchNormalization", norm, {"epsilon": EPSILON}))
    elif layer.op == "fully_connected":
        steps.append(("Gemm", [f"{name}.w", f"{name}.b"], {"transB": 1}))
    elif layer.op == "mean":
        steps.append(("ReduceMean", ["spatial"], {"keepdims": 0}))
    else:
        steps.append({"add": ("Add", [layer.inputs[-1]], {}), "softmax": ("Softmax", [], {"axis": 1})}[layer.op])
    if layer.relu:
        steps.append(("Relu", [], {}))
    x = layer.inputs[0]
    make: Any = helper.make_node
    found = []
    for i, (kind, others, attrs) in enumerate(steps):
        out = (name, f"{name}{LINEAR}", f"{name}.unscaled")[len(steps) - 1 - i]
        found.append(make(kind, [x, *others], [out], name=out, **attrs))
        x = out
    return found


def _array(value: torch.Tensor) -> Array:
    return np.ascontiguousarray(value.detach().numpy().astype(np.float32))
