"""A convolution over blocks of an image is a dilated convolution, which Keras spells this way.

before: b = space_batch(x) {block=(2, 2)}; c = conv_2d(b) {dilation=(1, 1)}; y = space_batch(c) {block=(2, 2), back}
after:  y = conv_2d(x) {dilation=(2, 2), pad = what was added less what was cut off}
Exact: both fill with the same value, and every output is the same sum of products.
"""

from __future__ import annotations

from dataclasses import replace

from mcuc.ir import Graph, Node, rebuild

_CONVOLUTIONS = ("conv_2d", "depthwise_conv_2d")


def join_dilation(graph: Graph) -> Graph:
    """The graph with such triples as one convolution, where nobody else reads the batch between."""
    consumers, producers = graph.consumers(), graph.producers()
    joined: dict[str, Node] = {}
    for back in graph.nodes:
        conv = producers.get(back.inputs[0]) if back.op == "space_batch" else None
        blocks = producers.get(conv.inputs[0]) if conv is not None and conv.op in _CONVOLUTIONS else None
        if conv is None or blocks is None or blocks.op != "space_batch":
            continue
        middle = (conv.outputs[0], blocks.outputs[0])
        if any(len(consumers[n]) != 1 or n in graph.outputs for n in middle):
            continue
        found = _joined(blocks, conv, back, graph)
        if found is not None:
            joined[back.outputs[0]] = found
    return rebuild(graph, [joined.get(n.outputs[0], n) for n in graph.nodes])


def _joined(blocks: Node, conv: Node, back: Node, graph: Graph) -> Node | None:
    """The dilated convolution; None where the three are none."""
    before, after, window = blocks.attrs, back.attrs, conv.attrs.window
    x, out = graph.tensors[blocks.inputs[0]], graph.tensors[back.outputs[0]]
    if not before.to_batch or after.to_batch or before.block != after.block or len(before.block) > 2:
        return None
    if len(x.shape) != 4 or len(out.shape) != 4 or x.shape[0] != 1 or window.stride != (1, 1):
        return None
    if conv.attrs.pad_value != before.value and (any(window.pad) or any(map(any, before.edges))):
        if any(window.pad):
            return None
        conv = replace(conv, attrs=replace(conv.attrs, pad_value=before.value))
    block = (*before.block, 1)[:2]
    added, cut = ((*edges, (0, 0))[:2] for edges in (before.edges, after.edges))
    pads = [
        added[i][side] + window.pad[i + 2 * side] * block[i] - cut[i][side] for side in (0, 1) for i in (0, 1)
    ]
    if min(pads) < 0:
        return None
    dilation = (window.dilation[0] * block[0], window.dilation[1] * block[1])
    wider = replace(window, dilation=dilation, pad=(pads[0], pads[1], pads[2], pads[3]))
    if wider.output(x.shape[1], x.shape[2]) != out.shape[1:3]:
        return None
    attrs = replace(conv.attrs, window=wider)
    return replace(conv, inputs=(x.name, *conv.inputs[1:]), outputs=back.outputs, attrs=attrs)
