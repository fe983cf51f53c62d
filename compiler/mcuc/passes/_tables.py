"""Which nodes are unary tables of 256 bytes."""

from __future__ import annotations

from mcuc.ir import Node

IDENTITY = bytes(range(256))
FUNCTIONS = ("unary", "logistic", "clip")  # operators of one value, element by element


def table_of(node: Node) -> bytes:
    """The output byte for each input byte, b"" where the node is no such table."""
    table = getattr(node.attrs, "table", b"")
    return table if isinstance(table, bytes) and len(table) == 256 and len(node.inputs) == 1 else b""
