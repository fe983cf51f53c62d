"""The C functions of a stream: one for each member, which computes the next columns of its next row, and the loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mcuc.emit import render
from mcuc.emit.arenas import own_base
from mcuc.emit.layers import KernelPool
from mcuc.emit.members import Place, arguments, member_function
from mcuc.emit.names import comment, layer_symbol
from mcuc.emit.tables import TablePool
from mcuc.ir import Graph
from mcuc.kernels._base import Columns, Table
from mcuc.plan import Plan
from mcuc.plan.lifetimes import FEED_STATE
from mcuc.schedule import Segment, Stream
from mcuc.schedule.groups import Bottleneck, bottleneck
from mcuc.schedule.stream import Member, segment_members


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
    place = Place(graph, plan, prefix, number, stream, named, at, kernels, tables, _grouped(stream, members))
    texts, calls = [], []
    for j, member in enumerate(members):
        text, call = member_function(j, member, stream.steps[j] if stream.steps else 0, place)
        texts.append(text)
        calls.append({"number": number + j, "bit": 1 << j, "call": call})
    symbol = f"{prefix}_stream_{number:02d}"
    kinds = arguments([*sinks, *outside], place)
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
        part_name="_strip" if stream.strips else "_group" if place.bottleneck else "",
        part="".join(f", {kind}{name}" for kind, name in place.part),
        grouped=place.bottleneck,
        strips=len(stream.strips),
        columns=_columns(stream, place),
        values="".join(f", {name}" for _, name in kinds),
    )
    values = [pointer[n] for n in dict.fromkeys((*sinks, *outside))]
    row = ["row"] if stream.pushed else []
    return {
        "text": "\n".join([*texts, loop]),
        "symbols": [layer_symbol(prefix, number + j, m.layer.node.op) for j, m in enumerate(members)],
        "call": f"{symbol}({', '.join([own_base(plan, members[0].layer.node.name), *row, *values])})",
        "sums": _sums(members, plan),
        "lines": len(at),
    }


def _grouped(stream: Stream, members: tuple[Member, ...]) -> Bottleneck | None:
    found = bottleneck(members, stream.group) if stream.group else None
    assert found is not None or not stream.group
    return found


def _sums(members: tuple[Member, ...], plan: Plan) -> list[dict[str, int]]:
    return [
        {"offset": plan.scratch[m.layer.node.name], "bytes": m.layer.reduction.state_bytes}
        for m in members
        if m.layer.reduction is not None
    ]


def _passes(passes: tuple[int, ...], place: Place) -> str:
    kind = "uint8_t" if max(passes) < 1 << 8 else "int32_t"
    values = np.array(passes, np.uint32).astype(np.int64)
    values[values >= 1 << 31] -= 1 << 32
    return place.tables.symbol(Table("passes", kind, values), f"s{place.number:02d}")


def _columns(stream: Stream, place: Place) -> str:
    """The table of each strip's and member's first column and the one behind its last."""
    if not stream.strips:
        return ""
    values = np.array(stream.strips, np.int16).reshape(-1)
    return place.tables.symbol(Table("strips", "int16_t", values), f"s{place.number:02d}")


def _pushed(place: Place) -> dict[str, int] | None:
    if place.pushed is None:
        return None
    line, bit = place.lines[place.pushed], 1 << place.at[place.pushed]
    return {
        "bit": bit,
        "before": next((p for p, now in enumerate(place.stream.passes) if now & bit), 0),  # passes before the first row
        "line": place.at[place.pushed],
        "width": line.width,
        "slots": line.slots,
        "offset": place.plan.lines.get(place.pushed, 0),
        "row_bytes": line.width * line.pixel_bytes,
    }


def _windows(members: tuple[Member, ...], place: Place) -> list[dict[str, Any]]:
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
            if place.stream.strips:
                slot = f"mcuc_before({slot}, {place.begin(j)} * {line.pixel_bytes})"
        readers = [_reader(k, m, m.inside[name].columns, place) for k, m in enumerate(members) if name in m.inside]
        found.append(
            {
                "bit": 1 << j,
                "line": j,
                "readers": readers,
                "window": offset + line.slots_bytes,
                "slot": slot,
                "width": place.end(j, member.width),
                "pixel_bytes": line.pixel_bytes,
            }
        )
    return found


def _reader(k: int, member: Member, columns: Columns | None, place: Place) -> dict[str, Any]:
    """What a reader frees of a window; nothing before its row is complete where it reads whole rows."""
    pad, stride = (0, 0) if columns is None else (columns.pad, columns.stride)
    return {"bit": 1 << k, "line": k, "out_width": place.end(k, member.width), "pad": pad, "stride": stride}
