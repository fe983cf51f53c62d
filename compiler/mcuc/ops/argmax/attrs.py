"""Attributes of argmax."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArgmaxAttrs:
    """axis: not negative, or -1 for the last one. smallest: of the smallest value. last: of equal values the last one,
    not the first. keep_dims: the axis stays as an extent of 1."""

    axis: int = -1
    smallest: bool = False
    last: bool = False
    keep_dims: bool = False
