"""Move family: bytes from one place to another (transpose, slice, concatenate, pad, gather, nearest resize)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_scratch
from mcuc.targets import Chip


def _only(kind: str) -> Callable[[Call, Chip | None], No | None]:
    """Applies to calls of that kind."""

    def applies(call: Call, chip: Chip | None) -> No | None:
        return None if call.params["kind"] == kind else No(f"moves by {call.params['kind']}, not by {kind}")

    return applies


def _context(call: Call) -> Mapping[str, Any]:
    return {"channels": call.channels, "width": call.width}


def _kernel(kind: str, in_order: bool = True) -> Kernel:
    return Kernel(f"move_{kind}", f"move/{kind}.c.j2", _only(kind), no_scratch, _context, in_order=in_order)


FAMILY = Family(
    "move",
    (
        _kernel("gather", in_order=False),
        _kernel("strided", in_order=False),
        _kernel("pad"),
        _kernel("columns"),
        _kernel("constant"),
        _kernel("indexed"),
        _kernel("one_hot"),
        _kernel("to_depth", in_order=False),
        _kernel("to_space", in_order=False),
        _kernel("update"),
    ),
)
