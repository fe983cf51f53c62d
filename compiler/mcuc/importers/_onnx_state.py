"""The state of one ONNX import, and the steps that every handler uses: values, layouts, quantization, new nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from mcuc import ops
from mcuc.errors import McucError
from mcuc.importers._onnx_proto import FileGraph, FileNode
from mcuc.importers._onnx_values import Layout, Params, Value, plain, same_bytes
from mcuc.ir import Array, DType, Node, Quant, Tensor
from mcuc.numerics import FactorTooLarge
from mcuc.ops._base import Imported

INTEGERS = ("int8", "uint8")
# Operators that only move elements: a quantization found behind them is the one in front of them.
MOVES = (
    "Identity",
    "Dropout",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Slice",
    "Split",
    "MaxPool",
    "GlobalMaxPool",
    "Gather",
    "GatherElements",
    "GatherND",
    "DepthToSpace",
    "SpaceToDepth",
    "Tile",
    "Expand",
    "ReverseSequence",
    "Trilu",
    "CenterCropPad",
)
CLIPS = ("Relu", "Clip")


@dataclass
class State:
    """What has been built so far. values: by file name. fused: activations that the node before them applies. folded:
    elements of all constants that were computed."""

    file: FileGraph
    consumers: Mapping[str, Sequence[tuple[FileNode, int]]]
    values: dict[str, Value]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    fused: set[str] = field(default_factory=set)
    moved: dict[tuple[str, Layout, Layout], Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    folded: int = 0

    @property
    def opset(self) -> int:
        return self.file.opset


def refuse(code: str, found: str, where: str, try_this: str) -> McucError:
    return McucError(code, found, where=where, try_this=try_this)


def not_quantized(name: str, where: str) -> McucError:
    return refuse(
        "not-quantized",
        f"value {name!r} is float where int8 is needed",
        where,
        "quantize activations and weights: onnxruntime.quantization.quantize_static(model, out, calibration_reader, "
        "quant_format=QuantFormat.QDQ)",
    )


def quant_of(params: Params, axis: int | None = None) -> Quant:
    """As stored: uint8 zero points shifted by 128."""
    zero = tuple(z - params.shift for z in params.zero_point)
    return Quant(params.scale, zero[:1] if len(set(zero)) == 1 else zero, axis)


def unique(state: State, name: str) -> str:
    """A tensor name not used yet, printable ASCII."""
    clean = "".join(c if " " <= c <= "~" else "?" for c in name)[:200] or "value"
    candidate, number = clean, 1
    while candidate in state.tensors:
        candidate, number = f"{clean}#{number}", number + 1
    return candidate


def add_tensor(state: State, tensor: Tensor) -> Tensor:
    state.tensors[tensor.name] = tensor
    return tensor


def constant(state: State, name: str, data: Array, params: Params | None = None, axis: int | None = None) -> Tensor:
    """A constant tensor of file data already in stored order; uint8 becomes int8."""
    if data.dtype == np.uint8 and params is not None:
        data = (data ^ np.uint8(0x80)).view(np.int8)
    quant = None if params is None or data.dtype != np.int8 else quant_of(params, axis)
    shape = data.shape
    return add_tensor(
        state,
        Tensor(unique(state, name), shape, DType(str(data.dtype)), quant, np.ascontiguousarray(data).reshape(shape)),
    )


def build(
    state: State,
    kind: str,
    inputs: Sequence[Tensor | None],
    options: Mapping[str, Any],
    out: Tensor,
    where: str,
    unsigned: bool = False,
) -> Tensor:
    """Adds the node that an operator makes of a canonical ONNX node; returns its output with the inferred shape."""
    operator = ops.find_onnx(kind, where)
    assert operator.from_onnx is not None
    try:
        built = operator.from_onnx(Imported(kind, options, tuple(inputs), (out,), where, unsigned, state.opset))
    except FactorTooLarge as error:
        raise replace(error, where=where) from error
    for constant in built.constants:
        add_tensor(state, constant)
    target = ops.get(built.op)
    arguments = [state.tensors[n] for n in built.inputs if n]
    for tensor in inputs:  # an operator sees this node's own view of a tensor's quantization
        if tensor is not None and tensor.name not in state.tensors:
            add_tensor(state, tensor)
    (shape,) = target.infer(built.attrs, arguments)
    if any(d < 1 for d in shape) or (out.shape and prod(out.shape) != prod(shape)):
        raise refuse(
            "broken-model",
            f"{kind} makes a tensor of shape {shape}, {out.shape or 'a positive one'} is expected",
            where,
            "check that the model file is complete",
        )
    result = add_tensor(state, replace(out, shape=tuple(int(d) for d in shape)))
    state.nodes.append(Node(f"{len(state.nodes)}:{kind}", built.op, built.inputs, (out.name,), built.attrs))
    return result


def groups(shape: Sequence[int], view: Sequence[int]) -> list[list[int]] | None:
    """For each dimension of shape the run of view's dimensions that makes it up; None when they do not line up."""
    found: list[list[int]] = []
    position = 0
    for dim in shape:
        run: list[int] = []
        size = 1
        if dim == 1 and position < len(view) and view[position] == 1:
            run.append(position)
            position += 1
        while size < dim and position < len(view):
            size *= view[position]
            run.append(position)
            position += 1
        if size != dim:
            return None
        found.append(run)
    rest = list(range(position, len(view)))
    if any(view[i] != 1 for i in rest):
        return None
    if rest:
        if not found:
            return None
        found[-1].extend(rest)
    return found


def stored_order(value: Value) -> tuple[int, ...]:
    """The order of the file's axes in which the value lies without a transpose; the file's own where they are mixed."""
    assert value.layout is not None
    identity = tuple(range(len(value.shape)))
    layout, runs = value.layout, groups(value.shape, value.layout.view)
    if runs is None:
        return identity
    place = {axis: n for n, axis in enumerate(layout.perm)}
    keys: list[tuple[int, int]] = []
    for dim, run in enumerate(runs):
        keys.append((place[run[0]] if run else (keys[-1][0] if keys else -1), dim))
    order = tuple(dim for _, dim in sorted(keys))
    found = _ordered(value.shape, order, layout.view)
    return order if found is not None and same_bytes(found, layout) else identity


def _ordered(shape: Sequence[int], perm: Sequence[int], view: Sequence[int]) -> Layout | None:
    """Layout(shape, perm) in terms of a finer view; None when the view does not refine the shape."""
    runs = groups(shape, view)
    return None if runs is None else Layout(tuple(view), tuple(i for p in perm for i in runs[p]))


def need(state: State, value: Value, perm: Sequence[int], where: str) -> Tensor:
    """The value as a tensor of shape value.shape transposed by perm; adds transposes and reshapes where needed."""
    assert value.tensor is not None and value.layout is not None
    goal = Layout(value.shape, tuple(perm))
    key = (value.tensor.name, value.layout, goal)
    if key not in state.moved:
        state.moved[key] = _moved(state, value, goal, where)
    tensor = state.moved[key]
    quant = None if value.params is None else quant_of(value.params)
    return tensor if tensor.quant == quant else replace(tensor, quant=quant)


def _moved(state: State, value: Value, goal: Layout, where: str) -> Tensor:
    assert value.tensor is not None and value.layout is not None
    tensor, layout = value.tensor, value.layout
    finer = _ordered(value.shape, goal.perm, layout.view)
    if finer is None and not layout.is_plain():  # the shapes do not line up: through the file's own order
        inverse = tuple(int(i) for i in np.argsort(layout.perm))
        tensor = _transpose(state, _reshape(state, tensor, layout.stored, where), inverse, where)
        layout = plain(value.shape)
    elif finer is None:
        layout = plain(value.shape)
    finer = _ordered(value.shape, goal.perm, layout.view)
    assert finer is not None
    if not same_bytes(layout, finer):
        position = {axis: n for n, axis in enumerate(layout.perm)}
        tensor = _transpose(
            state, _reshape(state, tensor, layout.stored, where), tuple(position[a] for a in finer.perm), where
        )
    return _reshape(state, tensor, goal.stored, where)


def _reshape(state: State, tensor: Tensor, shape: Sequence[int], where: str) -> Tensor:
    if tensor.shape == tuple(shape):
        return tensor
    out = Tensor(unique(state, f"{tensor.name}/reshape"), tuple(shape), tensor.dtype, tensor.quant)
    return build(state, "Reshape", (tensor,), {"shape": tuple(shape)}, out, where)


def _transpose(state: State, tensor: Tensor, perm: Sequence[int], where: str) -> Tensor:
    out = Tensor(
        unique(state, f"{tensor.name}/transpose"), tuple(tensor.shape[p] for p in perm), tensor.dtype, tensor.quant
    )
    return build(state, "Transpose", (tensor,), {"perm": tuple(perm)}, out, where)


def copied(state: State, tensor: Tensor, name: str) -> str:
    """The name of a tensor with the same bytes, which is another one to the caller."""
    out = replace(tensor, name=unique(state, f"{name}/copy"))
    return build(state, "Reshape", (tensor,), {"shape": tensor.shape}, out, f"output {name!r}").name


def runtime(state: State, node: FileNode, index: int = 0) -> Value:
    """The quantized run-time value at an input. Raises McucError for float and absent ones."""
    value = optional(state, node, index)
    name = node.inputs[index] if index < len(node.inputs) else ""
    if value is None:
        raise refuse(
            "broken-model", f"{node.kind} lacks its input {index}", node.where, "check that the model file is complete"
        )
    if value.tensor is None and value.array is not None:
        if str(value.array.dtype) not in INTEGERS:
            raise not_quantized(name, node.where)
        layout = plain(value.shape)
        return replace(value, tensor=constant(state, name, value.array, value.params), layout=layout)
    return value


def optional(state: State, node: FileNode, index: int) -> Value | None:
    name = node.inputs[index] if index < len(node.inputs) else ""
    return state.values[name] if name else None


def constant_of(state: State, node: FileNode, index: int) -> Array:
    """The constant array at an input. Raises McucError when it is computed at run time or absent."""
    value = optional(state, node, index)
    if value is None or value.array is None:
        raise refuse(
            "not-constant",
            f"{node.kind} needs a constant input {index}",
            node.where,
            "freeze this input into a constant before exporting",
        )
    return value.array


def scalar_params(
    scale: Array, zero_point: Array | None, dtype: str | None, where: str, axis: int | None = None
) -> Params:
    """Checked quantization parameters from constants of the file."""
    scales = np.asarray(scale, np.float32).reshape(-1)
    kind = str(zero_point.dtype) if zero_point is not None else (dtype or "uint8")
    zeros = np.zeros(1, np.int64) if zero_point is None else zero_point.reshape(-1).astype(np.int64)
    if scale.ndim > 1:
        raise refuse(
            "unsupported-quantization",
            "blocked quantization (scales of rank 2 or more) is not supported",
            where,
            "quantize per tensor or per channel",
        )
    if scales.size == 0 or not np.all(np.isfinite(scales)) or not np.all(scales > 0):
        raise refuse("corrupt-model", "a scale is not positive and finite", where, "export the model again")
    if zeros.size not in (1, scales.size):
        raise refuse(
            "corrupt-model", f"{scales.size} scales and {zeros.size} zero points", where, "export the model again"
        )
    return Params(
        tuple(float(s) for s in scales), tuple(int(z) for z in zeros), kind, axis if scales.size > 1 else None
    )


def per_tensor(params: Params, name: str, where: str) -> Params:
    if len(params.scale) != 1:
        raise refuse(
            "unsupported-quantization",
            f"value {name!r} is quantized per channel; activations need one scale",
            where,
            "quantize activations per tensor",
        )
    return params
