"""Small float networks as ONNX, and one way to look at them: what a network computes over samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, from_proto, to_proto, with_shapes
from mcuc.quantize.patterns import recognised
from mcuc.quantize.runtime import Runtime


class Net:
    """A float ONNX model under construction; every method returns the name of the value it adds."""

    def __init__(self, shape: Sequence[int], seed: int = 0, opset: int = 17) -> None:
        self.rng, self.opset = np.random.default_rng(seed), opset
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))

    def const(self, data: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(data, np.float32), name))
        return name

    def ints(self, *values: int) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def node(self, kind: str, *inputs: str, **attrs: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attrs))
        return name

    def truths(self, data: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(data, bool), name))
        return name

    def split(self, x: str, count: int, size: int) -> list[str]:
        """Equal parts of the last axis."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node("Split", [x, self.ints(*[size] * count)], names, axis=-1))
        return names

    def conv(self, x: str, oc: int, ic: int, k: int = 3, group: int = 1, stride: int = 1, spread: float = 1.0) -> str:
        """He-scaled weights; spread > 1: channels of very different size."""
        w = self.rng.normal(0, (2 / (ic // group * k * k)) ** 0.5, (oc, ic // group, k, k))
        w *= self.rng.uniform(1 / spread, spread, (oc, 1, 1, 1))
        b = self.rng.normal(0, 0.2, oc)
        return self.node(
            "Conv",
            x,
            self.const(w),
            self.const(b),
            kernel_shape=[k, k],
            pads=[k // 2] * 4,
            group=group,
            strides=[stride, stride],
        )

    def done(self, output: str) -> ModelProto:
        out = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "net", [self.input], [out], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)


def residual(spread: float = 1.0, softmax: bool = True) -> ModelProto:
    """Convolution, inverted bottleneck with a residual, classifier: what most networks consist of."""
    net = Net((1, 3, 12, 12))
    a = net.node("Relu", net.conv("x", 8, 3, stride=2, spread=spread))
    b = net.node("Relu", net.conv(a, 24, 8, 1, spread=spread))
    c = net.node("Clip", net.conv(b, 24, 24, group=24), net.const(0.0), net.const(6.0))
    d = net.node("Add", net.conv(c, 8, 24, 1), a)
    e = net.node("Flatten", net.node("GlobalAveragePool", d))
    logits = net.node("Gemm", e, net.const(net.rng.normal(0, 1, (8, 5))), net.const(net.rng.normal(0, 0.1, 5)))
    return net.done(net.node("Softmax", logits, axis=1) if softmax else logits)


def samples(count: int, shape: Sequence[int], seed: int = 1) -> Array:
    """Smooth random inputs [n, *shape], batch of one in front of each."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(0, 1, (count, *shape)).astype(np.float32)
    return (rough + np.roll(rough, 1, -1) + np.roll(rough, 1, -2)) / np.float32(2)


def simplified(proto: ModelProto, columns: Array, runtime: Runtime, recognise: bool = True) -> FloatModel:
    model = from_proto(with_shapes(proto, [columns], "net"), "net", "net", runtime)
    return recognised(model) if recognise else model


def answers(model: FloatModel, columns: Array) -> Array:
    """The first output over the samples, as ONNX Runtime computes it."""
    with Runtime("net") as runtime:
        runtime.set_samples([columns])
        return runtime.outputs(runtime.open(to_proto(model)), model.outputs[:1])[0]
