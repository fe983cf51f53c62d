"""Streams: a run of layers executed row by row, each tensor between them in as few rows and pixels as it takes.

Rows: passes over the members in order. In a pass a member computes its next output row if somebody needs that row
now and everything that the row needs is there. What must be kept follows from replaying the passes.
Columns: the members of a pass may advance together, a few columns at a time (steps). The row in work then lies in a
window of a few pixels; pixels that leave the window take the place of the oldest row's pixels, column by column.
The whole may be done once for each of a few strips of columns (strips.py) or groups of channels (groups.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcuc.ir import Graph
from mcuc.schedule import Layer, Line, Segment, Stream
from mcuc.schedule.access import grid
from mcuc.schedule.members import Member, members_of
from mcuc.schedule.replay import Rowwise, replay
from mcuc.schedule.strips import Strips, live_in_strips, recomputed_macs, widest
from mcuc.schedule.windows import reachable, usual_windows, windows_of

__all__ = ["Member", "Rowwise", "make_stream", "members_of", "reachable", "replay", "segment_members", "stream_segment"]


def make_stream(
    members: Sequence[Member],
    graph: Graph,
    block: int = 0,
    pushed: str | None = None,
    played: Rowwise | None = None,
    exact: bool = True,
    strips: Strips = (),
    group: int = 0,
) -> Stream:
    """The stream over the members. block: columns that the widest member computes at a time, 0 for whole rows.
    exact: False for an estimate of the windows, which is faster and no schedule to run. strips: of strips_of; not
    with a pushed input, whose rows come once. group: channels of a bottleneck (see groups.py) at a time, 0 for all."""
    assert not (strips and pushed) and not (group and (block or pushed or strips))
    arriving = None if pushed is None else (pushed, grid(graph, pushed).height)
    played = played or replay(members, arriving)
    most_columns = max(m.width for m in members)
    steps = tuple(_step(m, block, most_columns) for m in members) if block else ()
    names = [m.output for m in members] + ([pushed] if pushed else [])
    readers = {
        n: [(j, m.inside[n]) for j, m in enumerate(members) if n in m.inside] for n in names
    }
    sinks = {m.output for m in members if m.sink}
    widths = {n: widest(strips, i) if strips else grid(graph, n).width for i, n in enumerate(names)}
    if not block:
        windows = {}
    elif exact:
        windows = windows_of(members, played, steps, readers, strips)
    else:
        windows = usual_windows(members, steps, readers, widths)
    lines = {}
    for i, name in enumerate(names):
        if name in sinks:
            continue
        pixel, kept = grid(graph, name).pixel_bytes, played.kept[i]
        live = live_in_strips(kept.live, len(played.passes), strips) if strips else kept.live
        if group:  # in use in all groups before the last one, which are the first tick
            pixel, live = group, (0, 1 + kept.live[1])
        if name == pushed:  # the row in work is the caller's until the pass is over
            lines[name] = Line(kept.beside, 0, widths[name], pixel, live)
        elif block:
            lines[name] = Line(kept.beside, windows[name], widths[name], pixel, live)
        else:
            lines[name] = Line(kept.most, 0, widths[name], pixel, live)
    return Stream(played.passes, steps, lines, pushed, strips, recomputed_macs(members, played.rows[-1], strips), group)


def _step(member: Member, block: int, most: int) -> int:
    """Columns at a time, so that all members advance alike; as many of them together as the kernels compute at once."""
    share = max(1, -(-block * member.width // most))
    return -(-share // member.together) * member.together


def stream_segment(members: Sequence[Member], stream: Stream) -> Segment:
    """The segment of the schedule's tree."""
    kind = "strips" if stream.strips else "groups" if stream.group else "stream"
    layers = [m.layer for m in members]
    if stream.blocks:
        layers = [replace(layer, tiling=replace(layer.tiling, columns=stream.steps[0])) for layer in layers]
    return Segment(kind, tuple(layers), stream)


def segment_members(segment: Segment, graph: Graph) -> tuple[Member, ...]:
    """The members of a stream's segment again: what has no line is needed whole."""
    assert segment.stream is not None
    layers = tuple(layer for layer in segment.members if isinstance(layer, Layer))
    whole = frozenset(layer.node.outputs[0] for layer in layers) - set(segment.stream.lines)
    members = members_of(layers, graph, whole, segment.stream.pushed)
    assert members is not None
    return members
