"""CONCATENATION of TFLite."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops import quantize
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops.quantize import QuantizeAttrs


def from_tflite(node: Imported) -> Built:
    """Parts of another scale or zero point than the output are rescaled, with a note.

    uint8: as TFLite does it. int8: TFLite and TFLite Micro refuse such a node; here it computes what they compute
    with a QUANTIZE put before each differing part.
    """
    from mcuc.ops.concat import ConcatAttrs

    parts = [node.input(i) for i in range(len(node.inputs))]
    out = node.outputs[0]
    rank = len(out.shape)
    axis = int(node.options.axis) + (rank if node.options.axis < 0 else 0)
    if not 0 <= axis < rank or not parts:
        raise McucError(
            "broken-model",
            f"axis {node.options.axis} of a tensor of rank {rank}",
            where=node.where,
            try_this="check that the model file is complete",
        )
    if node.options.fusedActivationFunction != 0:
        raise McucError(
            "unsupported-activation",
            "CONCATENATION with a fused activation",
            where=node.where,
            try_this="put the activation behind the concatenation (TFLite Micro refuses it as well)",
        )
    tables, notes = [], []
    for part in parts:
        if part.dtype is not out.dtype:
            raise McucError(
                "broken-model",
                f"CONCATENATION of {part.dtype.value} into {out.dtype.value}",
                where=node.where,
                try_this="check that the model file is complete",
            )
        if out.dtype is not DType.INT8 or part.quant == out.quant:
            tables.append(b"")
            continue
        tables.append(_rescale(part, out, node.where) if node.unsigned else _requantize(part, out, node.where))
        notes.append(
            f"{node.where}: part {part.name!r} has another scale or zero point than the output and is rescaled"
            + ("" if node.unsigned else " (TFLite Micro refuses such a node)")
        )
    return Built("concat", tuple(p.name for p in parts), ConcatAttrs(axis, tuple(tables)), notes=tuple(notes))


def _requantize(part: Tensor, out: Tensor, where: str) -> bytes:
    """The table of a QUANTIZE from the part to the output."""
    attrs: QuantizeAttrs = quantize.from_tflite(Imported("QUANTIZE", None, (part,), (out,), where)).attrs
    return attrs.table


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
        raise McucError(
            "not-exportable",
            "int8 CONCATENATION of TFLite cannot rescale its inputs",
            where=node.name,
            try_this="put a QUANTIZE before the concatenation",
        )
    return Exported("CONCATENATION", "ConcatenationOptions", {"axis": node.attrs.axis})
