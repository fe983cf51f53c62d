"""What convolution, depthwise convolution and dense layers share: attributes, zero-point folding, dot lowering."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Requant, Tensor
from mcuc.kernels._base import Call, Table
from mcuc.numerics import requantize
from mcuc.ops._spatial import Window, window_rows

UNIT = Window((1, 1))


@dataclass(frozen=True)
class ConvAttrs:
    """out = clamp(requant(bias + sum (x - input_zero_point) * (w - weight_zero_point)) + output_zero_point).

    Outside the input x is pad_value (the input's zero point, kept when input_zero_point is folded into the bias).
    weight_zero_point: one entry, or one per output channel. groups: of convolution; multiplier: of depthwise.
    """

    requant: Requant
    output_zero_point: int
    clamp: tuple[int, int]
    input_zero_point: int = 0
    weight_zero_point: tuple[int, ...] = (0,)
    pad_value: int = 0
    window: Window = UNIT
    groups: int = 1


def finish(acc: Array, attrs: ConvAttrs) -> Array:
    """Accumulators [..., channels] -> int8 output."""
    wrapped = ((acc + 2**31) & 0xFFFFFFFF) - 2**31
    return requantize(wrapped, attrs.requant, attrs.output_zero_point, *attrs.clamp)


def matmul_exact(x: Array, w: Array) -> Array:
    """x [m, k] @ w [n, k]^T for small integers, through float64 (exact: |sum| < 2^53), as int64."""
    return (x.astype(np.float64) @ w.astype(np.float64).T).astype(np.int64)


def bias_or_zeros(bias: Array | None, channels: int) -> Array:
    """The bias as int64, zeros where the model has none."""
    return np.zeros(channels, np.int64) if bias is None else bias.astype(np.int64)


def fold_input_zero_point(graph: Graph, node: Node, weight_sums: Array, taps: int) -> tuple[Node, Tensor]:
    """The node with its input zero point folded into a new bias tensor.

    weight_sums: sum of the raw weights per output channel; taps: weights per output channel.
    """
    attrs: ConvAttrs = node.attrs
    old = graph.tensors[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
    channels = weight_sums.shape[0]
    wzp = np.array(attrs.weight_zero_point, np.int64)
    bias = bias_or_zeros(None if old is None else old.data, channels)
    folded = bias - attrs.input_zero_point * (weight_sums.astype(np.int64) - taps * wzp)
    wrapped = (((folded + 2**31) & 0xFFFFFFFF) - 2**31).astype(np.int32)
    name = f"{node.outputs[0]}/folded_bias"
    tensor = Tensor(name, (channels,), DType.INT32, None, wrapped)
    new = replace(node, inputs=(node.inputs[0], node.inputs[1], name), attrs=replace(attrs, input_zero_point=0))
    return new, tensor


def requant_tables(requant: Requant, channels: int) -> tuple[Table, ...]:
    """The per-channel requantization constants as tables (one entry for a per-tensor rule)."""
    if requant.rule != "f32_rne":
        return (
            Table("multiplier", "int32_t", np.array(requant.multiplier, np.int32)),
            Table("shift", "int8_t", np.array(requant.shift, np.int8)),
        )
    bits = np.array(requant.scale, np.float32).view(np.uint32).astype(np.int64)
    return (Table("scale", "int32_t", (((bits + 2**31) & 0xFFFFFFFF) - 2**31).astype(np.int32)),)


def requant_params(attrs: ConvAttrs) -> dict[str, Any]:
    """The constants that every multiply-accumulate template names for its output stage."""
    r = attrs.requant
    count = len(r.multiplier) if r.rule != "f32_rne" else len(r.scale)
    return {
        "rule": r.rule,
        "per_channel": count > 1,
        "out_zp": attrs.output_zero_point,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }


def require_folded(node: Node) -> None:
    """Lowering works on graphs whose zero points were folded (pass fold_zero_points)."""
    if node.attrs.input_zero_point != 0:
        raise McucError(
            "internal",
            "input zero point not folded before lowering",
            where=node.name,
            try_this="run mcuc.passes.optimize on the graph first",
        )


def dot_call(
    attrs: ConvAttrs,
    x: tuple[int, int, int],
    w: Array,
    bias: Array,
    out: tuple[int, int, int],
    merged: bool = True,
    int4: bool = False,
) -> Call:
    """A call of the dot family. x: input h, w, c; w [oc, kh, kw, c / groups]; out: output h, w, c. merged: a 1x1 layer
    may be one long row (not where its output rows lie apart). int4: the weights may be kept in four bits.

    Its param `residual` is for ops/conv_2d_add: what is added to each result, None for nothing.
    """
    oc, kh, kw, cg = w.shape
    h, width, c = x
    window = attrs.window
    oh, ow, _ = out
    pointwise = (kh, kw) == (1, 1) and window.stride == (1, 1) and window.pad == (0, 0, 0, 0) and attrs.groups == 1
    if pointwise and merged:  # a 1x1 layer run whole is one long row
        h, width, oh, ow = 1, h * width, 1, oh * ow
    wzp = np.array(attrs.weight_zero_point, np.int64)
    params = {
        **requant_params(attrs),
        "kh": kh,
        "kw": kw,
        "cin": cg,
        "in_c": c,
        "in_w": width,
        "groups": attrs.groups,
        "stride_w": window.stride[1],
        "dil_w": window.dilation[1],
        "pad_left": window.pad[1],
        "pad_value": attrs.pad_value,
        "pointwise": pointwise,
        "weight_zp": bool((wzp != 0).any()),
        "weight_zp_all": int(wzp[0]) if len(set(wzp.tolist())) == 1 else None,
        "residual": None,
    }
    if int4 and not params["weight_zp"]:
        params["int4"] = True
    tables = [
        Table("weights", "int8_t", w.reshape(-1)),
        Table("bias", "int32_t", bias),
        *requant_tables(attrs.requant, oc),
    ]
    if params["weight_zp"] and params["weight_zp_all"] is None:
        tables.append(Table("weight_zp", "int8_t", wzp))
    rows = window_rows(window, h, width, c)
    return Call("dot", params, tuple(tables), (rows,), oh, ow, oc, ow * oc, oc)
