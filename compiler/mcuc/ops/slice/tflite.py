"""SLICE, STRIDED_SLICE and REVERSE_V2 of TFLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._tflite import normal_axis

if TYPE_CHECKING:
    from mcuc.ops.slice import SliceAttrs


def _refuse(node: Imported, found: str) -> McucError:
    return McucError(
        "unsupported-slice",
        found,
        where=node.where,
        try_this="slice with constant begin, end and stride inside the tensor",
    )


def _vector(node: Imported, index: int, rank: int) -> list[int]:
    values = [int(v) for v in node.constant(index).reshape(-1)]
    if len(values) != rank:
        raise _refuse(node, f"{node.kind} has {len(values)} indices for a tensor of rank {rank}")
    return values


def from_tflite(node: Imported) -> Built:
    """Begin, end and stride are constants; masks as in TFLite Micro (no ellipsis, no new axis)."""
    x = node.input(0)
    attrs = {"SLICE": _slice, "STRIDED_SLICE": _strided, "REVERSE_V2": _reversed}[node.kind](node, x)
    if 0 in attrs.size:
        raise _refuse(node, f"{node.kind} of {x.shape} leaves nothing (sizes {attrs.size})")
    return Built("slice", (x.name,), attrs)


def _slice(node: Imported, x: Tensor) -> SliceAttrs:
    from mcuc.ops.slice import SliceAttrs

    rank = len(x.shape)
    begin, wanted = _vector(node, 1, rank), _vector(node, 2, rank)
    size = [n - b if s == -1 else s for n, b, s in zip(x.shape, begin, wanted, strict=True)]
    if any(b < 0 or s < 0 or b + s > n for n, b, s in zip(x.shape, begin, size, strict=True)):
        raise _refuse(node, f"SLICE from {begin} of size {wanted} lies outside {x.shape}")
    return SliceAttrs(tuple(begin), tuple(size), (1,) * rank)


def _reversed(node: Imported, x: Tensor) -> SliceAttrs:
    """Every element of the listed axes, from the last to the first."""
    from mcuc.ops.slice import SliceAttrs

    axes = {normal_axis(a, len(x.shape), node) for a in node.constant(1).reshape(-1)}
    begin = tuple(n - 1 if i in axes else 0 for i, n in enumerate(x.shape))
    return SliceAttrs(begin, x.shape, tuple(-1 if i in axes and n > 1 else 1 for i, n in enumerate(x.shape)))


def _strided(node: Imported, x: Tensor) -> SliceAttrs:
    """StartForAxis and StopForAxis of TFLite's strided_slice_logic.h."""
    from mcuc.ops.slice import SliceAttrs

    rank = len(x.shape)
    begin, end, step = (_vector(node, i, rank) for i in (1, 2, 3))
    o = node.options
    if o.ellipsisMask or o.newAxisMask or getattr(o, "offset", False):
        raise _refuse(
            node, "STRIDED_SLICE with an ellipsis mask, a new-axis mask or offsets (TFLite Micro ignores them)"
        )
    if 0 in step:
        raise _refuse(node, f"STRIDED_SLICE has stride {step}")
    starts, sizes, squeeze = [], [], []
    for i, n in enumerate(x.shape):
        forward = step[i] > 0
        low, high = (0, n) if forward else (-1, n - 1)

        def place(value: int, n: int = n, low: int = low, high: int = high) -> int:
            return min(max(value + n if value < 0 else value, low), high)

        start = (low if forward else high) if o.beginMask >> i & 1 else place(begin[i])
        stop = (high if forward else low) if o.endMask >> i & 1 else place(end[i])
        size = max(0, -(-(stop - start) // step[i]))
        if o.shrinkAxisMask >> i & 1:
            squeeze.append(i)
            size = 1
            if not 0 <= start < n:
                raise _refuse(node, f"STRIDED_SLICE takes element {begin[i]} of an axis of {n}")
        starts.append(start)
        sizes.append(size)
    return SliceAttrs(
        tuple(starts), tuple(sizes), tuple(1 if n == 1 else s for n, s in zip(sizes, step, strict=True)), tuple(squeeze)
    )


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As SLICE where every step is 1 and no axis is dropped, else as STRIDED_SLICE."""
    attrs: SliceAttrs = node.attrs

    def constant(what: str, values: list[int]) -> Tensor:
        data = np.array(values, np.int32)
        return Tensor(f"{node.outputs[0]}/{what}", data.shape, DType.INT32, None, data)

    begin = constant("begin", list(attrs.begin))
    if all(s == 1 for s in attrs.step) and not attrs.squeeze:
        size = constant("size", list(attrs.size))
        return Exported(
            "SLICE", "SliceOptions", inputs=(node.inputs[0], begin.name, size.name), constants=(begin, size)
        )
    stops = [b + n * s for b, n, s in zip(attrs.begin, attrs.size, attrs.step, strict=True)]
    end_mask = sum(1 << i for i, stop in enumerate(stops) if stop < 0)  # past the front: no index says so
    end = constant("end", [max(stop, 0) for stop in stops])
    step = constant("step", list(attrs.step))
    return Exported(
        "STRIDED_SLICE",
        "StridedSliceOptions",
        {"endMask": end_mask, "shrinkAxisMask": sum(1 << i for i in attrs.squeeze)},
        inputs=(node.inputs[0], begin.name, end.name, step.name),
        constants=(begin, end, step),
    )
