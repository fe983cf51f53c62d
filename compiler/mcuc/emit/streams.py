"""The C functions of a stream: one for each member, which computes the next columns of its next row, and the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcuc.emit import render
from mcuc.emit.layers import KernelPool
from mcuc.emit.names import comment, layer_symbol
from mcuc.emit.tables import TablePool
from mcuc.ir import Graph
from mcuc.kernels._base import Columns, Rows, Table
from mcuc.plan import Plan
from mcuc.plan.lifetimes import FEED_STATE
from mcuc.schedule import Line, Segment
from mcuc.schedule.access import grid
from mcuc.schedule.stream import Member, segment_members


@dataclass(frozen=True, eq=False)
class _Place:
    """What the members' code needs of the whole stream. number: of its first coded layer; pointers: tensor -> name of
    the argument that points at it; at: tensor inside the stream -> index of its line."""

    graph: Graph
    plan: Plan
    prefix: str
    number: int
    lines: Mapping[str, Line]
    pushed: str | None
    pointers: Mapping[str, str]
    at: Mapping[str, int]
    kernels: KernelPool
    tables: TablePool


def stream_context(
    number: int,
    segment: Segment,
    graph: Graph,
    plan: Plan,
    prefix: str,
    kernels: KernelPool,
    tables: TablePool,
    pointer: Mapping[str, str],
) -> dict[str, Any]:
    """One stream as text: its members' functions, its loop, and its call in run; symbols: of the members, in order.

    number: of its first layer among those that have code; pointer: tensor -> C expression in run.
    """
    stream = segment.stream
    assert stream is not None
    members = segment_members(segment, graph)
    outside = list(dict.fromkeys(n for m in members for n in m.outside))
    sinks = [m.output for m in members if m.sink]
    named = {n: f"out{i}" for i, n in enumerate(sinks)}
    named |= {n: f"in{i}" for i, n in enumerate(n for n in outside if n not in named)}
    at = {m.output: j for j, m in enumerate(members)}
    if stream.pushed is not None:
        at[stream.pushed] = len(members)
    place = _Place(graph, plan, prefix, number, stream.lines, stream.pushed, named, at, kernels, tables)
    texts, calls = [], []
    for j, member in enumerate(members):
        text, call = _member(j, member, stream.steps[j] if stream.steps else 0, place)
        texts.append(text)
        calls.append({"number": number + j, "bit": 1 << j, "call": call})
    symbol = f"{prefix}_stream_{number:02d}"
    kinds = _arguments([*sinks, *outside], place)
    pushed_arg = ", const int8_t *row" if stream.pushed else ""
    loop = render(
        "stream.c.j2",
        symbol=symbol,
        comment=comment(f"{members[0].layer.node.name} to {members[-1].layer.node.name}, row by row"),
        pointers=pushed_arg + "".join(f", {kind}{name}" for kind, name in kinds),
        state=plan.state[members[0].layer.node.name] + (FEED_STATE if stream.pushed else 0),
        feed=plan.state[members[0].layer.node.name],
        lines=len(at),
        sums=_sums(members, plan),
        members=calls,
        windows=_windows(members, place) if stream.steps else None,
        passes=_passes(stream.passes, place),
        count=len(stream.passes),
        pushed=_pushed(place),
    )
    values = [pointer[n] for n in dict.fromkeys((*sinks, *outside))]
    row = ["row"] if stream.pushed else []
    return {
        "text": "\n".join([*texts, loop]),
        "symbols": [layer_symbol(prefix, number + j, m.layer.node.op) for j, m in enumerate(members)],
        "call": f"{symbol}({', '.join(['base', *row, *values])})",
        "sums": _sums(members, plan),
        "lines": len(at),
    }


def _arguments(names: list[str], place: _Place) -> list[tuple[str, str]]:
    """(C type, argument) of the tensors, each once."""
    return [
        ("int8_t *" if place.pointers[n].startswith("out") else "const int8_t *", place.pointers[n])
        for n in dict.fromkeys(names)
    ]


def _sums(members: tuple[Member, ...], plan: Plan) -> list[dict[str, int]]:
    return [
        {"offset": plan.scratch[m.layer.node.name], "bytes": m.layer.reduction.state_bytes}
        for m in members
        if m.layer.reduction is not None
    ]


def _passes(passes: tuple[int, ...], place: _Place) -> str:
    kind = "uint8_t" if max(passes) < 1 << 8 else "int32_t"
    values = np.array(passes, np.uint32).astype(np.int64)
    values[values >= 1 << 31] -= 1 << 32
    return place.tables.symbol(Table("passes", kind, values), f"s{place.number:02d}")


def _pushed(place: _Place) -> dict[str, int] | None:
    if place.pushed is None:
        return None
    line = place.lines[place.pushed]
    return {
        "bit": 1 << place.at[place.pushed],
        "line": place.at[place.pushed],
        "width": line.width,
        "slots": line.slots,
        "offset": place.plan.lines.get(place.pushed, 0),
        "row_bytes": line.width * line.pixel_bytes,
    }


def _windows(members: tuple[Member, ...], place: _Place) -> list[dict[str, Any]]:
    found = []
    for j, member in enumerate(members):
        name = member.output
        if member.sink:
            continue
        line, offset = place.lines[name], place.plan.lines[name]
        slot = "NULL"
        if line.slots:
            row = line.width * line.pixel_bytes
            slot = f"(int8_t *)base + {offset} + (line[{j}].rows % {line.slots}) * {row}"
        readers = [_reader(k, m, m.inside[name].columns) for k, m in enumerate(members) if name in m.inside]
        found.append(
            {
                "bit": 1 << j,
                "line": j,
                "readers": readers,
                "window": offset + line.slots_bytes,
                "slot": slot,
                "width": line.width,
                "pixel_bytes": line.pixel_bytes,
            }
        )
    return found


def _reader(k: int, member: Member, columns: Columns | None) -> dict[str, int]:
    """What a reader frees of a window; nothing before its row is complete where it reads whole rows."""
    pad, stride = (0, 0) if columns is None else (columns.pad, columns.stride)
    return {"bit": 1 << k, "line": k, "out_width": member.width, "pad": pad, "stride": stride}


def _member(j: int, member: Member, step: int, place: _Place) -> tuple[str, str]:
    layer, graph = member.layer, place.graph
    symbol = layer_symbol(place.prefix, place.number + j, layer.node.op)
    names = graph.runtime_inputs(layer.node)
    used = [n for n in dict.fromkeys((*member.outside, member.output)) if n in place.pointers]
    used += [n for n in member.inside if n in place.pointers and n not in used]
    if member.sink and member.output not in used:
        used.append(member.output)
    kinds = _arguments(used, place)
    row_arg = place.pushed in member.inside
    own = "".join(f", {kind}{name}" for kind, name in ([("const int8_t *", "row")] if row_arg else []) + kinds)
    values = (["row"] if row_arg else []) + [place.pointers[n] for n in used]
    where = f"l{place.number + j:02d}"
    calls = []
    for c, (call, kernel) in enumerate(layer.calls):
        at, rows = 0, []
        for r in call.rows:
            rows.append(_rows(r, names[r.input], at, place, bool(step)))
            at += r.count
        scratch = "NULL"
        if layer.node.name in place.plan.scratch and (kernel.scratch(call) or layer.reduction is not None):
            scratch = f"base + {place.plan.scratch[layer.node.name]}u"
        spot = where if c == 0 else f"{where}_{c}"
        calls.append(
            {
                "rows": rows,
                "row_count": max(1, at),
                "fn": place.kernels.symbol(call, kernel),
                "offset": f" + {call.out_offset}" if call.out_offset else "",
                "out_stride": call.out_stride,
                "channels": call.channels,
                "scratch": scratch,
                "tables": "".join(f", {place.tables.symbol(t, spot)}" for t in call.tables),
            }
        )
    finish = None
    if layer.reduction is not None:
        call, kernel = layer.reduction.finish
        finish = {
            "fn": place.kernels.symbol(call, kernel),
            "out_stride": call.out_stride,
            "width": call.width,
            "channels": call.channels,
            "tables": "".join(f", {place.tables.symbol(t, where + '_f')}" for t in call.tables),
        }
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
        height=member.height,
        width=member.width,
        waits=_waits(member, place) if step else [],
        to="NULL" if finish else _to(j, member, place, bool(step)),
        pixel_bytes=grid(graph, member.output).pixel_bytes,
        calls=calls,
        finish=finish,
        out=place.pointers.get(member.output, ""),
        sums=f"base + {place.plan.scratch[layer.node.name]}u" if finish else "",
    )
    return text, f"{symbol}({', '.join(['base', 'line', *values])})"


def _to(j: int, member: Member, place: _Place, windowed: bool) -> str:
    g = grid(place.graph, member.output)
    if member.sink:
        return f"{place.pointers[member.output]} + y * {g.row_bytes} + x * {g.pixel_bytes}"
    line, offset = place.lines[member.output], place.plan.lines[member.output]
    if windowed:
        return f"(int8_t *)base + {offset + line.slots_bytes} + (x - line[{j}].first) * {g.pixel_bytes}"
    return f"(int8_t *)base + {offset} + (y % {line.slots}) * {g.row_bytes}"


def _waits(member: Member, place: _Place) -> list[dict[str, Any]]:
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
                "width": g.width,
                "pad": columns.pad,
                "taps": columns.taps,
                "stride": columns.stride,
            }
        )
    return found


def _first(r: Rows, place: _Place) -> str:
    if r.index:
        index = place.tables.symbol(Table("rows", "int16_t", np.array(r.index)), f"s{place.number:02d}")
        return f"{index}[y]"
    first = "y" if r.stride == 1 else f"y * {r.stride}"
    return f"{first} - {r.pad}" if r.pad > 0 else f"{first} + {-r.pad}" if r.pad < 0 else first


def _last(r: Rows, place: _Place) -> str:
    reach = (r.count - 1) * r.dilation
    last = _first(r, place) + (f" + {reach}" if reach else "")
    return f"mcuc_least({last}, {r.height - 1})"


def _rows(r: Rows, name: str, at: int, place: _Place, windowed: bool) -> dict[str, Any]:
    """How one set of rows is found: in a tensor that is whole, in slots, in a window, or in the pushed row."""
    row_bytes = r.row_bytes
    if name in place.pointers:
        source = place.pointers[name]
        found = f"(r >= 0 && r < {r.height}) ? {source} + r * {row_bytes} : NULL"
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
        where = f"{slots}, {line.slots}, {row_bytes}, {window}, {line.pixel_bytes}"
        found = f"mcuc_line_row(&line[{i}], r, {r.height}, {where})"
    first = _first(r, place)
    return {"at": at, "count": r.count, "dilation": r.dilation, "first": first, "row": found, "offset": r.offset}


