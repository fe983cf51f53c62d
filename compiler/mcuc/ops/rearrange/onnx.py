"""DepthToSpace, SpaceToDepth, Tile and Expand of ONNX, on stored axes."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, not_exportable
from mcuc.ops.rearrange.axes import broadcast, depth_to_space, space_to_depth, tile

KINDS = ("DepthToSpace", "Expand", "SpaceToDepth", "Tile")


def from_onnx(node: Imported) -> Built:
    """options: block and column_row, values (times of a tile, shape of an expansion)."""
    from mcuc.ops.rearrange import RearrangeAttrs

    o, x = node.options, node.input(0)
    match node.kind:
        case "DepthToSpace":
            made = depth_to_space(x.shape, o["block"], o["column_row"])
        case "SpaceToDepth":
            made = space_to_depth(x.shape, o["block"])
        case "Tile":
            made = tile(x.shape, tuple(o["values"]))
        case _:
            made = broadcast(x.shape, tuple(o["values"]))
    return Built("rearrange", (x.name,), RearrangeAttrs(*made))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """Raises McucError: ONNX's forms are of NCHW."""
    raise not_exportable(node, "elements along affine axes have no form in ONNX here")
