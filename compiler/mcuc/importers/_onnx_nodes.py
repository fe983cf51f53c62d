"""One handler per ONNX operator: from the file's node to canonical options and tensors in stored order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import (
    FULL,
    Goal,
    clip_bounds,
    dequantize,
    find_goal,
    output_tensor,
    requantized,
)
from mcuc.importers._onnx_state import (
    State,
    build,
    constant,
    constant_of,
    groups,
    need,
    not_quantized,
    optional,
    quant_of,
    refuse,
    runtime,
    scalar_params,
    stored_order,
    unique,
)
from mcuc.importers._onnx_values import Layout, Params, Value, apply, channels_last, plain
from mcuc.ir import Array, DType, Tensor

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
        raise refuse("unsupported-operator", f"{node.kind} on a value of shape {value.shape}; rank 4 (NCHW) is supported", node.where,
                     "use 2D operators; a 1D one is a 2D one of height 1")
    return need(state, value, (0, 2, 3, 1), node.where)


def goal_of(state: State, node: FileNode, fallback: Params | None = None) -> Goal:
    """What the node's float output becomes. Raises McucError where nothing quantizes it."""
    name = node.outputs[0]
    goal = find_goal(state, name)
    if goal is not None:
        return goal
    if fallback is not None and not state.consumers.get(name):
        state.notes.append(f"{node.where}: float output {name!r} becomes int8 with scale {fallback.scale[0]:g} and zero point "
                           f"{fallback.zero_point[0]}")
        return Goal(fallback)
    raise not_quantized(name, node.where)


def finish(state: State, node: FileNode, kind: str, inputs: Sequence[Tensor | None], options: Mapping[str, Any], shape: Sequence[int],
           layout: Layout, goal: Goal, types: Sequence[str] = (), clamps: bool = False) -> Value:
    """Builds the canonical node and the value that stands for the file's output; clamps: the operator has a clamp."""
    out = output_tensor(state, node.outputs[0], goal.params)
    clamp = goal.clamp
    every = dict(options, clamp=clamp if clamps else FULL, types=(*types, goal.params.dtype))
    unsigned = goal.params.dtype == "uint8"
    tensor = build(state, kind, inputs, every, replace(out, shape=layout.stored), node.where, unsigned)
    if not clamps and clamp != FULL:
        second = Tensor(unique(state, f"{node.outputs[0]}/clamp"), (), DType.INT8, tensor.quant)
        limits = [np.float32((c - tensor.quant.zero_point[0]) * np.float32(tensor.quant.scale[0])) for c in clamp if tensor.quant]
        tensor = build(state, "Clip", (tensor,), {"low": limits[0], "high": limits[1]}, second, node.where)
    return Value(tuple(shape), None, tensor, layout, goal.params, real=True)


def dtype_of(value: Value) -> str:
    return value.params.dtype if value.params is not None else "int8"


# Windows ---------------------------------------------------------------------------------------------------------


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


def weight_tensor(state: State, node: FileNode, value: Value | None, transform: Callable[[Array], Array], axis: int) -> Tensor:
    """A constant quantized weight, brought to the canonical order; axis: of the output channels in the file."""
    if value is None or value.array is None:
        raise refuse("not-constant", f"{node.kind} needs constant weights", node.where, "freeze the weights into constants")
    if value.params is None or str(value.array.dtype) not in ("int8", "uint8"):
        raise not_quantized(node.inputs[1] if len(node.inputs) > 1 else node.kind, node.where)
    if value.params.axis is not None and value.params.axis % value.array.ndim != axis:
        raise refuse("unsupported-quantization", f"weights are quantized along axis {value.params.axis}, not along their outputs ({axis})",
                     node.where, "quantize weights per tensor or per output channel")
    data = transform(value.array)
    return constant(state, f"{node.outputs[0]}/file_weights", data, value.params, 0 if len(value.params.scale) > 1 else None)


def bias_tensor(state: State, node: FileNode, value: Value | None, product: Array | None = None) -> Tensor | None:
    """The bias as in the file. product: scale of input times weights; a Conv bias of another scale counts as float."""
    if value is None:
        return None
    if value.array is None:
        raise refuse("not-constant", f"{node.kind} needs a constant bias", node.where, "freeze the bias into a constant")
    array = value.array
    if array.dtype not in (np.int32, np.float32):
        raise refuse("unsupported-bias", f"the bias is {array.dtype}", node.where, "use an int32 or float32 bias")
    if product is not None and value.params is not None and array.dtype == np.int32:
        own = np.array(value.params.scale, np.float64)
        if np.abs(own / product - 1).max() > 1e-4:
            array = dequantize(array, replace(value.params, axis=0 if own.size > 1 else None))
    return constant(state, f"{node.outputs[0]}/file_bias", array)


def conv(state: State, node: FileNode, x: Value, w: Value | None, b: Value | None, goal: Goal) -> Value:
    one_dimensional = len(x.shape) == 3
    attrs = dict(node.attrs)
    if one_dimensional:  # a 1D convolution is a 2D one of height 1
        x = replace(x, shape=(x.shape[0], x.shape[1], 1, x.shape[2]))
        for key, fill in (("kernel_shape", 1), ("strides", 1), ("dilations", 1)):
            if key in attrs:
                attrs[key] = (fill, *attrs[key])
        if len(attrs.get("pads", ())) == 2:
            attrs["pads"] = (0, attrs["pads"][0], 0, attrs["pads"][1])
        node = replace(node, attrs=attrs)
    tensor = spatial(state, x, node)
    weights = weight_tensor(state, node, w, lambda a: a[:, :, None] if one_dimensional and a.ndim == 3 else a, 0)
    if len(weights.shape) != 4:
        raise broken(node, f"weights of shape {weights.shape}")
    kernel = (weights.shape[2], weights.shape[3])
    if tuple(attrs.get("kernel_shape", kernel)) != kernel:
        raise broken(node, f"kernel_shape {attrs['kernel_shape']} with weights of shape {weights.shape}")
    size = (x.shape[2], x.shape[3])
    options = {**window(node, size, kernel), "group": int(attrs.get("group", 1))}
    shape = (x.shape[0], weights.shape[0], *windowed_size(size, options))
    assert x.params is not None and weights.quant is not None
    product = np.float64(x.params.scale[0]) * np.array(weights.quant.scale, np.float64)
    value = finish(state, node, "Conv", (tensor, weights, bias_tensor(state, node, b, product)), options, shape, channels_last(shape), goal,
                   (dtype_of(x),), clamps=True)
    return replace(value, shape=(shape[0], shape[1], shape[3])) if one_dimensional else value


def dense(state: State, node: FileNode, x: Value, w: Value | None, b: Value | None, goal: Goal, transposed: bool,
          options: Mapping[str, Any]) -> Value:
    """x [..., k] times constant weights; transposed: the file's weights are [oc, k], else [k, oc]."""
    if len(x.shape) < 1 or w is None or (w.array is not None and w.array.ndim != 2):
        raise refuse("unsupported-operator", f"{node.kind} of shapes {x.shape} and {None if w is None else w.shape}", node.where,
                     "multiply by a constant matrix of rank 2")
    weights_in_order, order = x, tuple(range(len(x.shape)))
    permute: Callable[[Array], Array] = lambda a: a  # noqa: E731
    layout = layout_of(x)
    runs = groups(x.shape, layout.view)
    last = [] if runs is None else runs[-1]
    if runs is not None and len(last) > 1 and [p for p in layout.perm if layout.view[p] != 1 and p not in last] == [
            p for r in runs[:-1] for p in r if layout.view[p] != 1]:
        inner = [p for p in layout.perm if p in last]
        outer = [p for p in layout.perm if p not in last and layout.view[p] != 1]
        if [p for p in layout.perm if layout.view[p] != 1 and p in last] and _contiguous(layout, outer, inner):
            extents = [layout.view[p] for p in last]
            perm = [last.index(p) for p in inner]
            permute = lambda a: a.reshape(-1, *extents).transpose(0, *(1 + p for p in perm)).reshape(a.shape)  # noqa: E731
            weights_in_order = replace(x, layout=plain(x.shape))
    tensor = need(state, weights_in_order, order, node.where)
    weights = weight_tensor(state, node, w, lambda a: permute(np.ascontiguousarray(a if transposed else a.T)), 0 if transposed else 1)
    if x.shape[-1] != weights.shape[1]:
        raise broken(node, f"shapes {x.shape} and {tuple(weights.shape)[::-1]}")
    shape = (*x.shape[:-1], weights.shape[0])
    out = finish(state, node, "Gemm", (tensor, weights, bias_tensor(state, node, b)), options, shape,
                 plain(shape), goal, (dtype_of(x),), clamps=True)
    return out


def _contiguous(layout: Layout, outer: Sequence[int], inner: Sequence[int]) -> bool:
    """Outer axes all come before inner ones in storage."""
    kept = [p for p in layout.perm if layout.view[p] != 1]
    return kept == [*outer, *(p for p in inner if layout.view[p] != 1)]


def on_conv(state: State, node: FileNode) -> Result:
    return [conv(state, node, _real(state, node, 0), optional(state, node, 1), optional(state, node, 2), goal_of(state, node))]


def on_matmul(state: State, node: FileNode) -> Result:
    return [dense(state, node, _real(state, node, 0), optional(state, node, 1), None, goal_of(state, node), False, {})]


def on_gemm(state: State, node: FileNode) -> Result:
    x, b = _real(state, node, 0), optional(state, node, 2)
    alpha, beta = float(node.attrs.get("alpha", 1.0)), float(node.attrs.get("beta", 1.0))
    if int(node.attrs.get("transA", 0)):
        x = transposed_value(x, (1, 0)) if len(x.shape) == 2 else x
    if b is not None and beta != 1.0:
        if b.array is None or b.array.dtype != np.float32:
            if b.array is None or beta != int(beta):
                raise refuse("unsupported-operator", f"Gemm with beta {beta} and a quantized bias", node.where, "fold beta into the bias")
            b = replace(b, array=(b.array.astype(np.int64) * int(beta)).astype(np.int32))
        else:
            b = replace(b, array=(b.array * np.float32(beta)).astype(np.float32))
    if b is not None and b.array is not None and b.array.dtype == np.float32 and alpha != 1.0:
        b = replace(b, array=(b.array / np.float32(alpha)).astype(np.float32))
    return [dense(state, node, x, optional(state, node, 1), b, goal_of(state, node), bool(node.attrs.get("transB", 0)), {"alpha": alpha})]


def _real(state: State, node: FileNode, index: int) -> Value:
    """A run-time input that the file sees as float but that is quantized."""
    value = runtime(state, node, index)
    if value.params is None or not value.real:
        raise not_quantized(node.inputs[index], node.where)
    return value


# QOperator forms --------------------------------------------------------------------------------------------------


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


def weight_value(state: State, node: FileNode, index: int, axis: int) -> Value:
    value = quantized_input(state, node, index, given(state, node, index + 1))
    assert value.params is not None
    return replace(value, params=replace(value.params, axis=axis if len(value.params.scale) > 1 else None))


def on_qlinear_conv(state: State, node: FileNode) -> Result:
    x = quantized_input(state, node, 0, given(state, node, 1))
    value = conv(state, node, x, weight_value(state, node, 3, 0), optional(state, node, 8), Goal(given(state, node, 6)))
    return [replace(value, real=False)]


def on_qlinear_matmul(state: State, node: FileNode) -> Result:
    x = quantized_input(state, node, 0, given(state, node, 1))
    value = dense(state, node, x, weight_value(state, node, 3, 1), None, Goal(given(state, node, 6)), False, {})
    return [replace(value, real=False)]


def on_qgemm(state: State, node: FileNode) -> Result:
    if len(node.inputs) < 9 or not node.inputs[7]:
        raise not_quantized(node.outputs[0], node.where)
    x = quantized_input(state, node, 0, given(state, node, 1))
    if int(node.attrs.get("transA", 0)) and len(x.shape) == 2:
        x = transposed_value(x, (1, 0))
    turned = bool(node.attrs.get("transB", 0))
    value = dense(state, node, x, weight_value(state, node, 3, 0 if turned else 1), optional(state, node, 6),
                  Goal(given(state, node, 7)), turned, {"alpha": float(node.attrs.get("alpha", 1.0))})
    return [replace(value, real=False)]


# Element by element -----------------------------------------------------------------------------------------------


def unary(kind: str, options: Callable[[State, FileNode], Mapping[str, Any]], fallback: Params | None = None) -> Callable[..., Result]:
    def handle(state: State, node: FileNode) -> Result:
        x = _real(state, node, 0)
        return [_unary(state, node, kind, x, options(state, node), goal_of(state, node, fallback))]
    return handle


def _unary(state: State, node: FileNode, kind: str, x: Value, options: Mapping[str, Any], goal: Goal) -> Value:
    tensor = _as_is(x)
    out = finish(state, node, kind, (tensor,), options, x.shape, plain(tensor.shape), goal, (dtype_of(x),), clamps=True)
    return replace(out, layout=layout_of(x))


def _as_is(x: Value) -> Tensor:
    assert x.tensor is not None and x.params is not None
    return replace(x.tensor, quant=quant_of(x.params))


def on_clip(state: State, node: FileNode) -> Result:
    """Relu or Clip: nothing where the node before applies it already."""
    x = _real(state, node, 0)
    if node.outputs[0] in state.fused:
        return [x]
    low, high = clip_bounds(state, node)
    return [_unary(state, node, "Clip", x, {"low": low, "high": high}, goal_of(state, node))]


def on_qlinear_unary(kind: str) -> Callable[..., Result]:
    def handle(state: State, node: FileNode) -> Result:
        x = quantized_input(state, node, 0, given(state, node, 1))
        options = {"alpha": float(node.attrs.get("alpha", 0.01))}
        return [replace(_unary(state, node, kind, x, options, Goal(given(state, node, 3))), real=False)]
    return handle


def on_binary(state: State, node: FileNode) -> Result:
    """Add, Sub, Mul, Div of quantized values; a constant number in float makes a table."""
    values = [optional(state, node, i) for i in (0, 1)]
    for i, value in enumerate(values):
        if value is not None and value.array is not None and not (value.real and value.params):
            if value.elements != 1:
                raise refuse("not-quantized", f"{node.kind} has the float constant {node.inputs[i]!r} of shape {value.shape}", node.where,
                             "quantize constant operands too (QuantFormat.QDQ does)")
            x = _real(state, node, 1 - i)
            options = {"operation": node.kind, "value": float(value.array.reshape(-1)[0]), "constant_first": i == 0}
            result = _unary(state, node, "ScalarMath", x, options, goal_of(state, node))
            shape = np.broadcast_shapes(x.shape, value.shape)
            return [replace(result, shape=tuple(shape)) if len(shape) != len(x.shape) else result]
    if node.kind not in ("Add", "Mul"):
        raise refuse("unsupported-operator", f"{node.kind} of two values is not supported", node.where, "use Add or Mul")
    return [_binary(state, node, node.kind, _either(state, node, 0), _either(state, node, 1), goal_of(state, node))]


def _either(state: State, node: FileNode, index: int) -> Value:
    value = optional(state, node, index)
    if value is None or value.params is None or not value.real:
        raise not_quantized(node.inputs[index] if index < len(node.inputs) else node.kind, node.where)
    return value


def _binary(state: State, node: FileNode, kind: str, a: Value, b: Value, goal: Goal) -> Value:
    if a.tensor is None and b.tensor is None:
        raise broken(node, "both operands are constants")
    try:
        shape = tuple(int(d) for d in np.broadcast_shapes(a.shape, b.shape))
    except ValueError:
        raise broken(node, f"shapes {a.shape} and {b.shape} do not broadcast") from None
    lead = a if a.tensor is not None and len(a.shape) == len(shape) and a.elements >= (b.elements if b.tensor is not None else 0) else b
    if lead.tensor is None:
        lead = a
    whole = lead.shape == shape
    if whole and a.shape == b.shape and a.tensor is not None and b.tensor is not None and layout_of(a) == layout_of(b) \
            and a.tensor.shape == b.tensor.shape:  # the same order on both sides: whatever it is
        tensor = finish(state, node, kind, (_as_is(a), _as_is(b)), {"scalar_first": False}, shape, plain(a.tensor.shape), goal,
                        (dtype_of(a), dtype_of(b)), clamps=True)
        return replace(tensor, layout=layout_of(a))
    perm = stored_order(lead) if len(lead.shape) == len(shape) else tuple(range(len(shape)))
    operands = []
    for value, name in ((a, "a"), (b, "b")):
        extended = replace(value, shape=(1,) * (len(shape) - len(value.shape)) + value.shape)
        if extended.array is not None:
            array = apply(extended.array.reshape(extended.shape), Layout(extended.shape, perm))
            operands.append(constant(state, f"{node.outputs[0]}/{name}", array, value.params))
        else:
            operands.append(need(state, extended, perm, node.where))
    first = _innermost_is_scalar(a.shape, b.shape, shape)
    return finish(state, node, kind, operands, {"scalar_first": first}, shape, Layout(shape, perm), goal,
                  (dtype_of(a), dtype_of(b)), clamps=True)


def _innermost_is_scalar(a: Sequence[int], b: Sequence[int], shape: Sequence[int]) -> bool:
    """ONNX Runtime broadcasts one number of the first operand over the innermost run of axes (in the file's order)."""
    rank = len(shape)
    full_a, full_b = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    for x, y in zip(reversed(full_a), reversed(full_b), strict=True):
        if x != y:
            return x == 1
    return prod(full_a) == 1 and rank > 0 and prod(full_b) == 1


def on_qlinear_binary(kind: str) -> Callable[..., Result]:
    def handle(state: State, node: FileNode) -> Result:
        a = quantized_input(state, node, 0, given(state, node, 1))
        b = quantized_input(state, node, 3, given(state, node, 4))
        return [replace(_binary(state, node, kind, a, b, Goal(given(state, node, 6))), real=False)]
    return handle


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
    return replace(x, shape=tuple(x.shape[p] for p in perm),
                   layout=Layout(tuple(layout.view[i] for i in order), tuple(position[p] for p in layout.perm)))


def requantize_to(state: State, node: FileNode, value: Value, goal: Goal) -> Value:
    """A moved value in the integers of its goal."""
    if value.params == goal.params:
        return value
    return replace(requantized(state, value, goal.params, node.outputs[0], node.where), real=True)


