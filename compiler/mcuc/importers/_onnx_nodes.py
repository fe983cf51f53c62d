"""One handler per ONNX operator: from the file's node to canonical options and tensors in stored order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import (
    FULL,
    Goal,
    find_goal,
    output_tensor,
    requantized,
)
from mcuc.importers._onnx_state import (
    State,
    build,
    constant_of,
    groups,
    need,
    not_quantized,
    optional,
    quant_of,
    refuse,
    runtime,
    scalar_params,
    unique,
)
from mcuc.importers._onnx_values import Layout, Params, Value, plain
from mcuc.ir import DType, Tensor

Result = Sequence[Value]
PROBABILITY = Params((1 / 256,), (-128,), "int8")


def broken(node: FileNode, found: str) -> Exception:
    return refuse("broken-model", f"{node.kind}: {found}", node.where, "check that the model file is complete")


def normal_axis(axis: int, rank: int, node: FileNode) -> int:
    if not -rank <= axis < rank:
        raise broken(node, f"axis {axis} of a value of rank {rank}")
    return axis % rank


def layout_of(value: Value) -> Layout:
    assert value.layout is not None
    return value.layout


def spatial(state: State, value: Value, node: FileNode) -> Tensor:
    """A rank-4 value as NHWC."""
    if len(value.shape) != 4:
        raise refuse(
            "unsupported-operator",
            f"{node.kind} on a value of shape {value.shape}; rank 3 (NCL) and 4 (NCHW) are supported",
            node.where,
            "use 1D or 2D operators",
        )
    return need(state, value, (0, 2, 3, 1), node.where)


def in_two(node: FileNode, x: Value) -> tuple[FileNode, Value]:
    """A window over a sequence (rank 3) is one over an image of height 1; others as they are."""
    if len(x.shape) != 3:
        return node, x
    attrs = dict(node.attrs)
    for key in ("kernel_shape", "strides", "dilations"):
        if key in attrs:
            attrs[key] = (1, *attrs[key])
    if len(attrs.get("pads", ())) == 2:
        attrs["pads"] = (0, attrs["pads"][0], 0, attrs["pads"][1])
    return replace(node, attrs=attrs), replace(x, shape=(x.shape[0], x.shape[1], 1, x.shape[2]))


def of_rank(value: Value, rank: int) -> Value:
    """What in_two made an image, as a sequence again; a value of that rank as it is."""
    return value if len(value.shape) == rank else replace(value, shape=(*value.shape[:2], value.shape[3]))


def goal_of(state: State, node: FileNode, fallback: Params | None = None) -> Goal:
    """What the node's float output becomes. Raises McucError where nothing quantizes it."""
    name = node.outputs[0]
    goal = find_goal(state, name)
    if goal is not None:
        return goal
    if fallback is not None and not state.consumers.get(name):
        state.notes.append(
            f"{node.where}: float output {name!r} becomes int8 with scale {fallback.scale[0]:g} and zero point "
            f"{fallback.zero_point[0]}"
        )
        return Goal(fallback)
    raise not_quantized(name, node.where)


def finish(
    state: State,
    node: FileNode,
    kind: str,
    inputs: Sequence[Tensor | None],
    options: Mapping[str, Any],
    shape: Sequence[int],
    layout: Layout,
    goal: Goal,
    types: Sequence[str] = (),
    clamps: bool = False,
) -> Value:
    """Builds the canonical node and the value that stands for the file's output; clamps: the operator has a clamp."""
    out = output_tensor(state, node.outputs[0], goal.params)
    clamp = goal.clamp
    every = dict(options, clamp=clamp if clamps else FULL, types=(*types, goal.params.dtype))
    unsigned = goal.params.dtype == "uint8"
    tensor = build(state, kind, inputs, every, replace(out, shape=layout.stored), node.where, unsigned)
    if not clamps and clamp != FULL:
        second = Tensor(unique(state, f"{node.outputs[0]}/clamp"), (), DType.INT8, tensor.quant)
        limits = [
            np.float32((c - tensor.quant.zero_point[0]) * np.float32(tensor.quant.scale[0]))
            for c in clamp
            if tensor.quant
        ]
        tensor = build(state, "Clip", (tensor,), {"low": limits[0], "high": limits[1]}, second, node.where)
    return Value(tuple(shape), None, tensor, layout, goal.params, real=True)


def dtype_of(value: Value) -> str:
    return value.params.dtype if value.params is not None else "int8"


def window(node: FileNode, size: tuple[int, int], kernel: tuple[int, int]) -> dict[str, Any]:
    """kernel, strides, dilations and pads (t, l, b, r), automatic padding and ceil_mode resolved."""

    def pair(key: str, default: int) -> tuple[int, int]:
        values = tuple(int(v) for v in node.attrs.get(key, (default, default)))
        if len(values) != 2 or min(values) < 1:
            raise broken(node, f"{key} {values}")
        return values[0], values[1]

    strides, dilations = pair("strides", 1), pair("dilations", 1)
    if len(kernel) != 2 or min(kernel) < 1:
        raise broken(node, f"kernel {kernel}")
    pads = [int(p) for p in node.attrs.get("pads", (0, 0, 0, 0))]
    if len(pads) != 4 or min(pads) < 0:
        raise broken(node, f"pads {pads}")
    auto = node.attrs.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        from mcuc.ops._spatial import same_padding

        pads = list(same_padding(size, kernel, strides, dilations, lower=auto == "SAME_LOWER"))
    elif auto == "VALID":
        pads = [0, 0, 0, 0]
    elif auto != "NOTSET":
        raise broken(node, f"auto_pad {auto!r}")
    if int(node.attrs.get("ceil_mode", 0)):
        for i in range(2):
            span = (kernel[i] - 1) * dilations[i] + 1
            room = size[i] + pads[i] + pads[i + 2] - span
            count = -(-room // strides[i]) + 1
            if (count - 1) * strides[i] >= size[i] + pads[i]:
                count -= 1  # a window must start inside the input or its leading padding
            pads[i + 2] += max(0, (count - 1) * strides[i] - room)
    for i in range(2):
        if (kernel[i] - 1) * dilations[i] + 1 > size[i] + pads[i] + pads[i + 2]:
            raise broken(node, f"kernel {kernel} is larger than the padded input {size}")
    return {"kernel": kernel, "strides": strides, "dilations": dilations, "pads": tuple(pads)}


def windowed_size(size: tuple[int, int], options: Mapping[str, Any]) -> tuple[int, int]:
    from mcuc.ops._spatial import Window

    return Window(options["kernel"], options["strides"], options["dilations"], options["pads"]).output(*size)


# Multiply-accumulate ----------------------------------------------------------------------------------------------


def real_input(state: State, node: FileNode, index: int) -> Value:
    """A run-time input that the file sees as float but that is quantized."""
    value = runtime(state, node, index)
    if value.params is None or not value.real:
        raise not_quantized(node.inputs[index], node.where)
    return value


def given(state: State, node: FileNode, index: int) -> Params:
    """Scale and zero point at inputs index and index + 1."""
    zero = optional(state, node, index + 1)
    zero_array = None if zero is None else constant_of(state, node, index + 1)
    return scalar_params(constant_of(state, node, index), zero_array, None, node.where, 0)


def quantized_input(state: State, node: FileNode, index: int, params: Params) -> Value:
    """A QLinear input with its own parameters; constants keep their array."""
    value = optional(state, node, index)
    if value is None:
        raise broken(node, f"lacks its input {index}")
    if value.array is None and value.tensor is None:
        raise not_quantized(node.inputs[index], node.where)
    return replace(value, params=replace(params, dtype=dtype_of(value) if value.params else params.dtype), real=True)


def as_stored(x: Value) -> Tensor:
    assert x.tensor is not None and x.params is not None
    return replace(x.tensor, quant=quant_of(x.params))


def transposed_value(x: Value, perm: Sequence[int]) -> Value:
    """ONNX Transpose: only the description of the stored order changes. Axes that were merged must stay whole."""
    layout = layout_of(x)
    runs = groups(x.shape, layout.view)
    if runs is None:
        if not layout.is_plain():
            raise KeyError("not aligned")
        layout, runs = plain(x.shape), [[i] for i in range(len(x.shape))]
    covered = [i for r in runs for i in r]
    missing = [i for i in range(len(layout.view)) if i not in covered]  # dimensions of 1
    order = [*missing, *(i for p in perm for i in runs[p])]
    position = {axis: n for n, axis in enumerate(order)}
    return replace(
        x,
        shape=tuple(x.shape[p] for p in perm),
        layout=Layout(tuple(layout.view[i] for i in order), tuple(position[p] for p in layout.perm)),
    )


def requantize_to(state: State, node: FileNode, value: Value, goal: Goal) -> Value:
    """A moved value in the integers of its goal."""
    if value.params == goal.params:
        return value
    return replace(requantized(state, value, goal.params, node.outputs[0], node.where), real=True)
