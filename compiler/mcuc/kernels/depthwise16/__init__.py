"""Depthwise16 family: each channel of int16 activations with its own window of int8 weights."""

from __future__ import annotations

from mcuc.kernels._base import Family, Kernel, always, no_context, no_scratch

FAMILY = Family(
    "depthwise16",
    (Kernel("depthwise16_taps", "depthwise16/depthwise.c.j2", always, no_scratch, no_context, per_mac=5.0),),
)
