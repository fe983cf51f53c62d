"""GATHER and EMBEDDING_LOOKUP of TFLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._move import inside
from mcuc.ops._tflite import normal_axis

if TYPE_CHECKING:
    from mcuc.ops.gather import GatherAttrs


def from_tflite(node: Imported) -> Built:
    """Indices may be computed at run time; EMBEDDING_LOOKUP has them first."""
    from mcuc.ops.gather import GatherAttrs

    lookup = node.kind == "EMBEDDING_LOOKUP"
    x, indices = node.input(1 if lookup else 0), node.input(0 if lookup else 1)
    axis = 0 if lookup else normal_axis(node.options.axis, len(x.shape), node)
    batch = 0 if lookup else int(getattr(node.options, "batchDims", 0))
    batch += len(indices.shape) if batch < 0 else 0
    if indices.dtype.value not in ("int8", "int16", "int32", "int64") or not x.shape:
        raise _refuse(node, f"{node.kind} of {x.shape} by {indices.dtype.value} indices")
    if lookup and (len(indices.shape) != 1 or x.dtype is not node.outputs[0].dtype):
        raise _refuse(node, f"EMBEDDING_LOOKUP of {x.dtype.value} rows by indices of shape {indices.shape}")
    if not 0 <= batch <= min(axis, len(indices.shape)) or x.shape[:batch] != indices.shape[:batch]:
        raise _refuse(node, f"{node.kind} along axis {axis} of {x.shape} by {indices.shape}, batch_dims {batch}")
    if indices.data is not None and x.elements:
        low, high = int(indices.data.min(initial=0)), int(indices.data.max(initial=0))
        if low < -x.shape[axis] or high >= x.shape[axis]:
            raise _refuse(node, f"{node.kind} index {low if low < 0 else high} outside an axis of {x.shape[axis]}")
    fixed = indices.data is not None
    return Built("gather", (x.name, indices.name), GatherAttrs(axis, batch, nearest=not fixed, wrap=fixed))


def _refuse(node: Imported, found: str) -> McucError:
    return McucError(
        "unsupported-gather",
        found,
        where=node.where,
        try_this="gather by integer indices inside the axis, with equal leading axes where it has batch_dims",
    )


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As GATHER; constant indices as int32 ones that count from the front."""
    attrs: GatherAttrs = node.attrs
    x, indices = (graph.tensors[n] for n in node.inputs)
    fields = {"axis": attrs.axis, "batchDims": attrs.batch}
    if indices.data is None or (indices.dtype is DType.INT32 and indices.data.min(initial=0) >= 0):
        return Exported("GATHER", "GatherOptions", fields)
    places = inside(indices.data, x.shape[attrs.axis], attrs.wrap).astype(np.int32)
    constant = Tensor(f"{node.outputs[0]}/indices", places.shape, DType.INT32, None, places)
    return Exported("GATHER", "GatherOptions", fields, (x.name, constant.name), (constant,))
