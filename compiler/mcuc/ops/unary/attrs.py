"""The attributes of unary."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UnaryAttrs:
    """table: the output byte for each input byte (index: the input as unsigned byte): all that the node computes.

    kind: the function's name and parameters: its real numbers (alpha, beta), in the order of the file format; both
    are already in the table, kept for the exporters.
    """

    table: bytes
    kind: str
    parameters: tuple[float, ...] = ()
