"""Handlers of element-by-element operators: activations, Add, Mul and arithmetic with one constant number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf, prod
from typing import Any

import numpy as np

from mcuc.importers._onnx_nodes import (
    Result,
    as_stored,
    broken,
    dtype_of,
    finish,
    given,
    goal_of,
    layout_of,
    quantized_input,
    real_input,
)
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import (
    LIMITS,
    Goal,
    clip_bounds,
)
from mcuc.importers._onnx_state import (
    State,
    constant,
    need,
    not_quantized,
    optional,
    refuse,
    stored_order,
)
from mcuc.importers._onnx_values import Layout, Params, Value, apply, plain
from mcuc.ir import Tensor
from mcuc.kernels.binary import OPERANDS
from mcuc.ops.unary.functions import DEFAULTS
from mcuc.ops.unary.functions import FUNCTIONS as _KINDS


def unary(kind: str, fallback: Params | None = None) -> Callable[..., Result]:
    """A float function of one value; its attributes are the node's numbers."""

    def handle(state: State, node: FileNode) -> Result:
        x = real_input(state, node, 0)
        options = {key: float(node.attrs.get(key, value)) for key, value in DEFAULTS.get(kind, {}).items()}
        if kind == "Gelu":
            options["tanh"] = float(_approximate(node))
        return [_unary(state, node, kind, x, options, goal_of(state, node, fallback))]

    return handle


def on_fast_gelu(state: State, node: FileNode) -> Result:
    """FastGelu: Gelu by its tanh approximation. Raises McucError where a bias comes with it."""
    if len([n for n in node.inputs if n]) > 1:
        raise refuse(
            "unsupported-operator",
            f"{node.kind} with a bias is not supported",
            node.where,
            "export with the bias as an Add in front of Gelu (onnxruntime's graph optimizations off)",
        )
    return unary("Gelu")(state, replace(node, attrs={"approximate": "tanh"}))


def _approximate(node: FileNode) -> bool:
    how = node.attrs.get("approximate", "none")
    if how not in ("none", "tanh"):
        raise broken(node, f"approximate is {how!r}, not none or tanh")
    return bool(how == "tanh")


def _unary(state: State, node: FileNode, kind: str, x: Value, options: Mapping[str, Any], goal: Goal) -> Value:
    tensor = as_stored(x)
    out = finish(state, node, kind, (tensor,), options, x.shape, plain(tensor.shape), goal, (dtype_of(x),), clamps=True)
    return replace(out, layout=layout_of(x))


def on_clip(state: State, node: FileNode) -> Result:
    """Relu or Clip: nothing where the node before applies it already. Of integers (narrow ranges are written so) it
    has integer bounds."""
    value = optional(state, node, 0)
    if value is not None and not value.real and (value.params is not None or value.array is not None):
        return [_narrowed(state, node, value)]
    x = real_input(state, node, 0)
    if node.outputs[0] in state.fused:
        return [x]
    low, high = clip_bounds(state, node)
    return [_unary(state, node, "Clip", x, {"low": low, "high": high}, goal_of(state, node))]


def _narrowed(state: State, node: FileNode, value: Value) -> Value:
    """Constants, and integers behind a QuantizeLinear, between bounds."""
    least, most = (-inf, inf) if value.array is not None or value.params is None else LIMITS[value.params.dtype]
    bounds = [optional(state, node, 1), optional(state, node, 2)]
    low, high = (
        end if bound is None or bound.array is None else bound.array.reshape(-1)[0].item()
        for bound, end in zip(bounds, (least, most), strict=True)
    )
    if any(b is not None and (b.array is None or b.array.size != 1) for b in bounds) or low > high:
        raise refuse("unsupported-operator", "Clip with bounds that are no numbers", node.where, "use constant bounds")
    if value.array is not None:
        return replace(value, array=np.clip(value.array.astype(np.float64), low, high).astype(value.array.dtype))
    params = value.params
    if params is None or (low <= least and high >= most):
        return value
    scale, zero = params.scale[0], params.zero_point[0]
    ends = {"low": (low - zero) * scale, "high": (high - zero) * scale}
    real = replace(value, real=True)
    return replace(_unary(state, node, "Clip", real, ends, Goal(params)), real=False)


def on_qlinear_unary(kind: str) -> Callable[..., Result]:
    def handle(state: State, node: FileNode) -> Result:
        x = quantized_input(state, node, 0, given(state, node, 1))
        options = {"alpha": float(node.attrs.get("alpha", 0.01))}
        return [replace(_unary(state, node, kind, x, options, Goal(given(state, node, 3))), real=False)]

    return handle


def on_binary(state: State, node: FileNode) -> Result:
    """Add, Sub, Mul, Div, Pow of quantized values; a constant number in float makes a table."""
    values = [optional(state, node, i) for i in (0, 1)]
    for i, value in enumerate(values):
        if value is not None and value.array is not None and not (value.real and value.params):
            if value.elements != 1:
                raise refuse(
                    "not-quantized",
                    f"{node.kind} has the float constant {node.inputs[i]!r} of shape {value.shape}",
                    node.where,
                    "quantize constant operands too (QuantFormat.QDQ does)",
                )
            x = real_input(state, node, 1 - i)
            options = {"operation": node.kind, "value": float(value.array.reshape(-1)[0]), "constant_first": i == 0}
            result = _unary(state, node, "ScalarMath", x, options, goal_of(state, node))
            shape = np.broadcast_shapes(x.shape, value.shape)
            return [replace(result, shape=tuple(shape)) if len(shape) != len(x.shape) else result]
    if node.kind == "Pow":
        raise refuse(
            "unsupported-operator", "Pow of two values is not supported", node.where, "use a constant exponent"
        )
    if node.kind not in ("Add", "Mul"):
        operands = [either(state, node, 0), either(state, node, 1)]
        tensors, shape, layout, stays = aligned(state, node, operands)
        goal, types = goal_of(state, node), [dtype_of(v) for v in operands]
        made = finish(state, node, node.kind, tensors, {}, shape, layout, goal, types, clamps=True)
        return [replace(made, layout=stays)]
    return [_binary(state, node, node.kind, either(state, node, 0), either(state, node, 1), goal_of(state, node))]


def on_prelu(state: State, node: FileNode) -> Result:
    """PRelu with quantized slopes; one slope in float makes a table."""
    slope = optional(state, node, 1)
    if slope is not None and slope.array is not None and slope.params is None and slope.elements == 1:
        x = real_input(state, node, 0)
        options = {"alpha": float(slope.array.reshape(-1)[0])}
        return [_unary(state, node, "LeakyRelu", x, options, goal_of(state, node))]
    x, slope = either(state, node, 0), either(state, node, 1)
    if tuple(np.broadcast_shapes(x.shape, slope.shape)) != x.shape:
        raise broken(node, f"slopes of shape {slope.shape} for a value of shape {x.shape}")
    return [_binary(state, node, node.kind, x, slope, goal_of(state, node))]


def either(state: State, node: FileNode, index: int) -> Value:
    """A quantized operand, computed or constant, that the file sees as float."""
    value = optional(state, node, index)
    if value is None or value.params is None or not value.real:
        raise not_quantized(node.inputs[index] if index < len(node.inputs) else node.kind, node.where)
    return value


def aligned(
    state: State, node: FileNode, values: Sequence[Value]
) -> tuple[list[Tensor], tuple[int, ...], Layout, Layout]:
    """Operands of a broadcast in one order: their tensors, the file's shape of the result, its layout as the operator
    makes it, and as it is known from then on. Raises McucError for shapes that do not fit, and for constants alone."""
    computed = [v for v in values if v.tensor is not None and v.array is None]
    if not computed:
        raise broken(node, "both operands are constants")
    try:
        shape = tuple(int(d) for d in np.broadcast_shapes(*(v.shape for v in values)))
    except ValueError:
        raise broken(node, f"shapes {' and '.join(str(v.shape) for v in values)} do not broadcast") from None
    tensors = [v.tensor for v in computed if v.tensor is not None]
    alike = {(v.shape, v.layout, t.shape) for v, t in zip(computed, tensors, strict=True)}
    if len(computed) == len(values) and len(alike) == 1:  # the same order on all sides: whatever it is
        return [_seen(v) for v in values], shape, plain(tensors[0].shape), layout_of(values[0])
    whole = [v for v in computed if len(v.shape) == len(shape)]
    lead = max(whole, key=lambda v: v.elements) if whole else None
    perm = tuple(range(len(shape))) if lead is None else stored_order(lead)
    operands = []
    for k, value in enumerate(values):
        extended = replace(value, shape=(1,) * (len(shape) - len(value.shape)) + value.shape)
        if extended.array is not None:
            array = apply(extended.array.reshape(extended.shape), Layout(extended.shape, perm))
            operands.append(constant(state, f"{node.outputs[0]}/{OPERANDS[k]}", array, value.params))
        else:
            operands.append(need(state, extended, perm, node.where))
    return operands, shape, Layout(shape, perm), Layout(shape, perm)


def _seen(value: Value) -> Tensor:
    assert value.tensor is not None
    return as_stored(value) if value.params is not None else value.tensor


def _binary(state: State, node: FileNode, kind: str, a: Value, b: Value, goal: Goal) -> Value:
    tensors, shape, layout, stays = aligned(state, node, (a, b))
    first = _innermost_is_scalar(a.shape, b.shape, shape)
    options = {"scalar_first": first}
    types = (dtype_of(a), dtype_of(b))
    made = finish(state, node, kind, tensors, options, shape, layout, goal, types, clamps=True)
    return replace(made, layout=stays)


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


FUNCTIONS: dict[str, Callable[..., Result]] = {kind: unary(kind) for kind in _KINDS if kind != "QuickGelu"}
