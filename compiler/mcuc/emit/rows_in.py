"""The streaming entry of a model whose input arrives by rows: begin, push_rows, finish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.emit.arenas import address, own_base, passed
from mcuc.ir import Graph
from mcuc.plan import Plan
from mcuc.plan.lifetimes import FEED_STATE, LINE_STATE, push_buffer
from mcuc.schedule import Layer, Schedule, Segment
from mcuc.schedule.access import grid


def pushed_segment(schedule: Schedule) -> Segment | None:
    """The stream that takes the input in row by row, always the first; None where the input is held whole."""
    first = next(iter(schedule.segments), None)
    if isinstance(first, Segment) and first.stream is not None and first.stream.pushed is not None:
        return first
    return None


def early_outputs(segment: Segment, graph: Graph, plan: Plan) -> dict[str, str]:
    """Tensors whose bytes are a model output's, written before finish names the caller's buffer -> where they lie until
    then."""
    assert segment.stream is not None
    made = [m.node.outputs[0] for m in segment.members if isinstance(m, Layer)]
    roots = {plan.storage[n] for n in graph.outputs}
    return {n: address(plan, n) for n in made if plan.storage.get(n) in roots}


def rows_in_context(
    segment: Segment, graph: Graph, plan: Plan, unit: Mapping[str, Any], early: Mapping[str, str]
) -> dict[str, Any]:
    """What the templates need. unit: the stream's own context; early: of early_outputs."""
    stream = segment.stream
    assert stream is not None and stream.pushed is not None
    first = segment.members[0]
    assert isinstance(first, Layer)
    g = grid(graph, stream.pushed)
    state = plan.state[first.node.name]
    buffer = next(b for b in plan.buffers if b.id == push_buffer(stream.pushed))
    return {
        "base": own_base(plan, first.node.name),
        "home": f"arenas[{plan.own_region[first.node.name]}]" if plan.several else "arena",
        "buffer_arena": passed(plan, plan.arena_of(buffer.id)),
        "rows": g.height,
        "row_bytes": g.row_bytes,
        "buffer_bytes": buffer.size,
        "buffer": plan.lines[push_buffer(stream.pushed)],
        "feed": state,
        "lines": state + FEED_STATE,
        "lines_bytes": LINE_STATE * unit["lines"],
        "sums": unit["sums"],
        "passes": len(stream.passes),
        "call": unit["call"],
        "early": [
            {"out": f"out{i}", "at": address(plan, n), "bytes": graph.tensors[n].bytes}
            for i, n in enumerate(graph.outputs)
            if plan.storage[n] in {plan.storage[made] for made in early}
        ],
    }
