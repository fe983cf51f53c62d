"""Matmul16 family: products of two int16 matrices, both computed at run time."""

from __future__ import annotations

from mcuc.kernels._base import Family, Kernel, always, no_context, no_scratch

FAMILY = Family("matmul16", (Kernel("matmul16_values", "matmul16/matmul.c.j2", always, no_scratch, no_context),))
