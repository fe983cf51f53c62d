"""Handlers of convolutions and matrix products, in float between Q and DQ and as QLinear operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mcuc.importers._onnx_nodes import (
    Result,
    broken,
    dtype_of,
    finish,
    given,
    goal_of,
    in_two,
    layout_of,
    of_rank,
    quantized_input,
    real_input,
    spatial,
    window,
    windowed_size,
)
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import (
    Goal,
    dequantize,
)
from mcuc.importers._onnx_state import (
    State,
    constant,
    groups,
    need,
    not_quantized,
    optional,
    refuse,
)
from mcuc.importers._onnx_values import Layout, Value, channels_last, plain
from mcuc.ir import Array, Tensor


def weight_tensor(
    state: State, node: FileNode, value: Value | None, transform: Callable[[Array], Array], axis: int
) -> Tensor:
    """A constant quantized weight, brought to the canonical order; axis: of the output channels in the file."""
    if value is None or value.array is None:
        raise refuse(
            "not-constant", f"{node.kind} needs constant weights", node.where, "freeze the weights into constants"
        )
    if value.params is None or str(value.array.dtype) not in ("int8", "uint8"):
        raise not_quantized(node.inputs[1] if len(node.inputs) > 1 else node.kind, node.where)
    if value.params.axis is not None and value.params.axis % value.array.ndim != axis:
        raise refuse(
            "unsupported-quantization",
            f"weights are quantized along axis {value.params.axis}, not along their outputs ({axis})",
            node.where,
            "quantize weights per tensor or per output channel",
        )
    data = transform(value.array)
    return constant(
        state, f"{node.outputs[0]}/file_weights", data, value.params, 0 if len(value.params.scale) > 1 else None
    )


def bias_tensor(state: State, node: FileNode, value: Value | None, product: Array | None = None) -> Tensor | None:
    """The bias as in the file. product: scale of input times weights; a Conv bias of another scale counts as float."""
    if value is None:
        return None
    if value.array is None:
        raise refuse(
            "not-constant", f"{node.kind} needs a constant bias", node.where, "freeze the bias into a constant"
        )
    array = value.array
    if array.dtype not in (np.int32, np.float32):
        raise refuse("unsupported-bias", f"the bias is {array.dtype}", node.where, "use an int32 or float32 bias")
    if product is not None and value.params is not None and array.dtype == np.int32:
        own = np.array(value.params.scale, np.float64)
        if np.abs(own / product - 1).max() > 1e-4:
            array = dequantize(array, replace(value.params, axis=0 if own.size > 1 else None))
    return constant(state, f"{node.outputs[0]}/file_bias", array)


def conv(state: State, node: FileNode, x: Value, w: Value | None, b: Value | None, goal: Goal) -> Value:
    if len(x.shape) == 5:
        from mcuc.importers._onnx_conv_3d import conv_3d

        return conv_3d(state, node, x, w, b, goal)
    rank = len(x.shape)
    node, x = in_two(node, x)
    attrs = node.attrs
    tensor = spatial(state, x, node)
    weights = weight_tensor(state, node, w, lambda a: a[:, :, None] if rank == 3 and a.ndim == 3 else a, 0)
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
    value = finish(
        state,
        node,
        "Conv",
        (tensor, weights, bias_tensor(state, node, b, product)),
        options,
        shape,
        channels_last(shape),
        goal,
        (dtype_of(x),),
        clamps=True,
    )
    return of_rank(value, rank)


def dense(
    state: State,
    node: FileNode,
    x: Value,
    w: Value | None,
    b: Value | None,
    goal: Goal,
    transposed: bool,
    options: Mapping[str, Any],
) -> Value:
    """x [..., k] times constant weights; transposed: the file's weights are [oc, k], else [k, oc]."""
    if len(x.shape) < 1 or w is None or (w.array is not None and w.array.ndim != 2):
        raise refuse(
            "unsupported-operator",
            f"{node.kind} of shapes {x.shape} and {None if w is None else w.shape}",
            node.where,
            "multiply by a constant matrix of rank 2",
        )
    weights_in_order, order = x, tuple(range(len(x.shape)))
    extents: list[int] = []  # of the flattened feature map in the file, where its order is another one
    inward: list[int] = []
    layout = layout_of(x)
    runs = groups(x.shape, layout.view)
    last = [] if runs is None else runs[-1]
    if (
        runs is not None
        and len(last) > 1
        and [p for p in layout.perm if layout.view[p] != 1 and p not in last]
        == [p for r in runs[:-1] for p in r if layout.view[p] != 1]
    ):
        inner = [p for p in layout.perm if p in last]
        outer = [p for p in layout.perm if p not in last and layout.view[p] != 1]
        if [p for p in layout.perm if layout.view[p] != 1 and p in last] and _contiguous(layout, outer, inner):
            extents = [layout.view[p] for p in last]
            inward = [1 + last.index(p) for p in inner]
            weights_in_order = replace(x, layout=plain(x.shape))
    tensor = need(state, weights_in_order, order, node.where)
    weights = weight_tensor(
        state, node, w, lambda a: _reordered(a if transposed else a.T, extents, inward), 0 if transposed else 1
    )
    if x.shape[-1] != weights.shape[1]:
        raise broken(node, f"shapes {x.shape} and {tuple(weights.shape)[::-1]}")
    shape = (*x.shape[:-1], weights.shape[0])
    out = finish(
        state,
        node,
        "Gemm",
        (tensor, weights, bias_tensor(state, node, b)),
        options,
        shape,
        plain(shape),
        goal,
        (dtype_of(x),),
        clamps=True,
    )
    return out


def _reordered(weights: Array, extents: Sequence[int], perm: Sequence[int]) -> Array:
    """Weights [oc, k] with k, seen as extents, transposed as the activations are stored."""
    if not extents:
        return np.ascontiguousarray(weights)
    return np.ascontiguousarray(weights.reshape(-1, *extents).transpose(0, *perm)).reshape(weights.shape)


def _contiguous(layout: Layout, outer: Sequence[int], inner: Sequence[int]) -> bool:
    """Outer axes all come before inner ones in storage."""
    kept = [p for p in layout.perm if layout.view[p] != 1]
    return kept == [*outer, *(p for p in inner if layout.view[p] != 1)]


def on_conv(state: State, node: FileNode) -> Result:
    return [
        conv(
            state,
            node,
            real_input(state, node, 0),
            optional(state, node, 1),
            optional(state, node, 2),
            goal_of(state, node),
        )
    ]


def weight_value(state: State, node: FileNode, index: int, axis: int) -> Value:
    value = quantized_input(state, node, index, given(state, node, index + 1))
    assert value.params is not None
    return replace(value, params=replace(value.params, axis=axis if len(value.params.scale) > 1 else None))


def on_qlinear_conv(state: State, node: FileNode) -> Result:
    x = quantized_input(state, node, 0, given(state, node, 1))
    value = conv(state, node, x, weight_value(state, node, 3, 0), optional(state, node, 8), Goal(given(state, node, 6)))
    return [replace(value, real=False)]
