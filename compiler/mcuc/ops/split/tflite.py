"""SPLIT, SPLIT_V and UNPACK of TFLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._tflite import normal_axis

if TYPE_CHECKING:
    from mcuc.ops.split import SplitAttrs


def from_tflite(node: Imported) -> Built:
    """Axis and sizes are constants; one size of SPLIT_V may be -1, for what is left."""
    from mcuc.ops.split import SplitAttrs

    x = node.input(1 if node.kind == "SPLIT" else 0)
    raw = node.options.axis if node.kind == "UNPACK" else _scalar(node, 0 if node.kind == "SPLIT" else 2)
    axis = normal_axis(raw, len(x.shape), node)
    extent, count = x.shape[axis], len(node.outputs)
    if node.kind == "UNPACK":
        sizes = [1] * count
    elif node.kind == "SPLIT":
        sizes = [extent // count] * count
    else:
        sizes = [int(s) for s in node.constant(1).reshape(-1)]
        if sizes.count(-1) == 1:
            sizes[sizes.index(-1)] = extent - sum(s for s in sizes if s != -1)
    if len(sizes) != count or sum(sizes) != extent or min(sizes) < 1:
        raise McucError(
            "broken-model",
            f"{node.kind} of axis {axis} of {x.shape} into {count} parts of sizes {sizes}",
            where=node.where,
            try_this="split an axis into parts of at least one element that add up to it",
        )
    return Built("split", (x.name,), SplitAttrs(axis, tuple(sizes), node.kind == "UNPACK"))


def _scalar(node: Imported, index: int) -> int:
    found = node.constant(index).reshape(-1)
    if found.size != 1:
        raise McucError(
            "broken-model",
            f"{node.kind} has {found.size} axes, one is needed",
            where=node.where,
            try_this="check that the model file is complete",
        )
    return int(found[0])


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As UNPACK, as SPLIT where the parts are equal, else as SPLIT_V."""
    attrs: SplitAttrs = node.attrs
    x, count = node.inputs[0], len(attrs.sizes)

    def constant(what: str, values: list[int]) -> Tensor:
        data = np.array(values, np.int32)
        return Tensor(f"{node.outputs[0]}/{what}", data.shape, DType.INT32, None, data)

    if attrs.squeeze:
        return Exported("UNPACK", "UnpackOptions", {"num": count, "axis": attrs.axis})
    axis = constant("axis", [attrs.axis])
    axis = Tensor(axis.name, (), axis.dtype, None, np.array(attrs.axis, np.int32))
    if len(set(attrs.sizes)) == 1:
        return Exported("SPLIT", "SplitOptions", {"numSplits": count}, (axis.name, x), (axis,))
    sizes = constant("sizes", list(attrs.sizes))
    return Exported("SPLIT_V", "SplitVOptions", {"numSplits": count}, (x, sizes.name, axis.name), (sizes, axis))
