"""Unary operators as tables of 256 bytes: lookup, import helpers, lowering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows, Table
from mcuc.ops._base import Shape


@dataclass(frozen=True)
class TableAttrs:
    """table: the output byte for each input byte (index: the input as unsigned byte)."""

    table: bytes


def make_table(values: Array) -> bytes:
    """The table of 256 results for the inputs -128..127 in order; saturated to int8."""
    return np.roll(np.clip(values, -128, 127), -128).astype(np.int8).tobytes()


def infer(attrs: TableAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: TableAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 of any shape."""
    x = arrays[0]
    assert x is not None
    return (table_lookup(attrs.table, x),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the unary family."""
    return (table_call(node.attrs.table, graph.tensors[node.outputs[0]].shape),)


def table_lookup(table: bytes, x: Array) -> Array:
    """x int8 or uint8 -> int8 of the same shape; table is indexed by the unsigned byte."""
    return np.frombuffer(table, np.int8)[x.view(np.uint8)]


def clamp_bounds(table: bytes) -> tuple[int, int] | None:
    """(low, high) when the table is a plain clamp of int8 values (relu, relu6, clip without requantization)."""
    values = np.roll(np.frombuffer(table, np.int8), 128).astype(int)  # in order -128..127
    low, high = int(values.min()), int(values.max())
    return (low, high) if np.array_equal(values, np.clip(np.arange(-128, 128), low, high)) else None


def table_call(table: bytes, shape: tuple[int, ...]) -> Call:
    """A call of the unary family over a tensor of that shape, seen as one row of pixels."""
    channels = shape[-1] if shape else 1
    width = prod(shape) // max(1, channels)
    flip = table == bytes(v ^ 0x80 for v in range(256))
    clamp = clamp_bounds(table)
    params = {"flip": flip, "clamp": clamp, "in_c": channels}
    tables = () if flip or clamp else (Table("table", "int8_t", np.frombuffer(table, np.int8)),)
    row = width * channels
    rows = Rows(0, row, 1, columns=Columns(channels))
    return Call("unary", params, tables, (rows,), 1, width, channels, row, channels)
