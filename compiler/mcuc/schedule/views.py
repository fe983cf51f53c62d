"""Tensors that can live inside another tensor's bytes, so that concatenating and slicing move nothing.

Three cases. Where the tensor is one run of bytes in the other: a part of a concatenation along the outermost axis is
written by its producer straight into the concatenation's output, and a slice is read where its source lies. Where it
is not: a part of a concatenation of images along the channels is written pixel by pixel, if nobody else reads it.
A tensor with a view has no storage of its own; its root's storage is alive from the first write to the last read of
the root and of everything that lies in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from mcuc import ops
from mcuc.ir import Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.schedule import Layer


@dataclass(frozen=True)
class View:
    """Where a tensor lies: `offset` bytes after the first of tensor `root`, which has bytes of its own. pitch: bytes
    from one of its pixels to the next, 0 where it is one run of bytes."""

    root: str
    offset: int
    pitch: int = 0

    @property
    def first(self) -> int:
        """The byte of the root at which the pixels begin that a tensor with a pitch has a part of, else the offset."""
        return self.offset - self.offset % self.pitch if self.pitch else self.offset


def without_copies(layers: Sequence[Layer], graph: Graph, pushed: str | None = None) -> tuple[Layer, ...]:
    """The layers of the graph's nodes, in its order, with every tensor that can lie in another one put there.

    Producers of parts write into the concatenation's output, whose copy of the part is dropped; slices that are one
    run of bytes copy nothing. A layer that has nothing left to do has no calls. pushed: an input that arrives by rows,
    which nothing can lie in; then outputs hold no parts either, since the caller names their buffers after its rows.
    Returns the same layers where there is nothing to gain.
    """
    found = views(graph, pushed)
    apart = _apart(layers, graph, found, pushed)
    return tuple(_put(layer, graph, found, apart) for layer in layers)


def moved_bytes(layers: Sequence[Layer]) -> int:
    """Bytes that concatenations and slices copy."""
    moving = (call for layer in layers if layer.node.op in ("concat", "slice") for call, _ in layer.calls)
    return sum(call.height * call.width * call.channels for call in moving)


def places(layers: Sequence[Layer], graph: Graph) -> dict[str, View]:
    """Run-time tensor -> the tensor whose bytes it has, in the order in which they are computed. Layers that write
    over a dying input's bytes count as having their own."""
    found = {name: View(name, 0) for name in graph.given}
    for layer in layers:
        out = layer.node.outputs[0]
        if layer.into:
            found[out] = View(layer.into, layer.at, layer.pitch)
        else:
            found[out] = View(out, 0) if layer.calls else found[layer.node.inputs[0]]
        found |= {name: View(name, 0) for name in layer.node.outputs[1:]}  # states
    return found


def spread(tensor: Tensor, pitch: int) -> int:
    """Bytes from a tensor's first pixel to the end of its last, with all that lies between them."""
    return tensor.bytes // (tensor.shape[-1] * tensor.dtype.bytes) * pitch if pitch else tensor.bytes


def views(graph: Graph, pushed: str | None = None) -> Mapping[str, View]:
    """Run-time tensor -> its view as one run of bytes, for every tensor that can safely have one; others are not in
    the mapping. pushed: see without_copies.

    A reshaped tensor counts as the tensor whose bytes it is, and all names of these bytes get the same view; a root is
    the first name of its bytes. Roots may be model inputs (of slices) and model outputs (of concatenations), views
    never are: the caller's buffers are whole tensors.

    A part may be written into a concatenation's output when it is copied there unchanged (no table), fills one run of
    bytes, is no slice's view itself, and is a part once, of this concatenation alone. Then nothing else is ever
    written to these bytes: parts do not overlap, the concatenation's other inputs end up beside it, and views of views
    (a concatenation of concatenations, a slice of a part) keep their place. A slice reads its source's bytes, which
    only its source's producers write.

    What has a view must not be laid over another tensor, nor another tensor over it, while anything in the root is yet
    to be read. A view can keep more bytes alive than a copy would (a small slice of a large tensor; a part written
    long before the others), where a storage is not planned by spans.
    """
    base = _bases(graph)
    callers = {base[n] for n in (*graph.given, *graph.kept) if n in base}
    mixed = _shared_by_callers(graph, base)
    inside: dict[str, View] = {}  # base -> place in the tensor that it is a part or a slice of
    for node in graph.nodes:
        if node.op == "slice" and node.inputs[0] in base:
            own, source = base[node.outputs[0]], base[node.inputs[0]]
            start = _slice_offset(node, graph)
            if start is not None and own not in callers and source not in mixed and source != pushed:
                inside[own] = View(source, start)
    uses = _concat_uses(graph, base)
    for node in graph.nodes:
        if node.op != "concat" or base[node.outputs[0]] in (callers if pushed else mixed):
            continue
        for index, start in _parts(node, graph):
            part = base.get(node.inputs[index])
            if part is not None and part not in callers and part not in inside and uses[part] == 1:
                inside[part] = View(base[node.outputs[0]], start)
    return {name: _resolved(inside, own) for name, own in base.items() if own in inside}


def moved_inputs(node: Node, graph: Graph, found: Mapping[str, View]) -> tuple[int, ...]:
    """Indices among a concatenation's or slice's inputs of those whose bytes the node still has to move.

    found: views(graph). The others lie where the output wants them already.
    """
    base = _bases(graph)

    def place(name: str) -> View:
        return found.get(name, View(base[name], 0))

    out = place(node.outputs[0])
    if node.op == "slice":
        start, source = _slice_offset(node, graph), node.inputs[0]
        lies = source in base and start is not None and View(place(source).root, place(source).offset + start) == out
        return () if lies else (0,)
    there = {
        index
        for index, start in _parts(node, graph)
        if node.inputs[index] in base and place(node.inputs[index]) == View(out.root, out.offset + start)
    }
    return tuple(index for index in range(len(node.inputs)) if index not in there)


def _put(layer: Layer, graph: Graph, found: Mapping[str, View], apart: Mapping[str, View]) -> Layer:
    """The layer with its output where its view says, and without the copies that are not needed for that."""
    node, out = layer.node, layer.node.outputs[0]
    kept = layer.calls
    if node.op == "concat":
        moved = moved_inputs(node, graph, found)
        kept = tuple(layer.calls[i] for i in moved if node.inputs[i] not in apart)
    elif node.op == "slice" and out in found and not moved_inputs(node, graph, found):
        kept = ()
    if out in apart:
        pitch = apart[out].pitch
        kept = tuple((_spread_out(call, pitch), kernel) for call, kernel in kept)
        view = apart[out]
    elif out in found and (layer.calls or kept):
        view = found[out]
    elif len(kept) == len(layer.calls):
        return layer
    else:
        view = View(out, 0)
    if kept and view == View(out, 0):
        return replace(layer, calls=kept)
    why = layer.why if kept else "its bytes are where they were written"
    return replace(layer, calls=kept, why=why, into=view.root, at=view.offset, pitch=view.pitch)


def _apart(
    layers: Sequence[Layer], graph: Graph, found: Mapping[str, View], pushed: str | None
) -> dict[str, View]:
    """Parts of concatenations along the channels -> where their producers can write them pixel by pixel.

    That is where nobody but the concatenation reads the part, nothing lies in it, and its producer writes pixel after
    pixel. The last concatenation comes first, so that those of which it is made know where they lie.
    """
    base = _bases(graph)
    closed = {base[n] for n in graph.outputs if n in base} if pushed else _shared_by_callers(graph, base)
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    taken = {*graph.kept, *found, *(view.root for view in found.values())}
    producer = {layer.node.outputs[0]: layer for layer in layers if len(layer.node.outputs) == 1}
    apart: dict[str, View] = {}
    for node in reversed(graph.nodes):
        if node.op != "concat" or base[node.outputs[0]] in closed:
            continue
        whole = graph.tensors[node.outputs[0]]
        if node.attrs.axis != 3 or len(whole.shape) != 4 or whole.shape[0] != 1:
            continue
        home = apart.get(whole.name) or found.get(whole.name, View(whole.name, 0))
        at = home.offset
        for name, table in zip(node.inputs, node.attrs.tables, strict=True):
            part = graph.tensors[name]
            alone = readers[name] == 1 and name not in taken and name in producer
            if alone and not table and part.dtype is whole.dtype and _by_pixels(producer[name], part):
                apart[name] = View(home.root, at, home.pitch or whole.shape[3] * whole.dtype.bytes)
            at += part.shape[3] * part.dtype.bytes
    return apart


def _by_pixels(layer: Layer, out: Tensor) -> bool:
    """Every call writes the image's pixels one after the other, each or a part of it in one go."""
    _, height, width, channels = out.shape
    pixel = channels * out.dtype.bytes
    return bool(layer.calls) and all(
        call.out_stride == pixel
        and call.out_row_bytes == call.width * pixel
        and call.height * call.width == height * width
        and call.out_offset + call.channels <= pixel
        for call, _ in layer.calls
    )


def _spread_out(call: Call, pitch: int) -> Call:
    """The same call with so many bytes from one output pixel to the next."""
    return replace(call, out_stride=pitch, out_row_bytes=call.width * pitch)


def _bases(graph: Graph) -> dict[str, str]:
    """Run-time tensor -> the first tensor with the same bytes."""
    base = {name: name for name in graph.given}
    for node in graph.nodes:
        for name in node.outputs:
            base[name] = base.get(node.inputs[0], name) if ops.get(node.op).alias else name
    return base


def _shared_by_callers(graph: Graph, base: Mapping[str, str]) -> set[str]:
    """Bytes that two of the caller's tensors have in common: one of them will be a copy, which depends on the order.
    And those of states, which lie outside the arena and are written before the run is over."""
    ends = [base[n] for n in dict.fromkeys((*graph.given, *graph.kept)) if n in base]
    states = {base[n] for s in graph.states for n in (s.current, s.next) if n in base}
    return {own for own in ends if ends.count(own) > 1} | states


def _concat_uses(graph: Graph, base: Mapping[str, str]) -> dict[str, int]:
    """How many times each base is a part of a concatenation."""
    uses = dict.fromkeys(base.values(), 0)
    for node in graph.nodes:
        if node.op == "concat":
            for name in node.inputs:
                if name in base:
                    uses[base[name]] += 1
    return uses


def _parts(node: Node, graph: Graph) -> list[tuple[int, int]]:
    """Of a concatenation: (index of a part, first byte in the output) of parts that are one run of unchanged bytes."""
    out = graph.tensors[node.outputs[0]]
    axis = node.attrs.axis
    if prod(out.shape[:axis]) != 1:
        return []
    found, at = [], 0
    for index, (name, table) in enumerate(zip(node.inputs, node.attrs.tables, strict=True)):
        part = graph.tensors[name]
        if not table and part.dtype == out.dtype and part.bytes:
            found.append((index, at))
        at += part.bytes
    return found


def _slice_offset(node: Node, graph: Graph) -> int | None:
    """The byte of the source at which the slice begins, or None where it is not one run of bytes."""
    source = graph.tensors[node.inputs[0]]
    attrs = node.attrs
    sizes = zip(source.shape, attrs.size, attrs.step, strict=True)
    cut = [(whole, size, step) for whole, size, step in sizes if size != 1 or whole != 1]
    while cut and cut[0][1] == 1:
        del cut[0]
    if (cut and cut[0][2] != 1) or any(size != whole or step != 1 for whole, size, step in cut[1:]):
        return None
    if not prod(attrs.size):
        return None
    elements = sum(int(begin) * prod(source.shape[i + 1 :]) for i, begin in enumerate(attrs.begin))
    return elements * source.dtype.bytes


def _resolved(inside: Mapping[str, View], own: str) -> View:
    """Views of views followed to the root."""
    offset = 0
    while own in inside:
        offset += inside[own].offset
        own = inside[own].root
    return View(own, offset)
