"""mcuc build: from a budget to firmware."""

from __future__ import annotations

EXAMPLE = "Example:  mcuc build --budget 320KB"


def command() -> None:
    """Not yet."""
