"""The kernel families: one folder each, listed once below."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from mcuc.kernels._base import Family

# keep sorted
NAMES = (
    "argmax",
    "binary",
    "depthwise",
    "dot",
    "matmul",
    "mean",
    "move",
    "norm",
    "pool",
    "recurrent",
    "resize",
    "softmax",
    "sum",
    "unary",
)


@cache
def get(name: str) -> Family:
    """The family of that name in NAMES."""
    family: Family = import_module(f"mcuc.kernels.{name}").FAMILY
    return family
