"""Softmax of int16 activations over the last axis, by TFLite's two interpolated tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcuc.errors import McucError
from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call, Columns, Rows, Table
from mcuc.numerics import quantize_multiplier
from mcuc.numerics16 import exp16_table, reciprocal16_table, softmax16
from mcuc.ops._base import Built, Exported, Imported, Operator, int16_runtime, no_cost, scale_of
from mcuc.ops._wide import UNIT_SCALE, vectors, wide_activation, wide_tensor
from mcuc.ops.softmax import infer


@dataclass(frozen=True)
class Softmax16Attrs:
    """multiplier, shift: of differences of the input, to steps of 10 / 65535 (beta included)."""

    multiplier: int
    shift: int
    beta: float = 1.0


def _constants(scale: float, beta: float) -> tuple[int, int]:
    return quantize_multiplier(scale * beta / (10.0 / 65535.0))


def from_tflite(node: Imported) -> Built:
    """Any rank above 0. Raises McucError for other types or an output scale other than 1/32768."""
    x, out = wide_activation(node, 0), wide_tensor(node, node.outputs[0])
    scale, found = scale_of(x, node.where), scale_of(out, node.where)
    if found != UNIT_SCALE or not x.shape:
        raise McucError(
            "unsupported-quantization",
            f"SOFTMAX of int16 writes scale {found}; TFLite demands 1/32768",
            where=node.where,
            try_this="convert the model again with the standard TFLite converter",
        )
    beta = float(node.options.beta)
    return Built("softmax_16", (x.name,), Softmax16Attrs(*_constants(scale, beta), beta))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As SOFTMAX."""
    return Exported("SOFTMAX", "SoftmaxOptions", {"beta": node.attrs.beta})


def reference(attrs: Softmax16Attrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int16 of any shape, probabilities along the last axis."""
    x = arrays[0]
    assert x is not None
    return (softmax16(x, attrs.multiplier, attrs.shift),)


def short_rows(node: Node, graph: Graph) -> str | None:
    """At most 65535 classes, whose exponentials are summed in 32 bits."""
    classes = graph.tensors[node.inputs[0]].shape[-1]
    return f"{classes} classes" if classes > 65535 else None


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the softmax16 family, each vector a pixel."""
    width, classes = vectors(graph.tensors[node.outputs[0]].shape)
    tables = (
        Table("exponentials", "int16_t", exp16_table()),
        Table("reciprocals", "int16_t", reciprocal16_table()),
    )
    params = {"classes": classes, "multiplier": node.attrs.multiplier, "shift": node.attrs.shift}
    row = 2 * width * classes
    rows = Rows(0, row, 1, columns=Columns(2 * classes))
    return (Call("softmax16", params, tables, (rows,), 1, width, 2 * classes, row, 2 * classes, whole_channels=True),)


OPERATOR = Operator(
    name="softmax_16",
    summary="softmax of int16 activations over the last axis",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int16_runtime, short_rows),
    tflite=("SOFTMAX",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
    wide=True,
)
