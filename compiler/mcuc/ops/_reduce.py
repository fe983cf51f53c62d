"""Averages over a whole image as a stream computes them: sums row by row, and a last step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.ir import Graph, Node
from mcuc.kernels._base import Call, Columns, Rows, Table

MOST_PIXELS = 1 << 22  # 128 times as many, less 128 times a zero point, still fit an int32


def reduction_calls(
    node: Node, graph: Graph, kind: str, params: Mapping[str, Any], tables: tuple[Table, ...] = ()
) -> tuple[Call, Call] | None:
    """The calls that accumulate an image [1, h, w, c] and finish; None where its sums could leave int32.

    kind: "average" or "mean", the last step; params and tables: its constants.
    """
    shape = graph.tensors[node.inputs[0]].shape
    if len(shape) != 4 or shape[0] != 1 or shape[1] * shape[2] > MOST_PIXELS:
        return None
    _, h, w, c = shape
    image = Rows(0, w * c, h, columns=Columns(c))
    accumulate = Call("sum", {"kind": "accumulate", "in_c": c}, (), (image,), h, w, c, w * c, c)
    sums = Rows(0, 4 * c, 1, columns=Columns(4 * c))
    return accumulate, Call("sum", {"kind": kind, **params}, tables, (sums,), 1, 1, c, c, c)
