"""Cast between integer types and truth values: what C converts, scales play no part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost
from mcuc.ops._unary import table_call

_RUNTIME = (DType.BOOL, DType.INT8, DType.INT16, DType.INT32)
_NUMBERS = {DType.FLOAT32: 0, DType.INT32: 2, DType.INT64: 4, DType.BOOL: 6, DType.INT16: 7, DType.INT8: 9}


@dataclass(frozen=True)
class CastAttrs:
    """dtype: of the output."""

    dtype: DType


def from_tflite(node: Imported) -> Built:
    """CAST and Cast; the output tensor says the type."""
    return Built("cast", (node.input(0).name,), CastAttrs(node.outputs[0].dtype))


def infer(attrs: CastAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: CastAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As C converts."""
    x = arrays[0]
    assert x is not None
    return (x.astype(attrs.dtype.value),)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As CAST."""
    types = [_NUMBERS[graph.tensors[n].dtype] for n in (node.inputs[0], node.outputs[0])]
    return Exported("CAST", "CastOptions", {"inDataType": types[0], "outDataType": types[1]})


def integers(node: Node, graph: Graph) -> str | None:
    """At run time from and to bool, int8, int16 and int32."""
    for name in (*graph.runtime_inputs(node), *node.outputs):
        if graph.tensors[name].dtype not in _RUNTIME:
            return f"tensor {name!r} is {graph.tensors[name].dtype.value}"
    return None


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A table from byte to byte, else one call of the unary family with an element a pixel."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    truth = out.dtype is DType.BOOL
    if x.dtype.bytes == out.dtype.bytes == 1:
        values = np.arange(256) > 0 if truth and x.dtype is not DType.BOOL else np.arange(256)
        return (table_call(values.astype(np.uint8).tobytes(), out.shape),)
    width, wide, narrow = out.elements, out.dtype.bytes, x.dtype.bytes
    rows = Rows(0, width * narrow, 1, columns=Columns(narrow))
    params = {"from_bytes": narrow, "to_bytes": wide, "truth": truth}
    return (Call("unary", params, (), (rows,), 1, width, 1, width * wide, wide, whole_channels=True),)


OPERATOR = Operator(
    name="cast",
    summary="type conversion",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(integers,),
    tflite=("CAST",),
    from_tflite=from_tflite,
    onnx=("Cast",),
    from_onnx=from_tflite,
    to_tflite=to_tflite,
)
