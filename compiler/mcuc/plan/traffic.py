"""How many bytes of each buffer one inference reads and writes: what makes it worth fast memory.

Counted from the geometry of the kernel calls, as the kernels go through it: every output pixel reads its taps of every
input row. A dot product computes some output channels at a time, so its operand (a pixel, or what was gathered or
widened in scratch) is read once for every so many of them. Caches and registers are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

from mcuc.ir import Graph
from mcuc.kernels._base import Call, Kernel
from mcuc.plan.lifetimes import LINE_STATE, Lifetimes, push_buffer
from mcuc.schedule import Layer, Schedule, Segment, Stream

SUM_BYTES = 4  # of a channel's sum


def traffic(graph: Graph, schedule: Schedule, found: Lifetimes) -> Mapping[str, int]:
    """Buffer id -> bytes read and written in one inference; buffers that are not named have none."""
    total = dict.fromkeys((b.id for b in found.buffers), 0)
    for name in (*graph.inputs, *graph.outputs):  # the caller's side of them
        if name in found.storage:
            _add(total, found, name, graph.tensors[name].bytes)
    for unit in schedule.segments:
        if isinstance(unit, Layer):
            _layer(unit, graph, found, total)
            continue
        assert unit.stream is not None
        for layer in unit.members:
            assert isinstance(layer, Layer)
            _layer(layer, graph, found, total)
        _lines(unit, unit.stream, graph, found, total)
    return total


def _add(total: dict[str, int], found: Lifetimes, tensor: str, amount: int) -> None:
    """To the buffer that holds the tensor: whole, as rows, or the row that was pushed."""
    buffer = found.storage.get(tensor) or found.lines.get(tensor) or push_buffer(tensor)
    if buffer in total:
        total[buffer] += amount


def _layer(layer: Layer, graph: Graph, found: Lifetimes, total: dict[str, int]) -> None:
    names = graph.runtime_inputs(layer.node)
    scratch = found.scratch.get(layer.node.name)
    for call, kernel in layer.calls:
        again = operand_reads(call, kernel)
        through_scratch = kernel.scratch(call) > 0
        for rows in call.rows:
            c = rows.columns
            one = rows.row_bytes if c is None else call.width * c.taps * c.pixel_bytes
            times = call.height * rows.count * (1 if through_scratch else again)
            _add(total, found, names[rows.input], times * one)
        _add(total, found, layer.node.outputs[0], call.height * call.width * call.channels)
        if scratch is not None and layer.reduction is None:
            total[scratch] += scratch_bytes(call, kernel)
    if scratch is not None and layer.reduction is not None:
        call, _ = layer.reduction.accumulate
        total[scratch] += 2 * SUM_BYTES * call.height * call.width * call.channels


def operand_reads(call: Call, kernel: Kernel) -> int:
    """How often a kernel goes through what one output pixel reads."""
    if not kernel.outputs:
        return 1
    return -(-(call.channels // int(call.params["groups"])) // kernel.outputs)


def scratch_bytes(call: Call, kernel: Kernel) -> int:
    """Bytes of scratch written once for every output pixel (and group of channels) and read again for its channels."""
    groups = int(call.params.get("groups", 1))
    one = kernel.scratch(call) // min(kernel.pixels, max(1, call.width))
    return call.height * call.width * groups * one * (1 + operand_reads(call, kernel))


def _lines(unit: Segment, stream: Stream, graph: Graph, found: Lifetimes, total: dict[str, int]) -> None:
    """What a stream does besides its layers: rows move from the window to their slots, pushed rows come in and move to
    theirs, counters count."""
    for tensor, line in stream.lines.items():
        size = graph.tensors[tensor].bytes
        if tensor == stream.pushed:
            total[push_buffer(tensor)] += size  # the caller's side of it
            if tensor in found.lines:  # and its copy
                total[push_buffer(tensor)] += size
                total[found.lines[tensor]] += size
        elif tensor in found.lines and line.window and line.slots:
            total[found.lines[tensor]] += 2 * size
    first = unit.members[0]
    assert isinstance(first, Layer)
    total[found.state[first.node.name]] += 2 * LINE_STATE * len(unit.members) * len(stream.passes)
