"""SLICE, STRIDED_SLICE and REVERSE_V2 of TFLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._tflite import beyond_micro, normal_axis

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
    """Begin, end and stride are constants; masks as LiteRT has them."""
    x = node.input(0)
    attrs = {"SLICE": _slice, "STRIDED_SLICE": _strided, "REVERSE_V2": _reversed}[node.kind](node, x)
    if 0 in attrs.size:
        raise _refuse(node, f"{node.kind} of {x.shape} leaves nothing (sizes {attrs.size})")
    masks = node.kind == "STRIDED_SLICE" and (node.options.ellipsisMask or node.options.newAxisMask)
    short = node.kind == "STRIDED_SLICE" and node.constant(1).size < len(x.shape)
    notes = beyond_micro(node, "an ellipsis, a new axis or fewer indices than axes") if masks or short else ()
    return Built("slice", (x.name,), attrs, notes=notes)


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
    """StartForAxis and StopForAxis of TFLite's strided_slice_logic.h, on the axes that the masks leave."""
    from mcuc.ops.slice import SliceAttrs

    if getattr(node.options, "offset", False):
        raise _refuse(node, "STRIDED_SLICE with offsets (TFLite Micro ignores them)")
    starts, sizes, steps, squeeze = [], [], [], []
    entries, added = _dense(node, len(x.shape))
    for i, (n, entry) in enumerate(zip(x.shape, entries, strict=True)):
        begin, end, step, from_begin, to_end, shrink = entry
        forward = step > 0
        low, high = (0, n) if forward else (-1, n - 1)

        def place(value: int, n: int = n, low: int = low, high: int = high) -> int:
            return min(max(value + n if value < 0 else value, low), high)

        start = (low if forward else high) if from_begin else place(begin)
        stop = (high if forward else low) if to_end else place(end)
        size = max(0, -(-(stop - start) // step))
        if shrink:
            squeeze.append(i)
            size = 1
            if not 0 <= start < n:
                raise _refuse(node, f"STRIDED_SLICE takes element {begin} of an axis of {n}")
        starts.append(start)
        sizes.append(size)
        steps.append(1 if size == 1 else step)
    return SliceAttrs(tuple(starts), tuple(sizes), tuple(steps), tuple(squeeze), tuple(added))


Entry = tuple[int, int, int, bool, bool, bool]  # begin, end, step; from the axis' begin, to its end; the axis goes


def _dense(node: Imported, rank: int) -> tuple[list[Entry], list[int]]:
    """An entry for each axis of the tensor, and the output's axes that are new: an ellipsis stands for the axes that
    are not named, as do those behind the last one."""
    o = node.options
    vectors = [[int(v) for v in node.constant(i).reshape(-1)] for i in (1, 2, 3)]
    count = len(vectors[0])
    if any(len(v) != count for v in vectors) or count > rank + 32:
        raise _refuse(node, f"STRIDED_SLICE has {[len(v) for v in vectors]} indices for a tensor of rank {rank}")
    if 0 in vectors[2]:
        raise _refuse(node, f"STRIDED_SLICE has stride {vectors[2]}")
    masked = [i for i in range(count) if o.ellipsisMask >> i & 1]
    if len(masked) > 1:
        raise _refuse(node, "STRIDED_SLICE with two ellipses")
    new = [i for i in range(count) if o.newAxisMask >> i & 1 and i not in masked]
    spare = rank - (count - len(new) - len(masked))
    if spare < 0:
        raise _refuse(node, f"STRIDED_SLICE has {count} indices for a tensor of rank {rank}")
    whole: Entry = (0, 0, 1, True, True, False)
    entries: list[Entry] = []
    added: list[int] = []
    kept = 0  # axes of the output so far
    for i in range(count):
        if i in masked:
            entries += [whole] * spare
            kept += spare
        elif i in new:
            added.append(kept)
            kept += 1
        else:
            begin, end, step = (v[i] for v in vectors)
            shrink = bool(o.shrinkAxisMask >> i & 1)
            entries.append((begin, end, step, bool(o.beginMask >> i & 1), bool(o.endMask >> i & 1), shrink))
            kept += not shrink
    return entries + [whole] * (rank - len(entries)), added


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As SLICE where every step is 1 and no axis is dropped, else as STRIDED_SLICE."""
    attrs: SliceAttrs = node.attrs

    def constant(what: str, values: list[int]) -> Tensor:
        data = np.array(values, np.int32)
        return Tensor(f"{node.outputs[0]}/{what}", data.shape, DType.INT32, None, data)

    begin = constant("begin", list(attrs.begin))
    if all(s == 1 for s in attrs.step) and not attrs.squeeze and not attrs.added:
        size = constant("size", list(attrs.size))
        return Exported(
            "SLICE", "SliceOptions", inputs=(node.inputs[0], begin.name, size.name), constants=(begin, size)
        )
    stops = [b + n * s for b, n, s in zip(attrs.begin, attrs.size, attrs.step, strict=True)]
    rows = [(b, max(stop, 0), s, stop < 0, i in attrs.squeeze) for i, (b, stop, s) in
            enumerate(zip(attrs.begin, stops, attrs.step, strict=True))]
    spec: list[tuple[int, int, int, bool, bool] | None] = []  # None: a new axis
    kept = 0
    for row in [*rows, None]:
        while kept in attrs.added:
            spec.append(None)
            kept += 1
        if row is not None:
            spec.append(row)
            kept += not row[4]
    entries = [(0, 1, 1, False, False) if e is None else e for e in spec]
    begin, end, step = (constant(what, [e[k] for e in entries]) for k, what in enumerate(("begin", "end", "step")))
    return Exported(
        "STRIDED_SLICE",
        "StridedSliceOptions",
        {
            "endMask": sum(1 << i for i, e in enumerate(entries) if e[3]),  # past the front: no index says so
            "shrinkAxisMask": sum(1 << i for i, e in enumerate(entries) if e[4]),
            "newAxisMask": sum(1 << i for i, e in enumerate(spec) if e is None),
        },
        inputs=(node.inputs[0], begin.name, end.name, step.name),
        constants=(begin, end, step),
    )
