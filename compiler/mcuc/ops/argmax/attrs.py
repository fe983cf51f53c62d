"""Attributes of argmax."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArgmaxAttrs:
    """Nothing to choose: the last axis, of equal values the first."""
