"""The graph that every part of mcuc reads: frozen dataclasses, a checker and a stable text form.

Activations are int8 in NHWC order (truth values bool, a byte each, indices int32). What a node computes is
determined by its attributes alone (zero points, requantization and clamps live there); the quantization of a tensor is
metadata that says how its integers map to real numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mcuc.errors import McucError

Array = npt.NDArray[Any]
Profile = Literal["tflite", "onnx"]


class DType(Enum):
    """Element types; the value is the NumPy name."""

    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"
    BOOL = "bool"

    @property
    def bytes(self) -> int:
        return int(np.dtype(self.value).itemsize)

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest value of an integer type; 0 and 1 of a bool."""
        if self is DType.BOOL:
            return 0, 1
        info = np.iinfo(self.value)
        return int(info.min), int(info.max)


@dataclass(frozen=True)
class Quant:
    """real = scale * (integer - zero_point); one entry, or one per index along axis."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named value. data is set for constants only; shape has batch 1 in front where the model has a batch.

    int4: the file holds the constant in four bits an element; data are int8, -8..7.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    quant: Quant | None = None
    data: Array | None = None
    int4: bool = False

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.bytes


@dataclass(frozen=True)
class Requant:
    """How an int32 accumulator becomes an output step, one entry or one per output channel.

    rule "tflite_double": gemmlowp's rounding doubling high multiply by `multiplier` (Q31), then a rounding
    shift; `shift` > 0 shifts left before, < 0 right after.
    rule "tflite_single": acc * multiplier * 2^(shift - 31), rounded once, half up (dense layers of uint8 models).
    rule "tflite_wide": a 64-bit acc * the multiplier's upper 16 bits * 2^(shift - 15), rounded once, half up (layers
    with int16 activations and int64 biases).
    rule "f32_rne": float32(acc) * float32(scale), rounded half to even (ONNX Runtime); `scale` is used.
    """

    rule: Literal["tflite_double", "tflite_single", "tflite_wide", "f32_rne"]
    multiplier: tuple[int, ...] = ()
    shift: tuple[int, ...] = ()
    scale: tuple[float, ...] = ()


@dataclass(frozen=True)
class Node:
    """One operation. op is a name in mcuc.ops; "" among the inputs stands for an absent optional input."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Any


@dataclass(frozen=True, eq=False)
class State:
    """A value that a network keeps from one run to the next, outside the arena.

    current: the tensor that holds it when a run begins; next: the one, of the same shape and type, that holds it
    when the run is over, written by a node. Both have the same bytes: whoever reads `current` runs before the node that
    writes `next`. initial: what reset puts there, of the tensors' shape and type.
    """

    current: str
    next: str
    initial: Array


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: nodes in a valid execution order.

    states: what it keeps from run to run. notes: what a user should know of the import. float_inputs: int8 inputs that
    were float in the file, whose own quantize node rounded them.
    """

    name: str
    profile: Profile
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()
    float_inputs: frozenset[str] = frozenset()
    states: tuple[State, ...] = ()

    @property
    def given(self) -> tuple[str, ...]:
        """What is there when a run begins: inputs and states."""
        return (*self.inputs, *(s.current for s in self.states))

    @property
    def kept(self) -> tuple[str, ...]:
        """What must be there when a run is over: outputs and states."""
        return (*self.outputs, *(s.next for s in self.states))

    def __str__(self) -> str:
        return text(self)

    def const(self, name: str) -> Array:
        """The constant's data. Raises McucError when the tensor is computed at run time."""
        tensor = self.tensors[name]
        if tensor.data is None:
            raise McucError(
                "not-constant",
                f"tensor {name!r} must be a constant",
                where=name,
                try_this="export the model with this input frozen into a constant",
            )
        return tensor.data

    def consumers(self) -> dict[str, list[Node]]:
        """Tensor name -> nodes that read it, in order."""
        found: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    found[name].append(node)
        return found

    def producers(self) -> dict[str, Node]:
        """Tensor name -> the node that computes it."""
        return {name: node for node in self.nodes for name in node.outputs}

    def runtime_inputs(self, node: Node) -> tuple[str, ...]:
        """The inputs of a node that are computed at run time (no constants, no absent ones), in order."""
        return tuple(n for n in node.inputs if n and self.tensors[n].data is None)


def rebuild(
    graph: Graph,
    nodes: Iterable[Node],
    tensors: Iterable[Tensor] = (),
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    notes: Iterable[str] = (),
) -> Graph:
    """The graph with other nodes and added or replaced tensors; tensors nobody names any more are dropped."""
    kept_nodes = tuple(nodes)
    table = {**graph.tensors, **{t.name: t for t in tensors}}
    new_inputs = tuple(graph.inputs if inputs is None else inputs)
    new_outputs = tuple(graph.outputs if outputs is None else outputs)
    used = {n for node in kept_nodes for n in (*node.inputs, *node.outputs) if n} | {*new_inputs, *new_outputs}
    used |= {n for state in graph.states for n in (state.current, state.next)}
    return replace(
        graph,
        nodes=kept_nodes,
        tensors={k: v for k, v in table.items() if k in used},
        inputs=new_inputs,
        outputs=new_outputs,
        notes=(*graph.notes, *notes),
    )


def check(graph: Graph) -> Graph:
    """Raises McucError("broken-graph") when the graph is not well formed; returns it otherwise."""
    known = {n for n, t in graph.tensors.items() if t.data is not None} | set(graph.given)
    for name, tensor in graph.tensors.items():
        if tensor.name != name:
            _broken(f"tensor stored under {name!r} calls itself {tensor.name!r}", name)
        if any(d < 0 for d in tensor.shape):
            _broken(f"tensor has shape {tensor.shape}", name)
        if tensor.data is not None and (tensor.data.shape != tensor.shape or tensor.data.dtype != tensor.dtype.value):
            _broken(
                f"constant is {tensor.data.dtype}{tensor.data.shape}, declared {tensor.dtype.value}{tensor.shape}", name
            )
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in graph.tensors:
                _broken(f"node reads unknown tensor {name!r}", node.name)
            if name and name not in known:
                _broken(f"node reads {name!r} before it is computed", node.name)
        for name in node.outputs:
            if name not in graph.tensors:
                _broken(f"node writes unknown tensor {name!r}", node.name)
            if name in known:
                _broken(f"tensor {name!r} is written twice", node.name)
            known.add(name)
    for name in graph.kept:
        if name not in known:
            _broken(f"output {name!r} is never computed", name)
        if graph.tensors[name].data is not None:
            _broken(f"output {name!r} is a constant", name)
    for state in graph.states:
        _check_state(graph, state)
    return graph


def _check_state(graph: Graph, state: State) -> None:
    """Both tensors and the initial value are of one shape and type, and no node reads after the one that writes."""
    current, after = graph.tensors[state.current], graph.tensors[state.next]
    kinds = {(t.shape, t.dtype.value) for t in (current, after)} | {(state.initial.shape, str(state.initial.dtype))}
    if len(kinds) > 1:
        _broken(f"a state is kept as {', '.join(f'{dtype}{shape}' for shape, dtype in sorted(kinds))}", current.name)
    written = [i for i, node in enumerate(graph.nodes) if after.name in node.outputs]
    read = [i for i, node in enumerate(graph.nodes) if current.name in node.inputs]
    if not written or max(read, default=-1) > written[0]:
        _broken(f"state {current.name!r} is read after it is written", current.name)


def _broken(found: str, where: str) -> None:
    raise McucError("broken-graph", found, where=where, try_this="check that the model file is complete")


def text(graph: Graph) -> str:
    """Stable text form, one line a node; constants as shape and type only."""
    lines = [f"graph {graph.name} profile={graph.profile}"]
    for name in graph.inputs:
        lines.append(f"  input {_tensor_text(graph.tensors[name])}")
    for state in graph.states:
        lines.append(f"  state {_tensor_text(graph.tensors[state.current])} next {state.next}")
    for node in graph.nodes:
        args = ", ".join(_argument_text(graph, n) for n in node.inputs)
        outs = ", ".join(_tensor_text(graph.tensors[n]) for n in node.outputs)
        attrs = _attrs_text(node.attrs)
        lines.append(f"  {outs} = {node.op}({args}){' ' + attrs if attrs else ''}")
    lines.extend(f"  output {name}" for name in graph.outputs)
    return "\n".join(lines) + "\n"


def _argument_text(graph: Graph, name: str) -> str:
    if not name:
        return "-"
    tensor = graph.tensors[name]
    if tensor.data is None:
        return name
    return f"const {tensor.dtype.value}[{'x'.join(map(str, tensor.shape))}]"


def _tensor_text(tensor: Tensor) -> str:
    return f"{tensor.name}:{tensor.dtype.value}[{'x'.join(map(str, tensor.shape))}]"


def _attrs_text(attrs: Any) -> str:
    if not is_dataclass(attrs):
        return ""
    parts = []
    for f in (f for f in fields(attrs) if f.repr):
        value = getattr(attrs, f.name)
        if isinstance(value, bytes):
            value = f"<{len(value)} bytes>"
        elif isinstance(value, tuple) and len(value) > 8:
            value = f"<{len(value)} values>"
        elif isinstance(value, Requant):
            value = f"{value.rule}<{max(len(value.multiplier), len(value.scale))}>"
        parts.append(f"{f.name}={value}")
    return "{" + " ".join(parts) + "}"
