"""Binary family: element-wise functions of two int8 values, broadcast by strides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_scratch
from mcuc.kernels.binary import _weighted
from mcuc.targets import Chip


def _qlinear(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"].startswith("qlinear") else No("not a QLinear operation")


def _rescaled(call: Call, chip: Chip | None) -> No | None:
    return No("a QLinear operation") if call.params["kind"].startswith("qlinear") else None


def _no_context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family(
    "binary",
    (
        Kernel("binary_qlinear", "binary/qlinear.c.j2", _qlinear, no_scratch, _no_context, in_place=True),
        Kernel(
            "binary_weighted",
            "binary/weighted.c.j2",
            _weighted.applies,
            no_scratch,
            _weighted.context,
            in_place=True,
        ),
        Kernel("binary_bytes", "binary/binary.c.j2", _rescaled, no_scratch, _no_context, in_place=True),
    ),
)
