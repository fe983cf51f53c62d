"""Products of matrices of which at least one is computed at run time: the exact sum, and calls of the matmul family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcuc.ir import Array
from mcuc.kernels._base import Call, Columns, Rows, Table
from mcuc.ops._conv import ConvAttrs, requant_params, requant_tables

MOST_DEPTH = 32768  # products of (x - zero) * (y - zero), each below 2^16, in 32 bits


@dataclass(frozen=True)
class MatmulAttrs(ConvAttrs):
    """out = clamp(requant(sum (x - input_zero_point) * (y - weight_zero_point)) + output_zero_point), batch by batch.

    adj_x, adj_y: the two last axes of x, of y are swapped.
    """

    adj_x: bool = False
    adj_y: bool = False


@dataclass(frozen=True, eq=False)
class Matrices:
    """One operand. input: index among the node's run-time inputs, or the matrix itself, flat, where it is constant.
    turned: the left one lies as [depth, rows], the right one as [columns, depth]. batch: of the operand's own matrices,
    the one of every product; count: how many it has."""

    input: int | Array
    turned: bool
    batch: tuple[int, ...]
    count: int


def product_call(
    attrs: ConvAttrs,
    left: Matrices,
    right: Matrices,
    size: tuple[int, int, int],
    bias: Array | None = None,
    out_offset: int = 0,
) -> Call:
    """len(batch) products of size rows, depth, columns, one after the other in the output; one product where an operand
    is constant."""
    rows, depth, columns = size
    constant = "left" if not isinstance(left.input, int) else "right" if not isinstance(right.input, int) else ""
    params: dict[str, Any] = {
        **requant_params(attrs),
        "depth": depth,
        "left_turned": left.turned,
        "right_turned": right.turned,
        "left_zp": attrs.input_zero_point,
        "right_zp": attrs.weight_zero_point[0],
        "constant": constant,
        "bias": bias is not None,
    }
    tables = []
    read = []
    for name, operand, elements in (("left", left, rows * depth), ("right", right, depth * columns)):
        if not isinstance(operand.input, int):
            tables.append(Table(f"{name}_matrix", "int8_t", operand.input.reshape(-1)))
            continue
        pixels = Columns(depth) if name == "left" and not operand.turned else None
        read.append(_rows(operand, operand.input, elements, pixels))
    if bias is not None:
        tables.append(Table("bias", "int32_t", bias))
    tables += requant_tables(attrs.requant, columns)
    height = len(left.batch)
    return Call(
        "matmul", params, tuple(tables), tuple(read), height, rows, columns, rows * columns, columns, out_offset
    )


def _rows(operand: Matrices, source: int, elements: int, columns: Columns | None) -> Rows:
    """The operand's matrices as rows: one after the other, or by their numbers."""
    if operand.batch == tuple(range(operand.count)):
        return Rows(source, elements, operand.count, columns=columns)
    if len(operand.batch) == 1:
        return Rows(source, elements, 1, offset=operand.batch[0] * elements)  # a part of the tensor: without columns
    return Rows(source, elements, operand.count, index=operand.batch, columns=columns)


def broadcast_batches(x: tuple[int, ...], y: tuple[int, ...]) -> tuple[tuple[int, ...], list[int], list[int]] | None:
    """Batch axes of a product of tensors whose batch axes are x and y, and for each product the number of x's and y's
    matrix; None where the axes do not fit."""
    try:
        shape = np.broadcast_shapes(x, y)
    except ValueError:
        return None
    numbers = [np.broadcast_to(np.arange(int(np.prod(axes))).reshape(axes), shape).reshape(-1) for axes in (x, y)]
    return tuple(map(int, shape)), numbers[0].tolist(), numbers[1].tolist()
