"""DepthToSpace, SpaceToDepth, Tile and Expand of ONNX, on stored axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode
from mcuc.ops.rearrange.axes import broadcast, depth_to_space, is_block, places, space_to_depth, tile

if TYPE_CHECKING:
    from mcuc.ops.rearrange import RearrangeAttrs

KINDS = ("DepthToSpace", "Expand", "SpaceToDepth", "Tile")


def from_onnx(node: Imported) -> Built:
    """options: block and column_row, values (times of a tile, shape of an expansion)."""
    from mcuc.ops.rearrange import RearrangeAttrs

    o, x = node.options, node.input(0)
    match node.kind:
        case "DepthToSpace":
            made = depth_to_space(x.shape, o["block"], o["column_row"])
        case "SpaceToDepth":
            made = space_to_depth(x.shape, o["block"], o["column_row"])
        case "Tile":
            made = tile(x.shape, tuple(o["values"]))
        case _:
            made = broadcast(x.shape, tuple(o["values"]))
    return Built("rearrange", (x.name,), RearrangeAttrs(*made))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As DepthToSpace or SpaceToDepth where it is one, else element by element."""
    attrs: RearrangeAttrs = node.attrs
    shape, wanted, made = graph.tensors[node.inputs[0]].shape, attrs.shape, (attrs.axes, attrs.shape)
    for mode in ("DCR", "CRD"):
        if is_block(wanted, shape) and depth_to_space(shape, wanted[1] // shape[1], mode == "CRD") == made:
            return OnnxNode("DepthToSpace", node.inputs, {"blocksize": wanted[1] // shape[1], "mode": mode})
    if is_block(shape, wanted) and space_to_depth(shape, shape[1] // wanted[1]) == made:
        return OnnxNode("SpaceToDepth", node.inputs, {"blocksize": shape[1] // wanted[1]})
    return OnnxNode("Places", node.inputs, {"places": places(attrs.axes).reshape(wanted)}, channels_first=False)
