"""CONCATENATION of TFLite."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of


def from_tflite(node: Imported) -> Built:
    """int8: TFLite Micro copies the bytes, whatever the scales say, and so do we, with a note. uint8: TFLite rescales."""
    from mcuc.ops.concat import ConcatAttrs

    parts = [node.input(i) for i in range(len(node.inputs))]
    out = node.outputs[0]
    rank = len(out.shape)
    axis = int(node.options.axis) + (rank if node.options.axis < 0 else 0)
    if not 0 <= axis < rank or not parts:
        raise McucError("broken-model", f"axis {node.options.axis} of a tensor of rank {rank}", where=node.where,
                        try_this="check that the model file is complete")
    if node.options.fusedActivationFunction != 0:
        raise McucError("unsupported-activation", "CONCATENATION with a fused activation", where=node.where,
                        try_this="put the activation behind the concatenation (TFLite Micro refuses it as well)")
    tables, notes = [], []
    for part in parts:
        same = out.dtype is not DType.INT8 or (part.quant, part.dtype) == (out.quant, out.dtype)
        tables.append(b"" if same or not node.unsigned else _rescale(part, out, node.where))
        if not same and not node.unsigned:
            notes.append(f"{node.where}: input {part.name!r} has another scale or zero point than the output; "
                         "its bytes are copied unchanged, as TFLite Micro does")
    return Built("concat", tuple(p.name for p in parts), ConcatAttrs(axis, tuple(tables)), notes=tuple(notes))


def _rescale(part: Tensor, out: Tensor, where: str) -> bytes:
    """ConcatenationWithScaling of TFLite's reference kernels: float32, rounded half away from zero, in uint8."""
    scale = np.float32(scale_of(part, where)) * (np.float32(1.0) / np.float32(scale_of(out, where)))
    bias = np.float32(-(zero_point_of(part, where) + 128)) * scale
    real = (np.arange(256).astype(np.float32) * scale + bias).astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(real) + 0.5), real).astype(np.int64) + zero_point_of(out, where) + 128
    table = (np.clip(rounded, 0, 255) - 128).astype(np.int8)
    return np.roll(table, -128).tobytes()  # the byte of int8 q is (q + 128) ^ 0x80


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As CONCATENATION. Raises McucError where a part has a table."""
    if any(node.attrs.tables):
        raise McucError("not-exportable", "int8 CONCATENATION of TFLite cannot rescale its inputs", where=node.name,
                        try_this="put a QUANTIZE before the concatenation")
    return Exported("CONCATENATION", "ConcatenationOptions", {"axis": node.attrs.axis})
