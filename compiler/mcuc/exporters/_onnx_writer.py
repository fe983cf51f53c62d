"""An ONNX file being written: names, constants, quantization parameters, and the two orders of rank-4 values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor

Style = Literal["qdq", "qoperator"]
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass
class Writer:
    """What has been written so far. ends: names of the file's inputs and outputs; real: DequantizeLinear results by
    integer name; own: NHWC copies by name."""

    graph: Graph
    style: Style
    ends: frozenset[str] = frozenset()
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    real: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    counter: int = 0

    def name(self, base: str) -> str:
        """A name that no tensor of the graph has, and no input or output of the file."""
        self.counter += 1
        while (name := f"{base}/{self.counter}") in self.graph.tensors or name in self.ends:
            self.counter += 1
        return name

    def constant(self, base: str, data: Array) -> str:
        name = self.name(base)
        self.constants[name] = data
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **attrs: Any) -> str:
        from onnx import helper

        self.nodes.append(
            helper.make_node(kind, list(inputs), [output], name=f"{len(self.nodes)}:{kind}", domain=domain, **attrs)
        )
        return output


def outside_shape(shape: Sequence[int]) -> list[int]:
    return [shape[i] for i in TO_NCHW] if len(shape) == 4 else list(shape)


def element_type(tensor: Tensor) -> int:
    from onnx import TensorProto

    kinds = {
        DType.INT8: TensorProto.INT8,
        DType.UINT8: TensorProto.UINT8,
        DType.INT32: TensorProto.INT32,
        DType.BOOL: TensorProto.BOOL,
    }
    if tensor.dtype not in kinds:
        raise McucError(
            "not-exportable",
            f"tensor {tensor.name!r} is {tensor.dtype.value}, which the ONNX exporter does not write",
            where=tensor.name,
            try_this="export to TFLite instead",
        )
    return int(kinds[tensor.dtype])


def params_of(w: Writer, tensor: Tensor) -> tuple[str, str]:
    """Names of the scale and the zero point of a tensor, scalars or one entry per channel."""
    if tensor.quant is None:
        raise McucError(
            "not-exportable",
            f"tensor {tensor.name!r} has no quantization",
            where=tensor.name,
            try_this="export a quantized network",
        )
    scale, zero = np.array(tensor.quant.scale, np.float32), np.array(tensor.quant.zero_point, tensor.dtype.value)
    if scale.size == 1:
        return w.constant(f"{tensor.name}/scale", scale.reshape(())), w.constant(
            f"{tensor.name}/zero_point", zero[:1].reshape(())
        )
    zero = np.broadcast_to(zero, scale.shape).copy()
    return w.constant(f"{tensor.name}/scale", scale), w.constant(f"{tensor.name}/zero_point", zero)


def clamp_integers(w: Writer, out: Tensor, source: str, clamp: tuple[int, int], final: str) -> None:
    """A clamp of the integers as Relu or Clip between equal parameters."""
    assert out.quant is not None
    scale, zero = np.float32(out.quant.scale[0]), out.quant.zero_point[0]
    params = params_of(w, out)
    real = w.add("DequantizeLinear", [source, *params], w.name(f"{final}/real"))
    if clamp == (zero, 127):
        real = w.add("Relu", [real], w.name(f"{final}/relu"))
    else:
        bounds = [w.constant(f"{final}/bound", np.array((c - zero) * scale, np.float32)) for c in clamp]
        real = w.add("Clip", [real, *bounds], w.name(f"{final}/clip"))
    w.add("QuantizeLinear", [real, *params], final)


def integers(w: Writer, name: str, own: bool) -> str:
    """A tensor's integers; own: in the graph's order (NHWC) where that differs from the outside's."""
    tensor = w.graph.tensors[name]
    if tensor.data is not None:
        data = tensor.data if own or tensor.data.ndim != 4 else tensor.data.transpose(TO_NCHW)
        return w.constant(name, np.ascontiguousarray(data))
    if not own or len(tensor.shape) != 4:
        return name
    if name not in w.own:
        w.own[name] = w.add("Transpose", [name], w.name(f"{name}/nhwc"), perm=list(TO_NHWC))
    return w.own[name]


def written(w: Writer, node: Node, own: bool, write: Callable[[str], None]) -> None:
    """Calls write with the name to write to; transposes to the outside's order behind it where own."""
    out = w.graph.tensors[node.outputs[0]]
    if not own or len(out.shape) != 4:
        write(out.name)
        return
    inner = w.name(f"{out.name}/nhwc")
    write(inner)
    w.own[out.name] = inner
    w.add("Transpose", [inner], out.name, perm=list(TO_NCHW))


def outside_axis(axis: int, rank: int) -> int:
    """An axis of the graph's order in the outside's order."""
    return TO_NCHW.index(axis % rank) if rank == 4 else axis % rank
