"""Argmax family: of each pixel's channels the index of the largest, as 32 bits."""

from __future__ import annotations

from mcuc.kernels._base import Family, Kernel, always, no_context, no_scratch

FAMILY = Family("argmax", (Kernel("argmax_scan", "argmax/argmax.c.j2", always, no_scratch, no_context),))
