"""Small quantized ONNX models, and the one strong check: NumPy reference against ONNX Runtime, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mcuc.importers import onnx as importer
from mcuc.importers.onnx import Interface
from mcuc.ir import Array, Graph
from mcuc.verify import oracle, reference

TYPES = {
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "int16": TensorProto.INT16,
    "bool": TensorProto.BOOL,
}


@dataclass
class Model:
    """A model under construction; every method returns the name of the value it adds."""

    seed: int = 0
    opset: int = 17
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.scales: dict[str, Array] = {}  # of DequantizeLinear results and of scale constants

    def name(self, prefix: str = "v") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def const(self, array: Any, dtype: Any = None) -> str:
        name = self.name("c")
        data = np.asarray(array, dtype)
        self.initializers.append(numpy_helper.from_array(data if data.ndim == 0 else np.ascontiguousarray(data), name))
        if data.dtype == np.float32:
            self.scales[name] = data
        return name

    def node(self, kind: str, inputs: Sequence[str], domain: str = "", outputs: int = 1, **attrs: Any) -> Any:
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attrs))
        if kind == "DequantizeLinear" and inputs[1] in self.scales:
            self.scales[names[0]] = self.scales[inputs[1]]
        elif kind in ("Transpose", "Reshape", "Flatten", "MaxPool") and inputs[0] in self.scales:
            self.scales[names[0]] = self.scales[inputs[0]]
        return names[0] if outputs == 1 else names

    def input(self, shape: Sequence[Any], dtype: str = "float32") -> str:
        name = self.name("in")
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[dtype], shape))
        return name

    def params(self, dtype: str = "int8", scale: float | None = None, zero: int | None = None) -> tuple[str, str]:
        """Names of a scale and a zero point; random where not given."""
        info = np.iinfo(dtype)
        scale = float(self.rng.uniform(0.02, 0.08)) if scale is None else scale
        zero = (
            int(
                self.rng.integers(
                    info.min // 4 + (96 if dtype == "uint8" else 0), info.max // 4 + (96 if dtype == "uint8" else 0)
                )
            )
            if zero is None
            else zero
        )
        return self.const(scale, np.float32), self.const(zero, dtype)

    def quantize(self, x: str, dtype: str = "int8", scale: float | None = None, zero: int | None = None) -> str:
        return self.node("QuantizeLinear", [x, *self.params(dtype, scale, zero)])

    def qdq(self, x: str, dtype: str = "int8", scale: float | None = None, zero: int | None = None) -> str:
        """QuantizeLinear, DequantizeLinear."""
        p = self.params(dtype, scale, zero)
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, *p]), *p])

    def weights(self, shape: Sequence[int], dtype: str = "int8", axis: int | None = 0, zero: int | None = None) -> str:
        """Random dequantized weights: per channel along axis, or per tensor."""
        data = self.integers(shape, dtype)
        n = 1 if axis is None else shape[axis]
        scale = self.rng.uniform(0.002, 0.02, n).astype(np.float32)
        info = np.iinfo(dtype)
        zeros = np.full(n, zero if zero is not None else (info.max + info.min + 1) // 2, dtype)
        if axis is None:
            return self.node("DequantizeLinear", [self.const(data), self.const(scale[0]), self.const(zeros[0])])
        return self.node("DequantizeLinear", [self.const(data), self.const(scale), self.const(zeros)], axis=axis)

    def integers(self, shape: Sequence[int], dtype: str = "int8") -> Array:
        info = np.iinfo(dtype)
        return self.rng.integers(info.min + (dtype == "int8"), info.max + 1, tuple(shape)).astype(dtype)

    def bias(self, n: int, x: str, w: str, spread: int = 3000) -> str:
        """An int32 bias behind DequantizeLinear, with the scale that the format demands: of x times of w."""
        scale = np.float32(self.scales[x]) * self.scales[w]
        zero = np.zeros(scale.shape, np.int32)
        data = self.const(self.rng.integers(-spread, spread, n), np.int32)
        return self.node("DequantizeLinear", [data, self.const(scale), self.const(zero)], axis=0)

    def layer(self, kind: str, x: str, w: str, n: int, **attrs: Any) -> str:
        """Conv or Gemm with a bias of n elements."""
        return self.node(kind, [x, w, self.bias(n, x, w)], **attrs)

    def build(self, *outputs: str, ir: int = 8) -> bytes:
        """The serialized model; output types come from shape inference."""
        values = [helper.make_tensor_value_info(o, TensorProto.UNDEFINED, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "case", self.inputs, values, self.initializers)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)],
            ir_version=ir if self.opset < 19 else 10,
        )
        types = _output_types(model)
        for value in model.graph.output:
            value.CopyFrom(helper.make_tensor_value_info(value.name, types.get(value.name, TensorProto.FLOAT), None))
            value.type.tensor_type.ClearField("shape")
        return model.SerializeToString()


def _output_types(model: Any) -> dict[str, int]:
    """Element types by name: QuantizeLinear and QLinear outputs have their zero point's, moved values their input's."""
    constants = {t.name: t.data_type for t in model.graph.initializer}
    found = {v.name: v.type.tensor_type.elem_type for v in model.graph.input}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            kind = constants[node.input[2]]
        elif node.op_type == "QLinearConcat":
            kind = constants[node.input[1]]
        elif node.op_type.startswith(("QLinear", "QGemm")):
            kind = (
                constants[[n for n in node.input if n][-1]]
                if node.op_type not in ("QLinearConv",)
                else constants[node.input[7]]
            )
        elif node.op_type == "DequantizeLinear":
            kind = TensorProto.FLOAT
        elif node.op_type in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not"):
            kind = TensorProto.BOOL
        elif node.op_type in ("ArgMax", "ArgMin"):
            kind = TensorProto.INT64
        elif node.op_type == "Cast":
            kind = node.attribute[0].i
        elif node.op_type == "Where":
            kind = TensorProto.FLOAT
        else:
            kind = found.get(node.input[0], TensorProto.FLOAT) if node.input else TensorProto.FLOAT
        for output in node.output:
            found[output] = kind
    return found


def load(blob: bytes) -> tuple[Graph, Interface]:
    return importer.parse_with_interface(blob, "case.onnx", "case")


def samples(graph: Graph, count: int = 5, seed: int = 1) -> list[list[Array]]:
    """Random integers for the graph's inputs, extremes first."""
    rng = np.random.default_rng(seed)
    chosen = []
    for n in range(count):
        sample = []
        for name in graph.inputs:
            t = graph.tensors[name]
            low, high = t.dtype.limits
            x = rng.integers(low, high + 1, t.shape)
            if n < 2:
                x = np.full(t.shape, (low, high)[n])
            sample.append(x.astype(t.dtype.value))
        chosen.append(sample)
    return chosen


def both(blob: bytes, count: int = 5, seed: int = 1) -> tuple[Graph, list[list[Array]], list[list[Array]]]:
    """(graph, ONNX Runtime's outputs, the reference's) in the graph's order and integers."""
    graph, interface = load(blob)
    inputs = samples(graph, count, seed)
    fed = [[importer.to_file(p, a) for p, a in zip(interface.inputs, s, strict=True)] for s in inputs]
    raw = oracle.onnxruntime(blob, fed)
    wanted = [[importer.from_file(p, a) for p, a in zip(interface.outputs, s, strict=True)] for s in raw]
    got = []
    for sample in inputs:
        values = reference.run(graph, dict(zip(graph.inputs, sample, strict=True)))
        got.append([values[n] for n in graph.outputs])
    return graph, wanted, got


@cache
def saturates() -> bool:
    """The runtime's dot products of uint8 and int8 are not exact on this CPU: its AVX2 kernels add pairs in 16 bits
    (VPMADDUBSW), those for VNNI in 32."""
    ends = [helper.make_tensor_value_info("a", TensorProto.UINT8, [1, 8])]
    out = [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 4])]
    b = helper.make_tensor("b", TensorProto.INT8, [8, 4], [127] * 32)
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "probe", ends, out, [b])
    blob = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    ((found,),) = oracle.onnxruntime(blob, [[np.full((1, 8), 255, np.uint8)]])
    return bool((found != 8 * 255 * 127).any())


def check_onnx(
    blob: bytes, count: int = 5, seed: int = 1, transposes: int | None = 0, steps: int = 0, share: float = 0.0
) -> Graph:
    """The reference equals ONNX Runtime on every element (or within `steps` on at most `share` of them). transposes: as
    many stay in the graph, None where it does not matter."""
    graph, wanted, got = both(blob, count, seed)
    for sample, (expected, actual) in enumerate(zip(wanted, got, strict=True)):
        for i, (a, b) in enumerate(zip(expected, actual, strict=True)):
            assert a.dtype == b.dtype and a.shape == b.shape, (
                f"runtime {a.dtype}{a.shape}, reference {b.dtype}{b.shape}"
            )
            difference = np.abs(a.astype(int) - b.astype(int))
            wrong = np.flatnonzero(difference)
            if difference.max(initial=0) > steps and saturates():
                pytest.skip("ONNX Runtime saturates 16-bit sums of products on this CPU (no VNNI): no oracle here")
            assert wrong.size <= share * a.size and difference.max(initial=0) <= steps, (
                f"sample {sample} output {i}: {wrong.size} of {a.size} differ, by up to {difference.max()}, first at "
                f"{wrong[:1]}: runtime {a.reshape(-1)[wrong[:1]]}, reference {b.reshape(-1)[wrong[:1]]}\n{graph}"
            )
    if not steps:
        assert len({a.tobytes() for s in wanted for a in s}) > 1, "the case does not depend on its input"
    assert transposes in (None, sum(n.op == "transpose" for n in graph.nodes)), str(graph)
    return graph


__all__ = ["Model", "both", "check_onnx", "load", "onnx", "samples"]
