"""Softmax16 family: probabilities of int16 vectors by interpolated tables."""

from __future__ import annotations

from mcuc.kernels._base import Family, Kernel, always, no_context, no_scratch

FAMILY = Family(
    "softmax16", (Kernel("softmax16_tables", "softmax16/softmax.c.j2", always, no_scratch, no_context, in_place=True),)
)
