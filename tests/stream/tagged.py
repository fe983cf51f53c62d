"""Runs a schedule and its plan on memory of which every byte knows what was last written to it.

It walks the tree of segments in the order of the generated C (layer.c.j2, stream.c.j2, member.c.j2, mcuc_stream.h) and
shares no code with what it checks: lifetimes, accesses, placement. Every kernel run must find at each byte that it
reads the byte of the tensor that it means to read. What a run reads follows from its call: the rows and columns that
an output row and column need, the whole tensor where the call does not say.

The values of layers that only move bytes (reshape, slice, concatenation) are those of their inputs, so that it makes
no difference whether bytes are copied or found where they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from machine import (
    TAG,
    Machine,
    Memory,
    Piece,
    check,
    column_range,
    new_value,
    overlaps,
    own_arena,
    part,
    pixel_bytes,
    place,
    row_numbers,
    run_kernel,
    spread,
    value_of,
    whole,
    write,
)
from tagged_streams import run_stream

from mcuc.ir import Graph
from mcuc.kernels._base import Call, Kernel
from mcuc.plan import Plan
from mcuc.schedule import Layer, Schedule, Segment


def execute(graph: Graph, schedule: Schedule, plan: Plan, outside: bool) -> int:
    """Runs the schedule; returns how many bytes were checked. outside: the caller keeps inputs and outputs in buffers
    of its own, the arena has `plan.work` bytes, and the inputs must be intact in the end.

    Raises AssertionError naming the reader, the tensor, the byte, and what lies there instead.
    """
    if plan.several:
        arenas = [Memory(f"arena {a.name}", bytearray(TAG * (a.work if outside else a.bytes))) for a in plan.arenas]
    else:
        arenas = [Memory("arena", bytearray(TAG * (plan.work if outside else plan.arena)))]
    m = Machine(graph, plan, arenas)
    streams = [unit.stream for unit in schedule.segments if isinstance(unit, Segment)]
    pushed = next((s.pushed for s in streams if s is not None and s.pushed is not None), None)
    held = [n for n in graph.inputs if n != pushed]
    ends = [*held, *graph.outputs]
    assert len({plan.storage[n] for n in ends}) == len(ends), "two of the caller's buffers are one"
    if outside:
        m.callers = {plan.storage[n]: Memory(n, bytearray(TAG * graph.tensors[n].bytes)) for n in ends}
    for name in graph.inputs:
        new_value(m, name, graph.tensors[name].bytes)
    for name in held:
        write(m, whole(m, name), "the caller")
    for unit in schedule.segments:
        if isinstance(unit, Layer):
            run_alone(m, unit)
        else:
            run_stream(m, unit, outside)
    for name in (*graph.outputs, *(held if outside else ())):
        check(m, whole(m, name), "the caller, after the run,")
    return m.checked


def run_alone(m: Machine, layer: Layer) -> None:
    """The loops of layer.c.j2: calls, rows, blocks of columns, blocks of channels."""
    who, out = layer.node.name, layer.node.outputs[0]
    value_of(m, layer.node)
    for call, kernel in layer.calls:
        tiling = layer.tiling
        columns = tiling.columns if 0 < tiling.columns < call.width else call.width
        channels = tiling.channels if 0 < tiling.channels < call.channels and not call.whole_channels else call.channels
        scratch = None
        if kernel.scratch(call):
            tags = new_value(m, f"scratch of {who}", kernel.scratch(call))
            scratch = Piece(own_arena(m, who), m.plan.scratch[who], tags, f"scratch of {who}")
        for y in range(call.height):
            for x in range(0, call.width, columns):
                for c in range(0, call.channels, channels):
                    block = x, min(call.width, x + columns), c, min(call.channels, c + channels)
                    _run_block(m, layer, call, kernel, scratch, y, *block)
    if layer.calls:
        for piece in spread(m, out, layer.pitch):
            check(m, piece, f"what follows {who}")


def _run_block(
    m: Machine,
    layer: Layer,
    call: Call,
    kernel: Kernel,
    scratch: Piece | None,
    y: int,
    x0: int,
    x1: int,
    c0: int,
    c1: int,
) -> None:
    """One kernel run of a layer alone: of one long row pixel by pixel, where the kernel is in order and it matters."""
    who = layer.node.name

    def pieces(a: int, b: int) -> tuple[list[Piece], list[Piece]]:
        spots = _written(call, y, a, b, c0, c1)
        return _reads(m, layer, call, kernel, y, a, b, spots), _writes(m, layer, spots)

    reads, writes = pieces(x0, x1)
    if call.height > 1 or not kernel.in_order or not overlaps(reads, writes):
        run_kernel(m, who, kernel, reads, writes, scratch)
        return
    for x in range(x0, x1):
        run_kernel(m, who, kernel, *pieces(x, x + 1), scratch)


def _written(call: Call, y: int, x0: int, x1: int, c0: int, c1: int) -> list[tuple[int, int]]:
    """The bytes [start, end) from the output's first on where columns [x0, x1) and channels [c0, c1) of row y go."""
    start = call.out_offset + y * call.out_row_bytes + x0 * call.out_stride + c0
    end = start + (x1 - x0) * call.out_stride
    if c1 - c0 == call.out_stride:
        return [(start, end)]
    return [(p, p + c1 - c0) for p in range(start, end, call.out_stride)]


def _writes(m: Machine, layer: Layer, spots: Sequence[tuple[int, int]]) -> list[Piece]:
    """The spots as bytes of the tensor, whose pixels may lie `pitch` bytes apart."""
    out = layer.node.outputs[0]
    memory, at = place(m, out)
    if not layer.pitch:
        return [part(memory, at, m.values[out], start, end, out) for start, end in spots]
    pixel, found = pixel_bytes(m.graph.tensors[out]), []
    for start, end in spots:
        byte = start // layer.pitch * pixel + start % layer.pitch
        found.append(part(memory, at + start - byte, m.values[out], byte, byte + end - start, out))
    return found


def _reads(
    m: Machine, layer: Layer, call: Call, kernel: Kernel, y: int, x0: int, x1: int, spots: Sequence[tuple[int, int]]
) -> list[Piece]:
    """What columns [x0, x1) of output row y read. spots: the output bytes that they write, which are what a kernel that
    may be in place reads of an input as large as the output."""
    names = m.graph.runtime_inputs(layer.node)
    size = m.graph.tensors[layer.node.outputs[0]].bytes
    found = []
    for rows in call.rows:
        name = names[rows.input]
        memory, at = place(m, name)
        if kernel.in_place and call.out_row_bytes * call.height == m.graph.tensors[name].bytes == size:
            found += [part(memory, at, m.values[name], start, end, name) for start, end in spots]
        elif rows.columns is None:
            found.append(whole(m, name))
        else:
            pixel = rows.columns.pixel_bytes
            start, end = column_range(rows.columns, rows.row_bytes // pixel, x0, x1)
            for r in row_numbers(rows, y):
                row = r * rows.row_bytes
                found.append(part(memory, at, m.values[name], row + start * pixel, row + end * pixel, name))
    return found
