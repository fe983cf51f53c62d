"""The kernel families: one folder each, listed once below."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from mcuc.kernels._base import Family

# keep sorted
NAMES = (
    "argmax",
    "binary",
    "binary16",
    "depthwise",
    "depthwise16",
    "dot",
    "dot16",
    "matmul",
    "matmul16",
    "mean",
    "mean16",
    "move",
    "norm",
    "pool",
    "pool16",
    "recurrent",
    "resize",
    "softmax",
    "softmax16",
    "sum",
    "unary",
    "unary16",
)


@cache
def get(name: str) -> Family:
    """The family of that name in NAMES."""
    family: Family = import_module(f"mcuc.kernels.{name}").FAMILY
    return family
