"""The C function of a stream's member: it computes the next columns of its next row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcuc.emit import render
from mcuc.emit.layers import KernelPool, channels_at_a_time, first_table, per_row, staged_table
from mcuc.emit.names import comment, layer_symbol
from mcuc.emit.tables import TablePool
from mcuc.ir import Graph
from mcuc.kernels._base import Call, Columns, Kernel, Rows, Table
from mcuc.plan import Plan
from mcuc.schedule import Line, Stream
from mcuc.schedule.access import grid
from mcuc.schedule.groups import Bottleneck
from mcuc.schedule.stream import Member


@dataclass(frozen=True, eq=False)
class Place:
    """What the members' code needs of the whole stream. number: of its first coded layer; pointers: tensor -> name of
    the argument that points at it; at: tensor inside the stream -> index of its line; bottleneck: the calls of a
    stream that runs by groups of channels."""

    graph: Graph
    plan: Plan
    prefix: str
    number: int
    stream: Stream
    pointers: Mapping[str, str]
    at: Mapping[str, int]
    kernels: KernelPool
    tables: TablePool
    bottleneck: Bottleneck | None = None

    @property
    def lines(self) -> Mapping[str, Line]:
        return self.stream.lines

    @property
    def pushed(self) -> str | None:
        return self.stream.pushed

    @property
    def part(self) -> list[tuple[str, str]]:
        """(C type, argument) that tell the stream's functions which part of the image or channels they compute."""
        if self.stream.strips:
            return [("const int16_t *", "strip")]
        return [("int32_t ", "c"), ("int32_t ", "c_end")] if self.bottleneck else []

    def begin(self, j: int) -> str:
        """The first column of member j, in C inside the stream's functions."""
        return f"strip[{2 * j}]" if self.stream.strips else "0"

    def end(self, j: int, width: int) -> str:
        """The column behind its last one; width: of its whole row."""
        return f"strip[{2 * j + 1}]" if self.stream.strips else str(width)


def arguments(names: list[str], place: Place) -> list[tuple[str, str]]:
    """(C type, argument) of the tensors, each once."""
    return [
        ("int8_t *" if place.pointers[n].startswith("out") else "const int8_t *", place.pointers[n])
        for n in dict.fromkeys(names)
    ]


def member_function(j: int, member: Member, step: int, place: Place) -> tuple[str, str]:
    """The function of the j-th member and a call of it. step: columns at a time, 0 for whole rows."""
    layer, graph = member.layer, place.graph
    symbol = layer_symbol(place.prefix, place.number + j, layer.node.op)
    names = graph.runtime_inputs(layer.node)
    used = [n for n in dict.fromkeys((*member.outside, member.output)) if n in place.pointers]
    used += [n for n in member.inside if n in place.pointers and n not in used]
    if member.sink and member.output not in used:
        used.append(member.output)
    kinds = arguments(used, place)
    row_arg = place.pushed in member.inside
    own = "".join(f", {kind}{name}" for kind, name in ([("const int8_t *", "row")] if row_arg else []) + kinds)
    values = (["row"] if row_arg else []) + [place.pointers[n] for n in used]
    where = f"l{place.number + j:02d}"
    grouped = place.bottleneck
    calls = []
    for c, (call, kernel) in enumerate(_calls(j, member, place)):
        at, rows = 0, []
        for r in call.rows:
            rows.append(_rows(r, names[r.input], at, place, bool(step)))
            at += r.count
        scratch = "NULL"
        needed = kernel.scratch(call) or layer.staged or layer.reduction is not None
        if layer.node.name in place.plan.scratch and needed:
            scratch = f"base + {place.plan.scratch[layer.node.name]}u"
        if grouped and member.sink:
            scratch = "sums"
        spot = where if c == 0 else f"{where}_{c}"
        part = layer.block or channels_at_a_time(layer, call)  # channels at a time
        calls.append(
            {
                "rows": rows,
                "row_count": max(1, at + (call.per_row is not None)),
                "per_row": per_row(call, at, place.tables, where),
                **place.kernels.function(call, kernel, place.tables, spot, first_table(layer, kernel, call)),
                "staged": staged_table(layer, call, kernel, place.tables, spot),
                "offset": f" + {call.out_offset}" if call.out_offset else "",
                "out_stride": call.out_stride if member.sink or not grouped else grouped.group,
                "channels": "c, c_end" if grouped or part else f"0, {call.channels}",
                "step": part,
                "count": call.channels,
                "scratch": scratch,
            }
        )
    finish = None
    if layer.reduction is not None:
        finish = _finish(*layer.reduction.finish, where, place)
    if grouped and member.sink:
        finish = _finish(*grouped.finish, where, place)
    shape = "x".join(map(str, graph.tensors[member.output].shape))
    title = f"{layer.node.name}: rows of {shape}, tensor {member.output}"
    text = render(
        "member.c.j2",
        symbol=symbol,
        comment=comment(title),
        pointers=own,
        index=j,
        number=place.number + j,
        step=step,
        together=member.together,
        height=member.height,
        width=member.width,
        part="".join(f", {kind}{name}" for kind, name in place.part),
        begin=place.begin(j),
        end=place.end(j, member.width),
        waits=_waits(member, place) if step else [],
        to="NULL" if finish and not grouped else _to(j, member, place, bool(step)),
        pixel_bytes=grid(graph, member.output).pixel_bytes,
        calls=calls,
        finish=None if grouped else finish,
        grouped=grouped,
        last=finish if grouped else None,
        beside=_beside(member, place) if grouped and member.sink else "",
        out=place.pointers.get(member.output, ""),
        sums=f"base + {place.plan.scratch[layer.node.name]}u" if finish else "",
    )
    return text, f"{symbol}({', '.join(['base', 'line', *values, *(name for _, name in place.part)])})"


def _calls(j: int, member: Member, place: Place) -> tuple[tuple[Call, Kernel], ...]:
    if place.bottleneck is None:
        return member.layer.calls
    return ((place.bottleneck.expand, place.bottleneck.depthwise, place.bottleneck.add)[j],)


def _finish(call: Call, kernel: Kernel, where: str, place: Place) -> dict[str, Any]:
    """The call that turns sums into the output."""
    return {
        **place.kernels.function(call, kernel, place.tables, f"{where}_f"),
        "out_stride": call.out_stride,
        "width": call.width,
        "channels": call.channels,
    }


def _beside(member: Member, place: Place) -> str:
    """What is added to the sums of row y, in C; "" for nothing."""
    assert place.bottleneck is not None
    residual = place.bottleneck.residual
    row = grid(place.graph, member.output).row_bytes
    return f"{place.pointers[residual]} + y * {row}" if residual else ""


def _to(j: int, member: Member, place: Place, windowed: bool) -> str:
    g = grid(place.graph, member.output)
    if member.sink:
        return f"{place.pointers[member.output]} + y * {g.row_bytes} + x * {g.pixel_bytes}"
    line, offset = place.lines[member.output], place.plan.lines[member.output]
    if windowed:
        return f"(int8_t *)base + {offset + line.slots_bytes} + (x - line[{j}].first) * {g.pixel_bytes}"
    return f"(int8_t *)base + {offset} + (y % {line.slots}) * {line.width * line.pixel_bytes}"


def _waits(member: Member, place: Place) -> list[dict[str, Any]]:
    """What the columns of a member wait for: the last row that it reads of each tensor of the stream."""
    found = []
    names = place.graph.runtime_inputs(member.layer.node)
    for name, read in member.inside.items():
        rows = next(r for call, _ in member.layer.calls for r in call.rows if names[r.input] == name)
        g = grid(place.graph, name)
        columns = read.columns or Columns(g.pixel_bytes, taps=g.width + 1)  # nothing before the row is complete
        found.append(
            {
                "line": place.at[name],
                "last": _last(rows, place),
                "width": place.end(place.at[name], g.width),
                "pad": columns.pad,
                "taps": columns.taps,
                "stride": columns.stride,
            }
        )
    return found


def _first(r: Rows, place: Place) -> str:
    if r.index:
        index = place.tables.symbol(Table("rows", "int16_t", np.array(r.index)), f"s{place.number:02d}")
        return f"{index}[y]"
    first = "y" if r.stride == 1 else f"y * {r.stride}"
    return f"{first} - {r.pad}" if r.pad > 0 else f"{first} + {-r.pad}" if r.pad < 0 else first


def _last(r: Rows, place: Place) -> str:
    reach = (r.count - 1) * r.dilation
    last = _first(r, place) + (f" + {reach}" if reach else "")
    return f"mcuc_least({last}, {r.height - 1})"


def _rows(r: Rows, name: str, at: int, place: Place, windowed: bool) -> dict[str, Any]:
    """How one set of rows is found: in a tensor that is whole, in slots, in a window, or in the pushed row."""
    if name in place.pointers:
        source = place.pointers[name]
        found = f"(r >= 0 && r < {r.height}) ? {source} + r * {r.row_bytes} : NULL"
    else:
        line, offset = place.lines[name], place.plan.lines.get(name, 0)
        i = place.at[name]
        if name == place.pushed:
            window = "row"
        elif windowed:
            window = f"(int8_t *)base + {offset + line.slots_bytes}"
        else:
            window = "NULL"
        slots = f"(int8_t *)base + {offset}" if line.slots else "NULL"
        where = f"r, {r.height}, {slots}, {line.slots}, {line.width * line.pixel_bytes}, {window}, {line.pixel_bytes}"
        found = f"mcuc_line_row(&line[{i}], {where})"
        if place.stream.strips:
            found = f"mcuc_part_row(&line[{i}], {where}, {place.begin(i)} * {line.pixel_bytes})"
        elif place.bottleneck:
            found = f"mcuc_part_row(&line[{i}], {where}, c)"
    first = _first(r, place)
    return {"at": at, "count": r.count, "dilation": r.dilation, "first": first, "row": found, "offset": r.offset}
