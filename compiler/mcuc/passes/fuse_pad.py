"""Padding of height and width goes into the window of the layers that read it.

before: p = pad(x) {pads on h and w, value = v}; y = conv(p) {window pad (0,0,0,0)}
after:  y = conv(x) {window pad (top,left,bottom,right), pad_value = v}
Exact: a convolution reads v outside the input; an average pool counts the padding; a maximum ignores -128.
"""

from __future__ import annotations

from dataclasses import replace

from mcuc.ir import Graph, Node, rebuild
from mcuc.ops._pool import window_fits

_CONVOLUTIONS = ("conv_2d", "depthwise_conv_2d")
_NO_PAD = (0, 0, 0, 0)


def fuse_pad(graph: Graph) -> Graph:
    """Pad nodes folded into windows, where every reader can take the padding."""
    consumers = graph.consumers()
    replaced: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        if node.op != "pad" or node.outputs[0] in graph.kept or not _image_pads(node):
            continue
        readers = [replaced.get(n.outputs[0], n) for n in consumers[node.outputs[0]]]
        fused = [_fuse(reader, node, graph) for reader in readers]
        if readers and all(f is not None for f in fused):
            replaced.update((f.outputs[0], f) for f in fused if f is not None)
            gone.add(node.outputs[0])
    return rebuild(graph, [replaced.get(n.outputs[0], n) for n in graph.nodes if n.outputs[0] not in gone])


def _image_pads(node: Node) -> bool:
    pads = node.attrs.pads
    return len(pads) == 4 and pads[0] == (0, 0) and pads[3] == (0, 0)


def _fuse(reader: Node, pad: Node, graph: Graph) -> Node | None:
    """The reader with the padding in its window, None where that would change a number."""
    if reader.inputs[0] != pad.outputs[0] or pad.outputs[0] in reader.inputs[1:]:
        return None
    attrs, value = reader.attrs, pad.attrs.value
    (top, bottom), (left, right) = pad.attrs.pads[1], pad.attrs.pads[2]
    window = getattr(attrs, "window", None)
    if window is None:
        return None
    unpadded = window.pad == _NO_PAD
    own = window.pad
    wider = replace(window, pad=(own[0] + top, own[1] + left, own[2] + bottom, own[3] + right))
    if reader.op in _CONVOLUTIONS and (unpadded or attrs.pad_value == value):
        return replace(reader, inputs=(pad.inputs[0], *reader.inputs[1:]),
                       attrs=replace(attrs, window=wider, pad_value=value))
    if reader.op == "average_pool_2d" and (unpadded or (attrs.count_include_pad and attrs.pad_value == value)):
        new = replace(attrs, window=wider, count_include_pad=True, pad_value=value)
    elif reader.op == "max_pool_2d" and value == -128:
        new = replace(attrs, window=wider)
    else:
        return None
    fused = replace(reader, inputs=(pad.inputs[0],), attrs=new)
    return fused if window_fits(fused, graph) is None else None
