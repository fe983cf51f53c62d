"""A schedule and its plan as the report shows them: the segments with what streams save and cost, the memory map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcuc.ir import Graph
from mcuc.plan import Plan, live_bytes
from mcuc.plan.lifetimes import lifetimes, push_buffer
from mcuc.report.types import BufferReport, SegmentReport
from mcuc.schedule import Layer, Schedule, Segment, Stream, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.schedule.members import Member
from mcuc.schedule.stream import segment_members
from mcuc.schedule.windows import advanced, reachable
from mcuc.targets import Chip


def segment_reports(graph: Graph, schedule: Schedule, plan: Plan, chip: Chip | None) -> tuple[SegmentReport, ...]:
    """One entry for each unit of the schedule, in execution order. graph: its nodes in the schedule's order."""
    plain = {layer.node.name: layer for layer in layer_by_layer(graph, chip, Tiling()).layers}
    alone = _live_alone(graph, Schedule(Segment("layers", tuple(plain[x.node.name] for x in schedule.layers))))
    kinds = buffer_kinds(graph, schedule)
    found = []
    live = live_bytes(plan.buffers, plan.ranges)
    for unit, (lower, upper), most in zip(schedule.segments, plan.ranges, live, strict=True):
        if isinstance(unit, Layer):
            weights = _weights(unit), _read_alone(unit)
            found.append(
                SegmentReport(unit.node.name, "layer", lower, upper, 1, most, *weights, extra_macs=_again(unit))
            )
            continue
        members = segment_members(unit, graph)
        assert unit.stream is not None
        names = [m.layer.node.name for m in members]
        runs = kernel_runs(unit.stream, members)
        found.append(SegmentReport(
            f"{names[0]} ... {names[-1]}" if len(names) > 1 else names[0],
            "stream",
            lower,
            upper,
            len(members),
            most,
            sum(_weights(m.layer) for m in members),
            sum(n * _weights(m.layer) for n, m in zip(runs, members, strict=True)),
            live_alone=max(alone[n] for n in names),
            weight_bytes_read_alone=sum(_read_alone(plain[n]) for n in names),
            columns=max(unit.stream.steps, default=0),
            passes=len(unit.stream.passes),
            line_bytes=unit.stream.line_bytes,
            whole_bytes=sum(graph.tensors[name].bytes for name in unit.stream.lines),
            other_bytes=sum(b.size for b in plan.buffers
                            if kinds[b.id] in ("sums", "counters", "push buffer") and lower <= b.lower < upper),
            extra_macs=unit.stream.recomputed + sum(_again(m.layer) for m in members),
            pushed=unit.stream.pushed or "",
            strips=len(unit.stream.strips),
            groups=channel_groups(unit.stream, members) if unit.stream.group else 0,
        ))
    return tuple(found)


def _again(layer: Layer) -> int:
    """MACs of a layer that computes what another one has computed."""
    return layer.macs if layer.again else 0


def _live_alone(graph: Graph, schedule: Schedule) -> dict[str, int]:
    """Layer -> the most bytes alive while it runs, where every layer runs alone."""
    found = lifetimes(graph, schedule)
    live = live_bytes(found.buffers, found.ranges)
    return {layer.node.name: most for layer, most in zip(schedule.layers, live, strict=True)}


def _weights(layer: Layer) -> int:
    return layer.table_bytes if layer.macs else 0


def _read_alone(layer: Layer) -> int:
    """Bytes of weights times kernel runs of a layer that runs alone: one an output row and block of columns. Blocks of
    channels have weights of their own."""
    if not layer.macs:
        return 0
    columns = layer.tiling.columns
    total = 0
    for call, kernel in layer.calls:
        blocks = -(-call.width // columns) if 0 < columns < call.width else 1
        total += call.height * blocks * sum(table.bytes for table in kernel.tables(call))
    return total


def kernel_runs(stream: Stream, members: Sequence[Member]) -> list[int]:
    """How often each member's kernels run in the stream: once a row, with blocks of columns once a block, in strips
    and groups of channels as often in each.

    A block is cut short where the row that it reads is still being written, so the blocks are replayed.
    """
    total = [0] * len(members)
    known: dict[tuple[int, tuple[tuple[int, ...], ...]], list[int]] = {}
    for mask, waits in _passes(stream, members):
        if (mask, waits) not in known:
            known[mask, waits] = _runs_of_pass(stream, members, mask, waits)
        total = [a + b for a, b in zip(total, known[mask, waits], strict=True)]
    return [n * channel_groups(stream, members) for n in total]


def channel_groups(stream: Stream, members: Sequence[Member]) -> int:
    """For how many runs of the first member's channels the passes are run."""
    return -(-members[0].layer.calls[0][0].channels // stream.group) if stream.group else 1


def _passes(stream: Stream, members: Sequence[Member]) -> Iterator[tuple[int, tuple[tuple[int, ...], ...]]]:
    """The passes, each with the members whose row in work every member reads."""
    producer = {m.output: j for j, m in enumerate(members)}
    rows = [0] * len(members)
    for mask in stream.passes:
        firing = [bool(mask >> j & 1) for j in range(len(members))]
        waits = []
        for j, m in enumerate(members):
            inside = [(producer[n], r) for n, r in m.inside.items() if n in producer and firing[j]]
            waits.append(tuple(i for i, r in inside if firing[i] and r.last[rows[j]] == rows[i]))
        yield mask, tuple(waits)
        rows = [n + f for n, f in zip(rows, firing, strict=True)]


def _runs_of_pass(
    stream: Stream, members: Sequence[Member], mask: int, waits: Sequence[Sequence[int]]
) -> list[int]:
    firing = [j for j in range(len(members)) if mask >> j & 1]
    whole = tuple((0, m.width) for m in members)
    strips = stream.strips or (whole,)
    if not stream.steps:
        return [(mask >> j & 1) * len(strips) for j in range(len(members))]
    runs = [0] * len(members)
    for strip in strips:
        for j, n in enumerate(_runs_of_strip(stream, members, firing, waits, strip)):
            runs[j] += n
    return runs


def _runs_of_strip(
    stream: Stream,
    members: Sequence[Member],
    firing: Sequence[int],
    waits: Sequence[Sequence[int]],
    strip: Sequence[tuple[int, int]],
) -> list[int]:
    """Of one pass over the columns [begin, end) of each member's grid."""
    runs = [0] * len(members)
    x = [begin for begin, _ in strip]
    while any(x[j] < strip[j][1] for j in firing):
        for j in firing:
            m = members[j]
            end = min(strip[j][1], x[j] + stream.steps[j])
            for i in waits[j]:
                end = min(end, reachable(x[i], members[i].width, m.inside[members[i].output].columns, m.width))
            end = advanced(x[j], end, strip[j][1], m.together)
            if end > x[j]:
                x[j] = end
                runs[j] += 1
    return runs


def memory_map(graph: Graph, schedule: Schedule, plan: Plan) -> tuple[BufferReport, ...]:
    """Every buffer of the plan with its kind, in the order in which they come alive."""
    kinds = buffer_kinds(graph, schedule)
    return tuple(
        BufferReport(
            b.id, kinds[b.id], b.lower, b.upper, plan.offsets[b.id], b.size,
            tuple((s.lower, s.upper, s.start, s.end) for s in b.spans),
            plan.arenas[plan.arena_of(b.id)].name if plan.arenas else "",
        )
        for b in sorted(plan.buffers, key=lambda b: (b.lower, plan.offsets[b.id], b.id))
    )


def buffer_kinds(graph: Graph, schedule: Schedule) -> dict[str, str]:
    """Buffer of the schedule -> its kind, as BufferReport lists them."""
    found = lifetimes(graph, schedule)
    streams = [unit.stream for unit in schedule.segments if isinstance(unit, Segment) and unit.stream is not None]
    pushed = {push_buffer(stream.pushed) for stream in streams if stream.pushed is not None}
    inputs = {found.storage[n] for n in graph.inputs if n in found.storage}
    outputs = {found.storage[n] for n in graph.outputs if n in found.storage}
    kinds = dict.fromkeys(found.storage.values(), "activation")
    kinds |= dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")
    kinds |= dict.fromkeys(inputs & outputs, "input or output")
    kinds |= {buffer: "push buffer" if buffer in pushed else "line" for buffer in found.lines.values()}
    sums = {x.node.name for u in schedule.segments if isinstance(u, Segment) for x in u.members
            if isinstance(x, Layer) and x.reduction is not None}
    kinds |= {buffer: "sums" if node in sums else "scratch" for node, buffer in found.scratch.items()}
    return kinds | dict.fromkeys(found.state.values(), "counters")
