"""MIRROR_PAD of TFLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._move import MOST_LISTED, padded_positions

if TYPE_CHECKING:
    from mcuc.ops.take import TakeAttrs

_MODES = {0: "reflect", 1: "symmetric"}


def from_tflite(node: Imported) -> Built:
    """Constant paddings, less than the axis (REFLECT) or as long as it at most (SYMMETRIC)."""
    from mcuc.ops.take import TakeAttrs

    x, mode = node.input(0), int(node.options.mode)
    pads = node.constant(1).astype(np.int64)
    room = [n - (1 if mode == 0 else 0) for n in x.shape]
    fits = mode in _MODES and pads.shape == (len(x.shape), 2) and pads.min(initial=0) >= 0
    if fits:
        sizes = [n + sum(pair) for n, pair in zip(x.shape, pads.tolist(), strict=True) if any(pair)]
        fits = all(max(pair) <= most for pair, most in zip(pads.tolist(), room, strict=True))
        fits = fits and max(sizes, default=0) <= MOST_LISTED
    if not fits:
        raise McucError(
            "broken-model",
            f"MIRROR_PAD of {x.shape} by {pads.tolist()}, mode {mode}",
            where=node.where,
            try_this="pad by less than the axis is long",
        )
    indices = tuple(
        padded_positions(n, int(a), int(b), _MODES[mode]) if a or b else None
        for n, (a, b) in zip(x.shape, pads, strict=True)
    )
    return Built("take", (x.name,), TakeAttrs(indices))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As MIRROR_PAD. Raises McucError where the positions are no mirrored padding."""
    attrs: TakeAttrs = node.attrs
    shape = graph.tensors[node.inputs[0]].shape
    for mode, name in _MODES.items():
        pads = [_pads(n, chosen, name) for n, chosen in zip(shape, attrs.indices, strict=True)]
        known = [p for p in pads if p is not None]
        if len(known) == len(pads):
            data = np.array(known, np.int32)
            constant = Tensor(f"{node.outputs[0]}/paddings", data.shape, DType.INT32, None, data)
            return Exported(
                "MIRROR_PAD", "MirrorPadOptions", {"mode": mode}, (node.inputs[0], constant.name), (constant,)
            )
    raise McucError(
        "not-exportable",
        "TFLite has no padding that reads these positions",
        where=node.name,
        try_this="export to ONNX instead",
    )


def _pads(extent: int, chosen: tuple[int, ...] | None, mode: str) -> tuple[int, int] | None:
    """The padding before and after whose positions these are."""
    if chosen is None:
        return 0, 0
    for before in range(len(chosen) - extent + 1):
        after = len(chosen) - extent - before
        fits = max(before, after) <= extent - (mode == "reflect")
        if fits and padded_positions(extent, before, after, mode) == chosen:
            return before, after
    return None
