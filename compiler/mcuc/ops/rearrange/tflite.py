"""DEPTH_TO_SPACE, SPACE_TO_DEPTH, TILE and BROADCAST_TO of TFLite."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._tflite import beyond_micro
from mcuc.ops.rearrange.axes import broadcast, depth_to_space, space_to_depth, tile

if TYPE_CHECKING:
    from mcuc.ops.rearrange import RearrangeAttrs

MOST = 1 << 28  # elements of an output


def from_tflite(node: Imported) -> Built:
    """Block size, multiples and shape are constants."""
    from mcuc.ops.rearrange import RearrangeAttrs

    x = node.input(0)
    if node.kind in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"):
        axes, shape = _blocks(node, x.shape)
    else:
        values = tuple(int(v) for v in node.constant(1).reshape(-1))
        if min(values, default=1) < 1 or prod(values) > MOST:
            raise _refuse(node, x, values)
        if node.kind == "TILE":
            if len(values) != len(x.shape) or prod(values) * x.elements > MOST:
                raise _refuse(node, x, values)
            axes, shape = tile(x.shape, values)
        else:
            try:
                axes, shape = broadcast(x.shape, values)
            except ValueError as error:
                raise _refuse(node, x, values) from error
    notes = beyond_micro(node, "TILE") if node.kind == "TILE" else ()
    return Built("rearrange", (x.name,), RearrangeAttrs(axes, shape), notes=notes)


def _blocks(node: Imported, shape: tuple[int, ...]) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    block = int(node.options.blockSize)
    fits = len(shape) == 4 and block >= 1
    if fits and node.kind == "DEPTH_TO_SPACE" and shape[3] % (block * block) == 0:
        return depth_to_space(shape, block)
    if fits and node.kind == "SPACE_TO_DEPTH" and shape[1] % block == shape[2] % block == 0:
        return space_to_depth(shape, block)
    raise _refuse(node, node.input(0), (block,))


def _refuse(node: Imported, x: Tensor, values: tuple[int, ...]) -> McucError:
    return McucError(
        "broken-model",
        f"{node.kind} of {x.shape} by {values}",
        where=node.where,
        try_this="check that the model file is complete",
    )


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As the first operator whose axes these are. Raises McucError where there is none."""
    attrs: RearrangeAttrs = node.attrs
    shape, wanted = graph.tensors[node.inputs[0]].shape, attrs.shape
    made = (attrs.axes, attrs.shape)
    if len(shape) == len(wanted) == 4:
        if shape[1] and wanted[1] % shape[1] == 0 and shape[3] % (wanted[1] // shape[1]) ** 2 == 0:
            block = wanted[1] // shape[1]
            if depth_to_space(shape, block) == made:
                return Exported("DEPTH_TO_SPACE", "DepthToSpaceOptions", {"blockSize": block})
        if wanted[1] and shape[1] % wanted[1] == 0 and shape[2] % (shape[1] // wanted[1]) == 0:
            block = shape[1] // wanted[1]
            if space_to_depth(shape, block) == made:
                return Exported("SPACE_TO_DEPTH", "SpaceToDepthOptions", {"blockSize": block})
    try:
        if broadcast(shape, wanted) == made:
            return _with(node, "BROADCAST_TO", "BroadcastToOptions", wanted)
    except ValueError:
        pass
    if len(shape) == len(wanted) and all(m % n == 0 for n, m in zip(shape, wanted, strict=True)):
        times = tuple(m // n for n, m in zip(shape, wanted, strict=True))
        if tile(shape, times) == made:
            return _with(node, "TILE", "TileOptions", times)
    raise McucError(
        "not-exportable",
        f"TFLite has no operator that reads {shape} along {attrs.axes}",
        where=node.name,
        try_this="export to ONNX instead",
    )


def _with(node: Node, kind: str, options: str, values: tuple[int, ...]) -> Exported:
    data = np.array(values, np.int32)
    constant = Tensor(f"{node.outputs[0]}/values", data.shape, DType.INT32, None, data)
    return Exported(kind, options, inputs=(node.inputs[0], constant.name), constants=(constant,))
