"""What layer_norm and rms_norm share: constants of the integer kernel, shapes, lowering, import and export.

The result lies within half a step and a hundredth of the real one: the inverse root is off by 2^-19 of itself, the
normalised value by 2^-16 of the row's largest possible one or less, gain and offset by what 32 bits hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.fixed_point import Norm, normalize
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows, Table
from mcuc.ops._base import Built, Cost, Imported, Shape, scale_of, zero_point_of
from mcuc.ops._onnx import OnnxNode, activation, not_exportable

MOST = 16384  # elements of a row: the shift of the smallest inverse deviation stays above 0


@dataclass(frozen=True)
class NormAttrs:
    """norm: all integers that the node computes with, besides gain and offset (inputs 1 and 2, int32).

    run: 0 where gain and offset have an element for each of a row; else so many elements in a row have one in common,
    and the next row has others. axes: how many of the last axes one row takes, where run is 0.
    """

    norm: Norm
    axes: int
    run: int = 0


def infer(attrs: NormAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: NormAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 of any shape, gain and offset int32."""
    x, gain, offset = arrays
    assert x is not None and gain is not None and offset is not None
    rows = x.reshape(-1, attrs.norm.count)
    if attrs.run:
        gain, offset = (np.repeat(v, attrs.run).reshape(rows.shape) for v in (gain, offset))
    return (normalize(rows, attrs.norm, gain, offset).reshape(x.shape),)


def cost(node: Node, graph: Graph) -> Cost:
    """One for the square and one for the gain of each element."""
    return Cost(2 * graph.tensors[node.outputs[0]].elements)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the norm family, each row a pixel."""
    norm: Norm = node.attrs.norm
    n = norm.count
    width = graph.tensors[node.outputs[0]].elements // n
    params = {
        "kind": "affine",
        "count": n,
        "run": node.attrs.run,
        "zero_point": norm.zero_point,
        "fraction": norm.fraction,
        "epsilon": norm.epsilon,
        "base": norm.base,
        "shift": norm.shift,
    }
    pairs = np.stack([graph.const(name) for name in node.inputs[1:3]], axis=-1)
    tables = (Table("constants", "int32_t", pairs.reshape(-1)),)
    rows = Rows(0, width * n, 1, columns=Columns(n))
    return (Call("norm", params, tables, (rows,), 1, width, n, width * n, n, whole_channels=True),)


def short_rows(node: Node, graph: Graph) -> str | None:
    """At most 16384 elements are normalised together."""
    count = node.attrs.norm.count
    return f"{count} elements" if count > MOST else None


def built(op: str, node: Imported, centred: bool) -> Built:
    """options: axes (how many of the last), epsilon, gamma and beta (float32 of the row's size; beta may be None);
    or groups (how many rows, of whole channels, channels first) instead of axes, with gamma and beta for each channel
    of each image.

    Raises McucError for scales or factors beyond what 32 bits hold.
    """
    x, out, o = activation(node, 0), node.outputs[0], node.options
    groups, axes = int(o.get("groups", 0)), int(o.get("axes", 0))
    gamma = np.asarray(o["gamma"], np.float64).reshape(-1)
    count = x.elements // groups if groups else prod(x.shape[len(x.shape) - axes :])
    channels = x.shape[0] * x.shape[1] if groups else count
    beta = np.zeros(channels) if o["beta"] is None else np.asarray(o["beta"], np.float64).reshape(-1)
    epsilon, step, out_step = float(o["epsilon"]), scale_of(x, node.where), scale_of(out, node.where)
    if gamma.size != channels or beta.size != channels or not count:
        raise _refused(node, f"has {gamma.size} factors and {beta.size} offsets for rows of {count} elements")
    if not (np.isfinite(gamma).all() and np.isfinite(beta).all() and 0 <= epsilon < 1e30):
        raise _refused(node, f"has factors or offsets that are no numbers, or epsilon {epsilon:g}")
    gain, offset, norm = _constants(
        node,
        count,
        None if centred else zero_point_of(x, node.where),
        epsilon / step**2,
        gamma / out_step,
        beta / out_step + zero_point_of(out, node.where) + 0.5,
    )
    constants = tuple(
        Tensor(f"{out.name}/{name}", (channels,), DType.INT32, None, np.round(values).astype(np.int32))
        for name, values in (("gain", gain), ("offset", offset))
    )
    return Built(
        op,
        (x.name, *(t.name for t in constants)),
        NormAttrs(norm, axes, x.elements // channels if groups else 0),
        constants,
    )


def _constants(
    node: Imported, count: int, zero_point: int | None, epsilon: float, gamma: Array, beta: Array
) -> tuple[Array, Array, Norm]:
    """epsilon in square steps of the input, gamma and beta in steps of the output."""
    if zero_point is None:  # count times the deviation over the root of count times the squares
        most, epsilon, largest = (count * 127.5) ** 2, epsilon * count**2, math.sqrt(count)
    else:
        most, epsilon, largest = count * 255.0**2, epsilon * count, 1.0
        gamma = gamma * math.sqrt(count)
    fraction = min(40, 61 - math.ceil(math.log2(most + epsilon + 1))) // 2 * 2
    bits = math.floor(26 - math.log2(largest))  # behind the point of a normalised value
    base = bits - 10 + fraction // 2
    top = math.frexp((most + epsilon) * 2.0**fraction)[1]
    if fraction < 0 or base - max(top - 28, 0) // 2 < 0:
        raise _refused(node, f"has an epsilon of {epsilon:g} square steps of its input")
    peak = float(np.abs(gamma).max())
    room = 29 - math.log2(largest * peak + float(np.abs(beta).max()) + 256)
    shift = math.floor(min(20.0, room, bits - 2 - math.log2(peak) if peak else 20.0))
    if shift < 8:
        raise _refused(node, f"has factors up to {peak:g} and offsets up to {np.abs(beta).max():g} output steps")
    norm = Norm(count, zero_point, fraction, round(epsilon * 2.0**fraction), base, shift)
    return gamma * 2.0 ** (32 + shift - bits), beta * 2.0**shift, norm


def _refused(node: Imported, found: str) -> McucError:
    return McucError(
        "unsupported-quantization",
        f"{node.kind} {found}",
        where=node.where,
        try_this="check the layer's parameters and quantize the model again",
    )


def exported(node: Node, graph: Graph) -> OnnxNode:
    """A layer norm over the last axes, factors, offsets and epsilon as real numbers again; an instance norm where each
    row has its own. Raises McucError for groups of channels."""
    norm: Norm = node.attrs.norm
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if node.attrs.run not in (0, norm.count):
        raise not_exportable(node, "GroupNormalization came with opset 18, the exporter writes 17")
    if node.attrs.run and x.shape[0] != 1:
        raise not_exportable(node, f"its factors are those of {x.shape[0]} images")
    step, out_step = scale_of(x, node.name), scale_of(out, node.name)
    gain, offset = (graph.const(n).astype(np.float64) for n in node.inputs[1:3])
    bits = norm.base + 10 - norm.fraction // 2
    gamma, epsilon = gain * 2.0 ** (bits - 32 - norm.shift) * out_step, norm.epsilon * 2.0**-norm.fraction * step**2
    beta = (offset * 2.0**-norm.shift - 0.5 - zero_point_of(out, node.name)) * out_step
    epsilon /= norm.count**2
    shape = gain.shape if node.attrs.run else x.shape[len(x.shape) - node.attrs.axes :]
    constants = tuple(
        Tensor(f"{out.name}/{name}", shape, DType.FLOAT32, None, v.astype(np.float32).reshape(shape))
        for name, v in (("gamma", gamma), ("beta", beta))
    )
    kind = "InstanceNormalization" if node.attrs.run else "LayerNormalization"
    fields: Mapping[str, Any] = {"epsilon": epsilon, **({} if node.attrs.run else {"axis": -node.attrs.axes})}
    return OnnxNode(kind, (x.name, *(t.name for t in constants)), fields, constants, channels_first=False)
